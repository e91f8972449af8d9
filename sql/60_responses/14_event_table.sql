-- responses: the table of the events of responses. What removes a response
-- removes its events.

CREATE TABLE msgstore.response_events (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    response_id text COLLATE "C" NOT NULL,
    sequence_number bigint NOT NULL,
    event jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT response_events_pkey
        PRIMARY KEY (tenant_id, response_id, sequence_number),
    CONSTRAINT response_events_sequence_number_positive
        CHECK (sequence_number >= 0),
    CONSTRAINT response_events_event_object
        CHECK (jsonb_typeof(event) = 'object')
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.response_events', '');

COMMENT ON TABLE msgstore.response_events IS
    'Events of responses of the durable store, as streamed to a client, from which another connection can resume the stream';
COMMENT ON COLUMN msgstore.response_events.tenant_id IS
    'Tenant of the response';
COMMENT ON COLUMN msgstore.response_events.response_id IS
    'ID of the response';
COMMENT ON COLUMN msgstore.response_events.sequence_number IS
    'Order of the events of a response, from 0; numbers can be missing';
COMMENT ON COLUMN msgstore.response_events.event IS
    'The event, a JSON object with type and sequence_number';
COMMENT ON COLUMN msgstore.response_events.created_at IS
    'Time at which the event was appended';
