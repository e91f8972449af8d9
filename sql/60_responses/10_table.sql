-- responses: the table of the durable store.

-- One function instead of a constraint for each rule: the server reads and plans the
-- expressions of constraints anew for each statement, which took 37 % of the
-- instructions of a save. It reads only the head of a document, however large.
CREATE FUNCTION msgstore._response_is_sound(
    id text,
    status text,
    input jsonb,
    output jsonb,
    extensions jsonb)
    RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_is_sound';

REVOKE ALL ON FUNCTION msgstore._response_is_sound(text, text, jsonb, jsonb, jsonb) FROM PUBLIC;

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
    ended_at timestamptz,
    last_used_at timestamptz,
    on_hold boolean NOT NULL DEFAULT false,
    CONSTRAINT responses_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT responses_sound
        CHECK (msgstore._response_is_sound(id, status, input, output, extensions))
);

-- Serve list_responses for a tenant, and for an owner of a tenant.
CREATE INDEX responses_tenant_idx
    ON msgstore.responses (tenant_id, created_at, id)
    WHERE deleted_at IS NULL;

CREATE INDEX responses_owner_idx
    ON msgstore.responses (tenant_id, owner, created_at, id)
    WHERE deleted_at IS NULL;

-- Serves sessions without a tenant, when the ID is not one of their own.
CREATE INDEX responses_id_idx
    ON msgstore.responses (id)
    WHERE tenant_id <> '';

-- Serves branches, and the search of a purge for responses to keep.
CREATE INDEX responses_previous_idx
    ON msgstore.responses (previous_response_id, created_at, id)
    WHERE previous_response_id IS NOT NULL;

-- Claims take the oldest queued response, cleanup the oldest finished one.
CREATE INDEX responses_background_idx
    ON msgstore.responses (status, created_at, id)
    WHERE background;

-- Serves the removal of background responses that have ended.
CREATE INDEX responses_background_ended_at_idx
    ON msgstore.responses (ended_at)
    WHERE background AND ended_at IS NOT NULL;

-- Serve the removal of what ended, or was last used, long enough ago. A response is
-- in one of them when it is saved, and in the two others after its first use.
CREATE INDEX responses_unused_ended_at_idx
    ON msgstore.responses (ended_at)
    WHERE ended_at IS NOT NULL AND last_used_at IS NULL;

CREATE INDEX responses_used_ended_at_idx
    ON msgstore.responses (ended_at)
    WHERE last_used_at IS NOT NULL;

CREATE INDEX responses_last_used_at_idx
    ON msgstore.responses (last_used_at)
    WHERE last_used_at IS NOT NULL;

CREATE INDEX responses_heartbeat_idx
    ON msgstore.responses (worker_heartbeat)
    WHERE background AND status = 'in_progress';

SELECT pg_catalog.pg_extension_config_dump('msgstore.responses', '');

COMMENT ON FUNCTION msgstore._response_is_sound(text, text, jsonb, jsonb, jsonb) IS
    'Returns whether the ID has 1 to 255 bytes, the status is known, input and output are arrays, and the extensions an object or null';
COMMENT ON TABLE msgstore.responses IS
    'Responses of the durable store, each linked to the response that it continues from. Deleted responses stay for their chains until they are purged';
COMMENT ON COLUMN msgstore.responses.tenant_id IS
    'Tenant; empty for a response without a tenant';
COMMENT ON COLUMN msgstore.responses.id IS
    'ID given by the client, 1 to 255 bytes, unique within the tenant';
COMMENT ON COLUMN msgstore.responses.owner IS
    'Value of msgstore.owner when the response was saved; empty for a response without an owner';
COMMENT ON COLUMN msgstore.responses.status IS
    'queued, in_progress, completed, incomplete, failed, cancelled or requires_action';
COMMENT ON COLUMN msgstore.responses.model IS
    'Name of the model';
COMMENT ON COLUMN msgstore.responses.previous_response_id IS
    'ID of the response of the same tenant that this one continues from, which may not exist; null for the first of a chain';
COMMENT ON COLUMN msgstore.responses.input IS
    'Input items, a JSON array';
COMMENT ON COLUMN msgstore.responses.output IS
    'Output items, a JSON array; empty for a failed response';
COMMENT ON COLUMN msgstore.responses.usage_input_tokens IS
    'Number of input tokens, at most 2147483647; a greater number is in extensions';
COMMENT ON COLUMN msgstore.responses.usage_output_tokens IS
    'Number of output tokens, at most 2147483647; a greater number is in extensions';
COMMENT ON COLUMN msgstore.responses.usage_total_tokens IS
    'Total number of tokens, at most 2147483647; a greater number is in extensions';
COMMENT ON COLUMN msgstore.responses.error IS
    'Error of the response, any JSON value; null if there is none';
COMMENT ON COLUMN msgstore.responses.extensions IS
    'Fields of the document that have no column, as saved; null if there are none';
COMMENT ON COLUMN msgstore.responses.created_at IS
    'Creation time in Unix seconds, rounded down; a time with a fraction is in extensions';
COMMENT ON COLUMN msgstore.responses.ended_at IS
    'Time, by the clock of the server, at which the response was first stored as neither queued nor in_progress; null before. msgstore.response_ttl counts from here';
COMMENT ON COLUMN msgstore.responses.last_used_at IS
    'Time at which the response was last read by a get or as part of a chain after its end, late by up to an eighth of msgstore.response_max_idle; null if it was not. Without that setting nothing is noted';
COMMENT ON COLUMN msgstore.responses.on_hold IS
    'True for a response under legal hold, which is never removed';
COMMENT ON COLUMN msgstore.responses.completed_at IS
    'Completion time in Unix seconds, rounded down, or null; a time with a fraction is in extensions';
COMMENT ON COLUMN msgstore.responses.deleted_at IS
    'Time of the soft delete; null for a response that is not deleted';
COMMENT ON COLUMN msgstore.responses.background IS
    'True for a response that a worker completes after it was saved';
COMMENT ON COLUMN msgstore.responses.background_request IS
    'Request that the worker needs, as saved; null if there is none';
COMMENT ON COLUMN msgstore.responses.worker_id IS
    'Worker that made the last claim; null for an unclaimed response';
COMMENT ON COLUMN msgstore.responses.worker_heartbeat IS
    'Time of the last claim or heartbeat; null for an unclaimed response';
COMMENT ON COLUMN msgstore.responses.attempt_count IS
    'Number of claims so far';
