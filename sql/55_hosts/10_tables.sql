-- The projection of the events to one row for each host. Written in the
-- transaction that appends them, so that it matches them in every snapshot.
CREATE TABLE msgstore.host_entries (
    tenant_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    ip_address text COLLATE "C" NOT NULL,
    hostname text COLLATE "C" NOT NULL,
    comment text,
    aliases text[] NOT NULL,
    tags text[] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    event_version text COLLATE "C" NOT NULL,
    deleted boolean NOT NULL,
    CONSTRAINT host_entries_pkey PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 80);

-- No two hosts that are not deleted have the same address and name.
CREATE UNIQUE INDEX host_entries_active_key
    ON msgstore.host_entries (tenant_id, ip_address, hostname)
    WHERE NOT deleted;

-- The greatest event id of each tenant. The row is locked from the generation of
-- an id to the commit, so that ids are committed in ascending order and no two
-- sessions change the hosts of a tenant at the same time.
CREATE TABLE msgstore.host_log (
    tenant_id text COLLATE "C" NOT NULL,
    latest_event_id uuid NOT NULL,
    CONSTRAINT host_log_pkey PRIMARY KEY (tenant_id)
) WITH (fillfactor = 20);

CREATE TYPE msgstore.host_entry AS (
    id text,
    ip_address text,
    hostname text,
    aliases text[],
    comment text,
    tags text[],
    created_at timestamptz,
    updated_at timestamptz,
    version text
);

CREATE TYPE msgstore.host_append AS (
    aggregate_id text,
    event_id text,
    event_version text,
    seq bigint
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.host_entries', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.host_log', '');

COMMENT ON TABLE msgstore.host_entries IS
    'Current state of each host, including deleted ones; always matches the events';
COMMENT ON COLUMN msgstore.host_entries.tenant_id IS
    'Tenant that owns the host';
COMMENT ON COLUMN msgstore.host_entries.id IS
    'Aggregate id of the host';
COMMENT ON COLUMN msgstore.host_entries.ip_address IS
    'IPv4 or IPv6 address as text';
COMMENT ON COLUMN msgstore.host_entries.hostname IS
    'Hostname';
COMMENT ON COLUMN msgstore.host_entries.comment IS
    'Comment; null: none';
COMMENT ON COLUMN msgstore.host_entries.aliases IS
    'Other names of the host';
COMMENT ON COLUMN msgstore.host_entries.tags IS
    'Tags of the host';
COMMENT ON COLUMN msgstore.host_entries.created_at IS
    'Time at which the host was created, from the creating event';
COMMENT ON COLUMN msgstore.host_entries.updated_at IS
    'Time at which the last event of the host was appended';
COMMENT ON COLUMN msgstore.host_entries.event_version IS
    'Version (text) of the last event of the host';
COMMENT ON COLUMN msgstore.host_entries.deleted IS
    'Whether the host is deleted';
COMMENT ON TABLE msgstore.host_log IS
    'Greatest event id of each tenant; its row is locked while hosts are changed';
COMMENT ON COLUMN msgstore.host_log.tenant_id IS
    'Tenant that owns the hosts';
COMMENT ON COLUMN msgstore.host_log.latest_event_id IS
    'Greatest event id: the 128 bits of a ULID';
COMMENT ON TYPE msgstore.host_entry IS
    'Host as returned by the functions that read hosts';
COMMENT ON COLUMN msgstore.host_entry.id IS
    'Aggregate id of the host';
COMMENT ON COLUMN msgstore.host_entry.ip_address IS
    'IPv4 or IPv6 address as text';
COMMENT ON COLUMN msgstore.host_entry.hostname IS
    'Hostname';
COMMENT ON COLUMN msgstore.host_entry.aliases IS
    'Other names of the host';
COMMENT ON COLUMN msgstore.host_entry.comment IS
    'Comment; null: none';
COMMENT ON COLUMN msgstore.host_entry.tags IS
    'Tags of the host';
COMMENT ON COLUMN msgstore.host_entry.created_at IS
    'Time at which the host was created, from the creating event';
COMMENT ON COLUMN msgstore.host_entry.updated_at IS
    'Time at which the last event of the host was appended';
COMMENT ON COLUMN msgstore.host_entry.version IS
    'Version (text) of the last event of the host';
COMMENT ON TYPE msgstore.host_append IS
    'Event that was appended to a host';
COMMENT ON COLUMN msgstore.host_append.aggregate_id IS
    'Id of the host';
COMMENT ON COLUMN msgstore.host_append.event_id IS
    'Id of the event (ULID)';
COMMENT ON COLUMN msgstore.host_append.event_version IS
    'Version of the event: the given text, or the event id';
COMMENT ON COLUMN msgstore.host_append.seq IS
    'Number of the event among those of the host, counted from 1';
