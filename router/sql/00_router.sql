\echo Use "CREATE EXTENSION msgstore_router" to load this file. \quit

-- Nodes store names in UTF-8, and the slot of a tenant is a hash of its bytes.
DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'cannot create msgstore_router in a database with encoding "%"',
            pg_catalog.current_setting('server_encoding')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The encoding of the database must be UTF8.';
    END IF;
END
$$;

