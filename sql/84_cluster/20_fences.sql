-- cluster: fences. They refuse a tenant while it is moved.

CREATE FUNCTION msgstore.fence_tenant(tenant text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('fences');
    PERFORM msgstore._check_tenant(tenant);
    INSERT INTO msgstore.tenant_fences (tenant_id) VALUES (tenant)
    ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION msgstore._wait_for_writers(until timestamptz) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wait_for_writers';

-- In a transaction that has written, two sessions could wait for each other, and its
-- own fence is not committed.
CREATE FUNCTION msgstore.wait_for_fence(tenant text, timeout interval DEFAULT '30 seconds')
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('fences');
    PERFORM msgstore._check_tenant(tenant);
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'cannot wait for a fence in a transaction that has changed rows'
            USING ERRCODE = 'MS400',
                  HINT = 'Commit fence_tenant(), and call wait_for_fence() in the next transaction.';
    ELSIF timeout IS NULL OR timeout < '0' THEN
        RAISE EXCEPTION 'invalid timeout "%"', coalesce(timeout::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The timeout must be a non-negative interval, such as ''30 seconds''.';
    ELSIF NOT EXISTS (SELECT FROM msgstore.tenant_fences f WHERE f.tenant_id = tenant) THEN
        RAISE EXCEPTION 'tenant "%" is not fenced', left(tenant, 64)
            USING ERRCODE = 'MS409',
                  HINT = 'Call fence_tenant() first, and commit.';
    END IF;
    PERFORM msgstore._wait_for_writers(clock_timestamp() + timeout);
EXCEPTION
    WHEN lock_not_available THEN
        RAISE EXCEPTION 'calls of tenant "%" may still be open', left(tenant, 64)
            USING ERRCODE = 'MS503',
                  DETAIL = format('These transactions have not ended: %s.', (
                      SELECT string_agg(o.name, ', ') FROM (
                          SELECT format('process %s (%s)', a.pid, concat_ws(', ',
                              nullif(a.application_name, ''), 'user ' || a.usename, a.state,
                              'for ' || date_trunc('second', clock_timestamp() - a.xact_start)))
                          FROM pg_stat_activity a
                          WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
                              AND a.xact_start < statement_timestamp()
                          UNION ALL
                          SELECT format('prepared transaction "%s"', p.gid)
                          FROM pg_prepared_xacts p WHERE p.database = current_database())
                          AS o (name))),
                  HINT = 'End them, and call wait_for_fence() again.';
END
$$;

CREATE FUNCTION msgstore.unfence_tenant(tenant text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('fences');
    PERFORM msgstore._check_tenant(tenant);
    DELETE FROM msgstore.tenant_fences f WHERE f.tenant_id = tenant;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM msgstore._wake_for_tenants();
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION msgstore.fence_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wait_for_writers(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.wait_for_fence(text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.unfence_tenant(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.fence_tenant(text) IS
    'Refuses the tenant from the commit on: calls that write its rows raise MS503, and workers, claims and senders leave its events and messages queued. Reading goes on. The purge of all tenants rests until unfence_tenant(). Raises MS400 for an invalid name, MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore._wait_for_writers(timestamptz) IS
    'Waits for the transactions of this database that are open now. Raises 55P03 after this time';
COMMENT ON FUNCTION msgstore.wait_for_fence(text, interval) IS
    'Waits until every transaction that began before the fence was committed has ended, also prepared ones: then no row of the tenant changes any more. Holds no lock. Raises MS400 for an invalid argument or in a transaction that has changed rows, MS403 in a session of a tenant, MS409 if the tenant is not fenced, MS503 after the timeout; DETAIL names a process that has not ended';
COMMENT ON FUNCTION msgstore.unfence_tenant(text) IS
    'Ends the fence at the commit and wakes workers and senders. Returns whether there was a fence. Raises MS400 for an invalid name, MS403 in a session of a tenant';
