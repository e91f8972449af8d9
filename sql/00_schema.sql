\echo Use "CREATE EXTENSION msgstore" to load this file. \quit

-- Grapheme clusters and internationalized domains have a meaning only where
-- the encoding says which characters the bytes are.
DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') = 'SQL_ASCII' THEN
        RAISE EXCEPTION 'cannot create msgstore in a database with encoding "SQL_ASCII"'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The encoding must say which characters the bytes are.',
                  HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
END
$$;
