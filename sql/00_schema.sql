\echo Use "CREATE EXTENSION msgstore" to load this file. \quit

-- Snippets and internationalized domains need to know the characters of a text,
-- and SQL_ASCII does not define any beyond ASCII.
DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') = 'SQL_ASCII' THEN
        RAISE EXCEPTION 'cannot create msgstore in a database with encoding "SQL_ASCII"'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The encoding of the database must define a character set.',
                  HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
END
$$;
