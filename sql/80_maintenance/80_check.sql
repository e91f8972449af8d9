-- maintenance: check. All its functions are STABLE and therefore read one
-- snapshot, the caller's.

CREATE FUNCTION msgstore.check()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
    SET quote_all_identifiers = off
    AS $$
BEGIN
    IF msgstore._tenant_scope() = '' THEN
        RETURN QUERY SELECT * FROM msgstore._check_objects();
        RETURN QUERY SELECT * FROM msgstore._check_sequences();
        RETURN QUERY SELECT * FROM msgstore._check_handlers();
    END IF;
    -- The checks of data need all tables.
    IF EXISTS (
        SELECT FROM msgstore.installed_objects i
        WHERE i.type = 'table' AND to_regclass(i.identity) IS NULL) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM msgstore._check_projections();
    RETURN QUERY SELECT * FROM msgstore._check_conversations();
    RETURN QUERY SELECT * FROM msgstore._check_events();
    RETURN QUERY SELECT * FROM msgstore._check_queue();
    RETURN QUERY SELECT * FROM msgstore._check_dead_letters();
    RETURN QUERY SELECT * FROM msgstore._check_outbox();
    RETURN QUERY SELECT * FROM msgstore._check_streams();
    RETURN QUERY SELECT * FROM msgstore._check_search();
    RETURN QUERY SELECT * FROM msgstore._check_service();
END
$$;

REVOKE ALL ON FUNCTION msgstore.check() FROM PUBLIC;

COMMENT ON FUNCTION msgstore.check() IS
    'Verifies the stored data and the objects of the extension in one snapshot. Returns one row for each finding, with a statement that repairs it, if there is one';
