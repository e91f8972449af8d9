CREATE TABLE msgstore.responses (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    status text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    previous_response_id text COLLATE "C",
    input jsonb NOT NULL DEFAULT '[]',
    output jsonb NOT NULL DEFAULT '[]',
    usage_input_tokens int NOT NULL DEFAULT 0,
    usage_output_tokens int NOT NULL DEFAULT 0,
    usage_total_tokens int NOT NULL DEFAULT 0,
    error jsonb,
    extensions jsonb,
    created_at bigint NOT NULL,
    completed_at bigint,
    deleted_at timestamptz,
    background boolean NOT NULL DEFAULT false,
    background_request jsonb,
    worker_id text,
    worker_heartbeat timestamptz,
    attempt_count int NOT NULL DEFAULT 0,
    CONSTRAINT responses_pkey PRIMARY KEY (tenant_id, id),
    -- Ids are those of all tenants, and a response is found by nothing else.
    -- No unique constraint, so that the table could still be distributed by
    -- tenant: there this one would be left out.
    CONSTRAINT responses_id_excl EXCLUDE USING btree (id WITH =),
    CONSTRAINT responses_id_length
        CHECK (octet_length(id) BETWEEN 1 AND 255),
    CONSTRAINT responses_status_known
        CHECK (status IN ('queued', 'in_progress', 'completed', 'incomplete',
                          'failed', 'cancelled', 'requires_action')),
    CONSTRAINT responses_input_array CHECK (jsonb_typeof(input) = 'array'),
    CONSTRAINT responses_output_array CHECK (jsonb_typeof(output) = 'array'),
    CONSTRAINT responses_extensions_object
        CHECK (jsonb_typeof(extensions) = 'object')
);

-- The lists, of a tenant and of an owner in it.
CREATE INDEX responses_tenant_idx
    ON msgstore.responses (tenant_id, created_at, id)
    WHERE deleted_at IS NULL;
CREATE INDEX responses_owner_idx
    ON msgstore.responses (tenant_id, owner, created_at, id)
    WHERE deleted_at IS NULL;
-- Branches, and what a purge must leave.
CREATE INDEX responses_previous_idx
    ON msgstore.responses (previous_response_id, created_at, id)
    WHERE previous_response_id IS NOT NULL;
CREATE INDEX responses_created_at_idx ON msgstore.responses (created_at);
-- Claims take the oldest that is queued, the cleanup the oldest that is done.
CREATE INDEX responses_background_idx
    ON msgstore.responses (status, created_at, id)
    WHERE background;
CREATE INDEX responses_heartbeat_idx
    ON msgstore.responses (worker_heartbeat)
    WHERE background AND status = 'in_progress';

SELECT pg_catalog.pg_extension_config_dump('msgstore.responses', '');

CREATE FUNCTION msgstore._response_scope(
    OUT tenant text,
    OUT owner text,
    OUT in_memory boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_scope';

CREATE FUNCTION msgstore._owner_allows(
    caller text,
    is_admin boolean,
    stored text,
    writing boolean)
    RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_owner_allows';

CREATE FUNCTION msgstore._check_response_move(old_status text, new_status text)
    RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_response_move';

CREATE FUNCTION msgstore._response_document(id text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_document';

CREATE FUNCTION msgstore._memory_responses()
    RETURNS TABLE (
        id text,
        tenant_id text,
        owner text,
        status text,
        model text,
        previous_response_id text,
        created_at bigint,
        background boolean,
        worker_heartbeat timestamptz,
        deleted_at timestamptz,
        version bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_memory_responses';

CREATE FUNCTION msgstore._forget_response(id text, version bigint)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_forget_response';

CREATE FUNCTION msgstore.save_response(response jsonb) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_response';

CREATE FUNCTION msgstore.save_background(response jsonb, request jsonb)
    RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_background';

CREATE FUNCTION msgstore.get_response(id text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_get_response';

CREATE FUNCTION msgstore.get_response_for_chain(id text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_get_response_for_chain';

CREATE FUNCTION msgstore.update_response(id text, patch jsonb) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_update_response';

CREATE FUNCTION msgstore.delete_response(id text) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_delete_response';

CREATE FUNCTION msgstore.response_chain(
    id text,
    max_items int DEFAULT NULL,
    max_depth int DEFAULT 1000)
    RETURNS TABLE (depth int, id text, deleted boolean, response jsonb)
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_response_chain';

CREATE FUNCTION msgstore.chain_items(
    id text,
    max_items int DEFAULT NULL,
    max_depth int DEFAULT 1000)
    RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_chain_items';
