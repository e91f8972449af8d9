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

COMMENT ON TABLE msgstore.responses IS
    'Responses of an assistant, each linked to the one it continues from; deleted ones stay for the chains. Empty while msgstore.response_store is memory';
COMMENT ON COLUMN msgstore.responses.extensions IS
    'The fields of the document that have no column, as they were saved';
COMMENT ON COLUMN msgstore.responses.created_at IS 'Unix seconds';
COMMENT ON COLUMN msgstore.responses.completed_at IS 'Unix seconds';
COMMENT ON COLUMN msgstore.responses.attempt_count IS
    'How often a worker has claimed it';
