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
DECLARE
    of_data CONSTANT text[] := '{projections,conversations,events,queue,dead_letters,outbox,streams,search,service}';
    part text;
    done int := 0;
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
    FOREACH part IN ARRAY of_data LOOP
        PERFORM msgstore._report_progress('check', part, done, cardinality(of_data));
        RETURN QUERY EXECUTE format('SELECT * FROM msgstore._check_%s()', part);
        done := done + 1;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore.check() FROM PUBLIC;

COMMENT ON FUNCTION msgstore.check() IS
    'Verifies the stored data and the objects of the extension in one snapshot. Returns one row for each finding, with a statement that repairs it, if there is one';
