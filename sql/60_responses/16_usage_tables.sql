-- responses: the tables of the usage of tokens.

CREATE TABLE msgstore.response_usage (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    model text COLLATE "C" NOT NULL,
    day date NOT NULL,
    response_count bigint NOT NULL,
    input_tokens numeric NOT NULL,
    output_tokens numeric NOT NULL,
    total_tokens numeric NOT NULL,
    CONSTRAINT response_usage_pkey PRIMARY KEY (tenant_id, model, day)
);

-- Rows are added and all of them taken. The key is for a subscriber, which would read
-- the table for each row that is taken.
CREATE TABLE msgstore.response_usage_changes (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    model text COLLATE "C" NOT NULL,
    day date NOT NULL,
    response_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    CONSTRAINT response_usage_changes_pkey PRIMARY KEY (tenant_id, id)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.response_usage', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.response_usage_changes', '');

COMMENT ON TABLE msgstore.response_usage IS
    'Usage of tokens by tenant, model and day, without the changes that are not merged yet. It stays when responses are removed';
COMMENT ON COLUMN msgstore.response_usage.tenant_id IS
    'Tenant; empty for responses without a tenant';
COMMENT ON COLUMN msgstore.response_usage.model IS
    'Name of the model';
COMMENT ON COLUMN msgstore.response_usage.day IS
    'Day, in UTC, on which the responses ended in the store';
COMMENT ON COLUMN msgstore.response_usage.response_count IS
    'Number of responses with a usage';
COMMENT ON COLUMN msgstore.response_usage.input_tokens IS
    'Number of input tokens';
COMMENT ON COLUMN msgstore.response_usage.output_tokens IS
    'Number of output tokens';
COMMENT ON COLUMN msgstore.response_usage.total_tokens IS
    'Total number of tokens';
COMMENT ON TABLE msgstore.response_usage_changes IS
    'Changes of response_usage that the worker has not merged yet';
COMMENT ON COLUMN msgstore.response_usage_changes.tenant_id IS
    'Tenant; empty for a response without a tenant';
COMMENT ON COLUMN msgstore.response_usage_changes.id IS
    'Random ID of the change';
COMMENT ON COLUMN msgstore.response_usage_changes.model IS
    'Name of the model';
COMMENT ON COLUMN msgstore.response_usage_changes.day IS
    'Day, in UTC, on which the response ended in the store';
COMMENT ON COLUMN msgstore.response_usage_changes.response_count IS
    'Change of the number of responses with a usage';
COMMENT ON COLUMN msgstore.response_usage_changes.input_tokens IS
    'Change of the number of input tokens';
COMMENT ON COLUMN msgstore.response_usage_changes.output_tokens IS
    'Change of the number of output tokens';
COMMENT ON COLUMN msgstore.response_usage_changes.total_tokens IS
    'Change of the total number of tokens';
