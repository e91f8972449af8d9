-- What all events come to, host by host; written in the transaction that
-- appends them, so that it is right in every snapshot.
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

-- No two entries that are in force have the same address and name.
CREATE UNIQUE INDEX host_entries_active_key
    ON msgstore.host_entries (tenant_id, ip_address, hostname)
    WHERE NOT deleted;

-- The greatest event id of a tenant's log. Its row is locked from the making of
-- an id to the commit: ids are committed in their order, and no two sessions
-- change the hosts at the same time.
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

-- An event that has been appended.
CREATE TYPE msgstore.host_append AS (
    aggregate_id text,
    event_id text,
    event_version text,
    seq bigint
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.host_entries', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.host_log', '');

COMMENT ON TABLE msgstore.host_entries IS
    'What the events of each host come to, deleted ones too; right in every snapshot';
COMMENT ON TABLE msgstore.host_log IS
    'The greatest event id of each tenant; its row is locked while hosts are changed';
COMMENT ON TYPE msgstore.host_entry IS
    'A host as the reading functions return it';
COMMENT ON TYPE msgstore.host_append IS
    'An event that has been appended to a host';
