-- conversations: how many there are.

CREATE FUNCTION msgstore._add_to_count(tenant_id text, change bigint)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    AS $$
#variable_conflict use_column
BEGIN
    -- With a transaction-wide snapshot, to lock a row that another transaction
    -- has changed is an error.
    IF current_setting('transaction_isolation') = 'read committed' THEN
        WITH free AS MATERIALIZED (
            SELECT c.part, c.n
            FROM msgstore.conversation_counts c
            WHERE c.tenant_id = _add_to_count.tenant_id
            ORDER BY c.part LIMIT 4
            FOR UPDATE SKIP LOCKED
        ), kept AS MATERIALIZED (
            SELECT min(f.part) AS part, sum(f.n) AS n FROM free f
        ), merged AS (
            DELETE FROM msgstore.conversation_counts c
            USING free f, kept k
            WHERE c.tenant_id = _add_to_count.tenant_id
                AND c.part = f.part AND f.part <> k.part)
        UPDATE msgstore.conversation_counts c SET n = k.n + change
        FROM kept k
        WHERE c.tenant_id = _add_to_count.tenant_id AND c.part = k.part;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO msgstore.conversation_counts (tenant_id, n)
    VALUES (_add_to_count.tenant_id, change);
END
$$;

CREATE FUNCTION msgstore._count_conversations() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM msgstore.conversation_counts;
    ELSE
        PERFORM msgstore._add_to_count(
            c.tenant_id, CASE TG_OP WHEN 'DELETE' THEN -c.n ELSE c.n END)
        FROM (SELECT c.tenant_id, count(*) AS n
              FROM changed c GROUP BY c.tenant_id ORDER BY c.tenant_id) c;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER count_inserted AFTER INSERT ON msgstore.conversation_rows
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._count_conversations();
CREATE TRIGGER count_deleted AFTER DELETE ON msgstore.conversation_rows
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._count_conversations();
CREATE TRIGGER count_truncated AFTER TRUNCATE ON msgstore.conversation_rows
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._count_conversations();

-- The table lock keeps others from creating or deleting conversations meanwhile.
CREATE FUNCTION msgstore._recount_tenant(tenant_id text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    LOCK TABLE msgstore.conversation_rows IN SHARE MODE;
    PERFORM msgstore._add_to_count(
        _recount_tenant.tenant_id,
        (SELECT count(*) FROM msgstore.conversation_rows c
         WHERE c.tenant_id = _recount_tenant.tenant_id)
        - (SELECT coalesce(sum(c.n), 0) FROM msgstore.conversation_counts c
           WHERE c.tenant_id = _recount_tenant.tenant_id)::bigint);
END
$$;

REVOKE ALL ON FUNCTION msgstore._add_to_count(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_conversations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recount_tenant(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._add_to_count(text, bigint) IS
    'Adds change to the tenant''s number of conversations without waiting for other sessions';
COMMENT ON FUNCTION msgstore._count_conversations() IS
    'Trigger that maintains conversation_counts';
COMMENT ON FUNCTION msgstore._recount_tenant(text) IS
    'Corrects the tenant''s conversation_counts; waits for transactions that create conversations';
