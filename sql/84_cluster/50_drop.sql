-- cluster: removes a tenant that has moved.

-- The publication goes first, in a transaction of its own: a subscription that still
-- exists must not repeat the removal.
CREATE FUNCTION msgstore._drop_publication(tenant text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('tenants');
    PERFORM msgstore._check_elsewhere(tenant);
    EXECUTE format('DROP PUBLICATION IF EXISTS %I', msgstore._publication_name(tenant));
END
$$;

CREATE FUNCTION msgstore._drop_rows(tenant text, most int) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET jit = off
    AS $$
DECLARE
    target text;
    removed bigint;
BEGIN
    PERFORM msgstore._check_no_tenant('tenants');
    PERFORM msgstore._check_elsewhere(tenant);
    -- As erase_address(): no merge or indexing holds rows of the tenant.
    PERFORM msgstore._hold_changes(true), msgstore._hold_search(true);
    -- Removing conversations changes their count, so that it goes last.
    FOR target IN
        SELECT t.name FROM msgstore._tenant_tables() t
        ORDER BY t.class = 'rebuilt', t.name = 'live_changes'
    LOOP
        EXECUTE format(
            'DELETE FROM msgstore.%1$I t WHERE t.tenant_id = $1 AND t.ctid = ANY (ARRAY('
            ' SELECT r.ctid FROM msgstore.%1$I r WHERE r.tenant_id = $1 LIMIT $2))', target)
        USING tenant, most;
        GET DIAGNOSTICS removed = ROW_COUNT;
        IF removed > 0 THEN
            RETURN removed;
        END IF;
    END LOOP;
    PERFORM msgstore.recount();
    RETURN 0;
END
$$;

-- Not SECURITY DEFINER: a procedure that commits cannot be.
CREATE PROCEDURE msgstore.drop_tenant(tenant text)
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM msgstore._drop_publication(tenant);
    COMMIT;
    WHILE msgstore._drop_rows(tenant, 10000) OPERATOR(pg_catalog.>) 0 LOOP
        COMMIT;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._drop_publication(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_rows(text, int) FROM PUBLIC;
REVOKE ALL ON PROCEDURE msgstore.drop_tenant(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._drop_publication(text) IS
    'Drops the publication of tenant_publication()';
COMMENT ON FUNCTION msgstore._drop_rows(text, int) IS
    'Removes up to so many rows of a tenant from one table. Returns how many; 0 if nothing is left';
COMMENT ON PROCEDURE msgstore.drop_tenant(text) IS
    'Removes all rows of a tenant that has moved, in transactions of 10,000 rows, and its publication. Keys, limits and sources stay. Raises MS400 for an invalid name, MS403 in a session of a tenant, MS409 if the tenant is neither fenced nor in another slot';
