-- conversations: how many are closed, and have an assignee or a label.
--
-- Like conversation_counts: writers never wait for each other, and triggers maintain
-- the table, so that it need not be dumped. Adding a message writes none of it: the
-- merge that clears is_closed does, and a reader subtracts what is not merged.

-- Kinds: closed, assignee, label; closed_assignee and closed_label of closed ones.
CREATE TABLE msgstore.conversation_tallies (
    tenant_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    part bigint GENERATED ALWAYS AS IDENTITY,
    n bigint NOT NULL,
    CONSTRAINT conversation_tallies_pkey PRIMARY KEY (tenant_id, kind, name, part)
) WITH (fillfactor = 50);

CREATE FUNCTION msgstore._add_to_tally(
    tenant_id text,
    kind text,
    name text,
    change bigint)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    AS $$
#variable_conflict use_column
DECLARE
    kept record;
BEGIN
    -- See _add_to_count().
    IF current_setting('transaction_isolation') = 'read committed' THEN
        SELECT min(f.part) AS part, sum(f.n) + change AS n, array_agg(f.part) AS parts
        INTO kept
        FROM (
            SELECT t.part, t.n FROM msgstore.conversation_tallies t
            WHERE t.tenant_id = _add_to_tally.tenant_id
                AND t.kind = _add_to_tally.kind AND t.name = _add_to_tally.name
            ORDER BY t.part LIMIT 4
            FOR UPDATE SKIP LOCKED) f;
        IF kept.part IS NOT NULL THEN
            -- Names that nothing has any more do not stay.
            DELETE FROM msgstore.conversation_tallies t
            WHERE t.tenant_id = _add_to_tally.tenant_id
                AND t.kind = _add_to_tally.kind AND t.name = _add_to_tally.name
                AND t.part = ANY (kept.parts) AND (t.part <> kept.part OR kept.n = 0);
            UPDATE msgstore.conversation_tallies t SET n = kept.n
            WHERE t.tenant_id = _add_to_tally.tenant_id
                AND t.kind = _add_to_tally.kind AND t.name = _add_to_tally.name
                AND t.part = kept.part;
            RETURN;
        END IF;
    END IF;
    INSERT INTO msgstore.conversation_tallies (tenant_id, kind, name, n)
    VALUES (_add_to_tally.tenant_id, _add_to_tally.kind, _add_to_tally.name, change);
END
$$;

CREATE FUNCTION msgstore._tallied(is_closed boolean, assignee text, labels text[])
    RETURNS TABLE (kind text, name text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT p.kind || t.kind, t.name
    FROM (SELECT 'assignee' AS kind, assignee AS name WHERE assignee IS NOT NULL
          UNION ALL
          SELECT 'label', l FROM unnest(labels) l) t
    CROSS JOIN (SELECT '' UNION ALL SELECT 'closed_' WHERE is_closed) p (kind)
    UNION ALL
    SELECT 'closed', '' WHERE is_closed
    $$;

CREATE FUNCTION msgstore._tally_states() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    CASE TG_OP
        WHEN 'TRUNCATE' THEN
            DELETE FROM msgstore.conversation_tallies;
        WHEN 'INSERT' THEN
            PERFORM msgstore._add_to_tally(t.tenant_id, t.kind, t.name, t.n)
            FROM (SELECT s.tenant_id, t.kind, t.name, count(*) AS n
                  FROM made s, msgstore._tallied(s.is_closed, s.assignee, s.labels) t
                  GROUP BY s.tenant_id, t.kind, t.name) t;
        WHEN 'DELETE' THEN
            PERFORM msgstore._add_to_tally(t.tenant_id, t.kind, t.name, -t.n)
            FROM (SELECT s.tenant_id, t.kind, t.name, count(*) AS n
                  FROM gone s, msgstore._tallied(s.is_closed, s.assignee, s.labels) t
                  GROUP BY s.tenant_id, t.kind, t.name) t;
        ELSE
            PERFORM msgstore._add_to_tally(t.tenant_id, t.kind, t.name, t.n)
            FROM (SELECT s.tenant_id, t.kind, t.name, sum(s.sign) AS n
                  FROM (SELECT m.*, 1 AS sign FROM made m
                        UNION ALL
                        SELECT g.*, -1 FROM gone g) s,
                      msgstore._tallied(s.is_closed, s.assignee, s.labels) t
                  GROUP BY s.tenant_id, t.kind, t.name
                  HAVING sum(s.sign) <> 0) t;
    END CASE;
    RETURN NULL;
END
$$;

CREATE TRIGGER tally_inserted AFTER INSERT ON msgstore.conversation_states
    REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tally_states();
CREATE TRIGGER tally_updated AFTER UPDATE ON msgstore.conversation_states
    REFERENCING OLD TABLE AS gone NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tally_states();
CREATE TRIGGER tally_deleted AFTER DELETE ON msgstore.conversation_states
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tally_states();
CREATE TRIGGER tally_truncated AFTER TRUNCATE ON msgstore.conversation_states
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tally_states();

-- The table lock keeps others from changing states meanwhile.
CREATE FUNCTION msgstore._recount_tallies(tenant_id text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    LOCK TABLE msgstore.conversation_states IN SHARE MODE;
    DELETE FROM msgstore.conversation_tallies t
    WHERE t.tenant_id = _recount_tallies.tenant_id;
    INSERT INTO msgstore.conversation_tallies (tenant_id, kind, name, n)
    SELECT s.tenant_id, t.kind, t.name, count(*)
    FROM msgstore.conversation_states s,
        msgstore._tallied(s.is_closed, s.assignee, s.labels) t
    WHERE s.tenant_id = _recount_tallies.tenant_id
    GROUP BY s.tenant_id, t.kind, t.name;
END
$$;

REVOKE ALL ON FUNCTION msgstore._add_to_tally(text, text, text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tallied(boolean, text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tally_states() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recount_tallies(text) FROM PUBLIC;

COMMENT ON TABLE msgstore.conversation_tallies IS
    'Numbers of conversations by what people have set: the sum of n over the rows of a kind and name';
COMMENT ON COLUMN msgstore.conversation_tallies.tenant_id IS
    'Tenant whose conversations are counted';
COMMENT ON COLUMN msgstore.conversation_tallies.kind IS
    'closed (is_closed), assignee or label; closed_assignee or closed_label of those with is_closed';
COMMENT ON COLUMN msgstore.conversation_tallies.name IS
    'Name of the assignee, or the label; empty for closed';
COMMENT ON COLUMN msgstore.conversation_tallies.part IS
    'Number of the row; a name has several when sessions count at the same time';
COMMENT ON COLUMN msgstore.conversation_tallies.n IS
    'Conversations counted in this row; may be negative';
COMMENT ON FUNCTION msgstore._add_to_tally(text, text, text, bigint) IS
    'Adds change to a number of conversation_tallies without waiting for other sessions';
COMMENT ON FUNCTION msgstore._tallied(boolean, text, text[]) IS
    'Returns where a row of conversation_states counts';
COMMENT ON FUNCTION msgstore._tally_states() IS
    'Trigger that maintains conversation_tallies';
COMMENT ON FUNCTION msgstore._recount_tallies(text) IS
    'Corrects the tenant''s conversation_tallies; waits for transactions that change states';
