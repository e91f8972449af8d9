CREATE SEQUENCE msgstore.stream_events_position_seq;

-- Fixed-width columns come first, so that rows have no alignment padding.
CREATE TABLE msgstore.stream_events (
    global_position bigint NOT NULL,
    horizon bigint NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    created_by text COLLATE "C",
    data jsonb,
    metadata jsonb,
    happened_at timestamptz,
    tags text[] COLLATE "C",
    CONSTRAINT stream_events_pkey PRIMARY KEY (tenant_id, stream, version),
    CONSTRAINT stream_events_event_id_key UNIQUE (tenant_id, event_id)
);

CREATE UNIQUE INDEX stream_events_position_idx
    ON msgstore.stream_events (tenant_id, global_position);

CREATE INDEX stream_events_category_idx
    ON msgstore.stream_events (tenant_id, category, global_position);

-- Summaries of ranges of pages: to insert an event costs nothing until its range
-- is full. Readers of a type that is rare skip the ranges without it.
CREATE INDEX stream_events_type_idx ON msgstore.stream_events
    USING brin (tenant_id text_bloom_ops, type text_bloom_ops,
        global_position int8_minmax_ops)
    WITH (autosummarize = on);

-- CREATE INDEX has summarized the first range, which is empty: each insert would
-- change the summary, which takes almost three times as long as the rest of an append.
SELECT pg_catalog.brin_desummarize_range('msgstore.stream_events_type_idx', 0);

CREATE TYPE msgstore.stream_event AS (
    stream text,
    version bigint,
    global_position bigint,
    event_id uuid,
    type text,
    data jsonb,
    metadata jsonb,
    created_at timestamptz,
    created_by text,
    happened_at timestamptz,
    tags text[]
);

-- Events without tags and without ids of a trace have no rows here, so that an
-- append does not pay for what it does not use.
CREATE TABLE msgstore.stream_event_keys (
    tenant_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    global_position bigint NOT NULL,
    CONSTRAINT stream_event_keys_pkey
        PRIMARY KEY (tenant_id, key, global_position)
);

CREATE TABLE msgstore.stream_subscriptions (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    category text COLLATE "C",
    generation int NOT NULL DEFAULT 1,
    group_size bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stream_subscriptions_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT stream_subscriptions_size CHECK (group_size BETWEEN 1 AND 1000)
);

-- One row for each member of each generation. Resizing a group starts a new
-- generation; the positions of earlier ones tell which of the events still ahead
-- were handled before.
CREATE TABLE msgstore.stream_consumers (
    tenant_id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    generation int NOT NULL,
    member bigint NOT NULL,
    group_size bigint NOT NULL,
    position bigint NOT NULL,
    fetched_at timestamptz,
    CONSTRAINT stream_consumers_pkey
        PRIMARY KEY (tenant_id, subscription, generation, member)
) WITH (fillfactor = 50);

CREATE TABLE msgstore.parked_events (
    tenant_id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    global_position bigint NOT NULL,
    reason text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT parked_events_pkey
        PRIMARY KEY (tenant_id, subscription, global_position)
);

-- A projection is a subscription of the same name. Functions are stored by name
-- and not by oid, so that they survive a dump and their re-creation.
CREATE TABLE msgstore.projections (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    function text COLLATE "C" NOT NULL,
    reset_function text COLLATE "C",
    created_by regrole NOT NULL,
    search_path text NOT NULL,
    batch_size int NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    one_by_one int NOT NULL DEFAULT 0,
    attempts int NOT NULL DEFAULT 0,
    trying boolean NOT NULL DEFAULT false,
    next_attempt_at timestamptz,
    error_code text,
    error_message text,
    applied_at timestamptz,
    turn_at timestamptz,
    rebuild_until bigint,
    rebuild_started_at timestamptz,
    rebuilt_at timestamptz,
    CONSTRAINT projections_pkey PRIMARY KEY (tenant_id, name)
) WITH (fillfactor = 50);

CREATE TABLE msgstore.snapshots (
    tenant_id text COLLATE "C" NOT NULL,
    snapshot_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    hosts_content text NOT NULL,
    entries jsonb,
    entry_count integer NOT NULL,
    trigger text NOT NULL,
    name text,
    event_log_position bigint,
    CONSTRAINT snapshots_pkey PRIMARY KEY (tenant_id, snapshot_id),
    CONSTRAINT snapshots_entry_count CHECK (entry_count >= 0)
);

CREATE INDEX idx_snapshots_created
    ON msgstore.snapshots (tenant_id, created_at DESC, snapshot_id DESC);

ALTER SEQUENCE msgstore.stream_events_position_seq
    OWNED BY msgstore.stream_events.global_position;

SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_events_position_seq', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_events', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_event_keys', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_subscriptions', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_consumers', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.parked_events', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.projections', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.snapshots', '');

COMMENT ON SEQUENCE msgstore.stream_events_position_seq IS
    'Global positions of events; there may be gaps. CACHE must stay 1, because positions must be drawn in order';
COMMENT ON TABLE msgstore.stream_events IS
    'Events of all streams. Rows are only added, except that compaction replaces the events of one stream';
COMMENT ON COLUMN msgstore.stream_events.global_position IS
    'Position of the event among the events of all streams';
COMMENT ON COLUMN msgstore.stream_events.horizon IS
    'Next transaction id of the server right after the position was drawn (low 44 bits); above it the logarithm, rounded up, of its distance to the oldest transaction that was open (6 bits) and part of the cluster''s system identifier (14 bits)';
COMMENT ON COLUMN msgstore.stream_events.version IS
    'Number of the event within its stream, counted from 1';
COMMENT ON COLUMN msgstore.stream_events.created_at IS
    'Time at which the event was appended';
COMMENT ON COLUMN msgstore.stream_events.event_id IS
    'Id of the event: the caller''s, or a UUID version 8 that sorts by global_position; a ULID in the streams of hosts';
COMMENT ON COLUMN msgstore.stream_events.tenant_id IS
    'Tenant that owns the event';
COMMENT ON COLUMN msgstore.stream_events.stream IS
    'Name of the stream';
COMMENT ON COLUMN msgstore.stream_events.category IS
    'Category of the stream: its name up to the first hyphen';
COMMENT ON COLUMN msgstore.stream_events.type IS
    'Type of the event, chosen by the caller';
COMMENT ON COLUMN msgstore.stream_events.created_by IS
    'Author of the event as given by the caller; null: not given';
COMMENT ON COLUMN msgstore.stream_events.data IS
    'Content of the event';
COMMENT ON COLUMN msgstore.stream_events.metadata IS
    'Additional data about the event; null: none';
COMMENT ON COLUMN msgstore.stream_events.happened_at IS
    'Time at which the event happened, if it was imported with one; null: created_at';
COMMENT ON COLUMN msgstore.stream_events.tags IS
    'Tags of the event, which append_if() and read_query() look for; null: none';
COMMENT ON TABLE msgstore.stream_event_keys IS
    'What events are found by beside their stream and category: tags, and the ids of traces in their metadata';
COMMENT ON COLUMN msgstore.stream_event_keys.tenant_id IS
    'Tenant that owns the event';
COMMENT ON COLUMN msgstore.stream_event_keys.key IS
    '"tag", "correlation_id" or "causation_id", a colon, and the value, or its MD5 if it has more than 255 bytes';
COMMENT ON COLUMN msgstore.stream_event_keys.global_position IS
    'Global position of the event';
COMMENT ON TYPE msgstore.stream_event IS
    'Event as returned by the functions that read streams';
COMMENT ON COLUMN msgstore.stream_event.stream IS
    'Name of the stream';
COMMENT ON COLUMN msgstore.stream_event.version IS
    'Number of the event within its stream, counted from 1';
COMMENT ON COLUMN msgstore.stream_event.global_position IS
    'Position of the event among the events of all streams';
COMMENT ON COLUMN msgstore.stream_event.event_id IS
    'Id of the event';
COMMENT ON COLUMN msgstore.stream_event.type IS
    'Type of the event';
COMMENT ON COLUMN msgstore.stream_event.data IS
    'Content of the event';
COMMENT ON COLUMN msgstore.stream_event.metadata IS
    'Additional data about the event; null: none';
COMMENT ON COLUMN msgstore.stream_event.created_at IS
    'Time at which the event was appended';
COMMENT ON COLUMN msgstore.stream_event.created_by IS
    'Author of the event as given by the caller; null: not given';
COMMENT ON COLUMN msgstore.stream_event.happened_at IS
    'Time at which the event happened, if it was imported with one; null: created_at';
COMMENT ON COLUMN msgstore.stream_event.tags IS
    'Tags of the event; null: none';
COMMENT ON TABLE msgstore.stream_subscriptions IS
    'Subscriptions: named readers whose positions are stored in the database';
COMMENT ON COLUMN msgstore.stream_subscriptions.tenant_id IS
    'Tenant that owns the subscription';
COMMENT ON COLUMN msgstore.stream_subscriptions.name IS
    'Name of the subscription';
COMMENT ON COLUMN msgstore.stream_subscriptions.category IS
    'Category that is read; null: all categories';
COMMENT ON COLUMN msgstore.stream_subscriptions.generation IS
    'Number of the current generation of consumers; resize_subscription() starts a new one';
COMMENT ON COLUMN msgstore.stream_subscriptions.group_size IS
    'Number of consumers that share the streams';
COMMENT ON COLUMN msgstore.stream_subscriptions.created_at IS
    'Time at which the subscription was created';
COMMENT ON TABLE msgstore.stream_consumers IS
    'Position of each consumer of a subscription, for the current generation and for earlier ones that were ahead of it';
COMMENT ON COLUMN msgstore.stream_consumers.tenant_id IS
    'Tenant that owns the subscription';
COMMENT ON COLUMN msgstore.stream_consumers.subscription IS
    'Name of the subscription';
COMMENT ON COLUMN msgstore.stream_consumers.generation IS
    'Generation that the consumer belongs to';
COMMENT ON COLUMN msgstore.stream_consumers.member IS
    'Number of the consumer in its group, counted from 0';
COMMENT ON COLUMN msgstore.stream_consumers.group_size IS
    'Number of consumers in this generation';
COMMENT ON COLUMN msgstore.stream_consumers.position IS
    'Global position up to which the consumer has acknowledged its events';
COMMENT ON COLUMN msgstore.stream_consumers.fetched_at IS
    'Time of the last fetch(), noted at most once a second; null: never';
COMMENT ON TABLE msgstore.parked_events IS
    'Events that a subscription has set aside to handle later';
COMMENT ON COLUMN msgstore.parked_events.tenant_id IS
    'Tenant that owns the subscription';
COMMENT ON COLUMN msgstore.parked_events.subscription IS
    'Name of the subscription';
COMMENT ON COLUMN msgstore.parked_events.global_position IS
    'Global position of the event';
COMMENT ON COLUMN msgstore.parked_events.reason IS
    'Reason given to park()';
COMMENT ON COLUMN msgstore.parked_events.parked_at IS
    'Time at which the event was last parked';
COMMENT ON TABLE msgstore.projections IS
    'Subscriptions whose events the worker applies by calling a function';
COMMENT ON COLUMN msgstore.projections.tenant_id IS
    'Tenant that owns the projection';
COMMENT ON COLUMN msgstore.projections.name IS
    'Name of the projection and of its subscription';
COMMENT ON COLUMN msgstore.projections.function IS
    'Function that applies events, with schema and argument types';
COMMENT ON COLUMN msgstore.projections.reset_function IS
    'Function that empties what the projection maintains; null: none';
COMMENT ON COLUMN msgstore.projections.created_by IS
    'Role that created the projection and whose rights its functions run with';
COMMENT ON COLUMN msgstore.projections.search_path IS
    'search_path of the session that created the projection, in effect while its functions run';
COMMENT ON COLUMN msgstore.projections.batch_size IS
    'Maximum number of events that are applied in one transaction';
COMMENT ON COLUMN msgstore.projections.paused IS
    'Whether the worker leaves the projection alone';
COMMENT ON COLUMN msgstore.projections.one_by_one IS
    'Number of events to be applied one by one, after a failed batch or a start of the worker';
COMMENT ON COLUMN msgstore.projections.attempts IS
    'Failed attempts to apply the next event, and the one in progress';
COMMENT ON COLUMN msgstore.projections.trying IS
    'Whether an attempt to apply the next event has begun';
COMMENT ON COLUMN msgstore.projections.next_attempt_at IS
    'Time of the next attempt; null: at once';
COMMENT ON COLUMN msgstore.projections.error_code IS
    'SQLSTATE of the last error, MS500 for the end of a process; null: no error yet';
COMMENT ON COLUMN msgstore.projections.error_message IS
    'Message of the last error, at most 1000 characters';
COMMENT ON COLUMN msgstore.projections.applied_at IS
    'Time at which events were last applied; null: never';
COMMENT ON COLUMN msgstore.projections.turn_at IS
    'Time of the last turn in which there was something to do; null: none';
COMMENT ON COLUMN msgstore.projections.rebuild_until IS
    'Position of the last event when the last rebuild began; null: no event, or no rebuild';
COMMENT ON COLUMN msgstore.projections.rebuild_started_at IS
    'Start of the last rebuild; null: none';
COMMENT ON COLUMN msgstore.projections.rebuilt_at IS
    'Time at which the last rebuild reached the end of the log; null: not yet, or no rebuild';
COMMENT ON TABLE msgstore.snapshots IS
    'Snapshots of the state that events lead to, stored by the caller';
COMMENT ON COLUMN msgstore.snapshots.tenant_id IS
    'Tenant that owns the snapshot';
COMMENT ON COLUMN msgstore.snapshots.snapshot_id IS
    'Id of the snapshot';
COMMENT ON COLUMN msgstore.snapshots.created_at IS
    'Time of the snapshot, as given or when it was first saved';
COMMENT ON COLUMN msgstore.snapshots.hosts_content IS
    'Content of the hosts file; empty if not given';
COMMENT ON COLUMN msgstore.snapshots.entries IS
    'State as JSON; null: not given';
COMMENT ON COLUMN msgstore.snapshots.entry_count IS
    'Number of entries, as given or counted';
COMMENT ON COLUMN msgstore.snapshots.trigger IS
    'What the snapshot was taken for, such as manual';
COMMENT ON COLUMN msgstore.snapshots.name IS
    'Display name; null: none';
COMMENT ON COLUMN msgstore.snapshots.event_log_position IS
    'Global position of the last event included in the snapshot; null: not given';
