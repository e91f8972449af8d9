-- responses: the tables of the search.

-- A response can have several rows. For the key see response_usage_changes.
CREATE TABLE msgstore.response_search_changes (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    response_id text COLLATE "C" NOT NULL,
    CONSTRAINT response_search_changes_pkey PRIMARY KEY (tenant_id, id)
);

CREATE TABLE msgstore.response_search_entries (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    response_id text COLLATE "C" NOT NULL,
    terms tsvector NOT NULL,
    CONSTRAINT response_search_entries_pkey PRIMARY KEY (tenant_id, response_id)
);

-- The list of entries that are not sorted in yet is read by every search.
CREATE INDEX response_search_entries_terms_idx
    ON msgstore.response_search_entries
    USING gin (terms) WITH (gin_pending_list_limit = 512);

SELECT pg_catalog.pg_extension_config_dump('msgstore.response_search_changes', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.response_search_entries', '');

COMMENT ON TABLE msgstore.response_search_changes IS
    'Responses of the durable store that have ended or changed and that the worker has not indexed yet';
COMMENT ON COLUMN msgstore.response_search_changes.tenant_id IS
    'Tenant of the response';
COMMENT ON COLUMN msgstore.response_search_changes.id IS
    'Random ID of the change';
COMMENT ON COLUMN msgstore.response_search_changes.response_id IS
    'ID of the response';
COMMENT ON TABLE msgstore.response_search_entries IS
    'Index of responses for search_responses()';
COMMENT ON COLUMN msgstore.response_search_entries.tenant_id IS
    'Tenant of the response';
COMMENT ON COLUMN msgstore.response_search_entries.response_id IS
    'ID of the response';
COMMENT ON COLUMN msgstore.response_search_entries.terms IS
    'Words of input and output, parts of numbers and of scripts without spaces, and the tenant';
