CREATE SEQUENCE msgstore.stream_events_position_seq;

-- Columns of fixed width first: no event has padding.
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
    CONSTRAINT stream_events_pkey PRIMARY KEY (tenant_id, stream, version),
    CONSTRAINT stream_events_event_id_key UNIQUE (tenant_id, event_id)
);

CREATE INDEX stream_events_position_idx
    ON msgstore.stream_events (tenant_id, global_position);

CREATE INDEX stream_events_category_idx
    ON msgstore.stream_events (tenant_id, category, global_position);

-- An event as readers get it.
CREATE TYPE msgstore.stream_event AS (
    stream text,
    version bigint,
    global_position bigint,
    event_id uuid,
    type text,
    data jsonb,
    metadata jsonb,
    created_at timestamptz,
    created_by text
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

-- A row for each member of each generation: resizing a group begins a new one.
-- Positions of a former generation say what of the rest was handled already.
CREATE TABLE msgstore.stream_consumers (
    tenant_id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    generation int NOT NULL,
    member bigint NOT NULL,
    group_size bigint NOT NULL,
    position bigint NOT NULL,
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

SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_events_position_seq', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_events', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_subscriptions', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_consumers', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.parked_events', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.snapshots', '');

COMMENT ON TABLE msgstore.stream_events IS
    'Events, only ever appended; compaction replaces those of one stream';
COMMENT ON TABLE msgstore.stream_subscriptions IS
    'Named readers of a category, or of all events where it is null';
COMMENT ON TABLE msgstore.stream_consumers IS
    'Where each member of a subscription''s group stands, by generation of the group';
COMMENT ON TABLE msgstore.parked_events IS
    'Events that a subscription has set aside';
COMMENT ON TABLE msgstore.snapshots IS
    'States kept beside the log, with the position of the log that they are of';
COMMENT ON SEQUENCE msgstore.stream_events_position_seq IS
    'Global positions; gaps are possible. CACHE must stay 1: positions are to be drawn in order';
COMMENT ON TYPE msgstore.stream_event IS
    'An event as the reading functions return it';
COMMENT ON COLUMN msgstore.stream_events.horizon IS
    'The next transaction id after the position was drawn, below 16 bits of the cluster''s identifier';
