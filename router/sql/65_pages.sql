-- router: what the gateway shows to operators. With a tenant, the page of its slot;
-- without one, the pages of all slots, with the slot in each item.

-- Items with a time are sorted by it, and only the first 50 of all slots are shown.
CREATE FUNCTION msgstore._join_pages(pages jsonb, unreachable int[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
    WITH items AS (
        SELECT i.item || jsonb_build_object('slot', p -> 'slot') AS item,
               coalesce(i.item ->> 'died_at', i.item ->> 'happened_at')::timestamptz AS at,
               (p ->> 'slot')::int AS slot, i.n
        FROM jsonb_array_elements(pages) p,
            jsonb_array_elements(p -> 'items') WITH ORDINALITY AS i (item, n)),
    sorted AS (
        SELECT s.item, s.at,
               row_number() OVER (ORDER BY s.at DESC, s.item ->> 'id' DESC, s.slot, s.n) AS place
        FROM items s)
    SELECT jsonb_build_object(
            'items', (SELECT coalesce(jsonb_agg(s.item ORDER BY s.place), '[]') FROM sorted s
                      WHERE s.at IS NULL OR s.place <= 50),
            'unreachable_slots', to_jsonb(unreachable))
        || coalesce((SELECT jsonb_build_object('total', sum((p ->> 'total')::bigint))
                     FROM jsonb_array_elements(pages) p HAVING bool_or(p ? 'total')), '{}')
        || coalesce((SELECT jsonb_build_object('paused', (jsonb_agg(p -> 'paused')
                         FILTER (WHERE p -> 'paused' <> 'null')) -> 0)
                     FROM jsonb_array_elements(pages) p HAVING bool_or(p ? 'paused')), '{}')
    $$;

-- The page of one slot, as the functions below want it.
CREATE FUNCTION msgstore._page_of(slot int, tenant text, page text, channel text, after uuid, before timestamptz)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF page IN ('outbox', 'reports') THEN
        RETURN msgstore._at__sending_page(slot, tenant, '', session_user, page);
    END IF;
    RETURN msgstore._at__operations_page(slot, tenant, '', session_user, page, channel, after, before);
END
$$;

CREATE FUNCTION msgstore._page(page text, channel text, after uuid, before timestamptz)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    pages jsonb := '[]';
    unreachable int[] := '{}';
    slot int;
    detail text;
    hint text;
BEGIN
    FOR slot IN SELECT s FROM msgstore._slots_of(scope) s LOOP
        BEGIN
            pages := pages || msgstore._page_of(slot, scope, page, channel, after, before);
            pages := jsonb_set(pages, ARRAY['-1', 'slot'], to_jsonb(slot));
        EXCEPTION WHEN OTHERS OR query_canceled THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            IF scope <> '' OR NOT (msgstore._read_error(SQLSTATE, SQLERRM)).unreachable THEN
                PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, NULL);
            END IF;
            RAISE LOG 'slot % is not reachable: %', slot, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            unreachable := unreachable || slot;
        END;
    END LOOP;
    IF scope <> '' THEN
        RETURN pages -> 0 #- '{slot}';
    END IF;
    RETURN msgstore._join_pages(pages, unreachable);
END
$$;

CREATE FUNCTION msgstore._operations_page(
    page text,
    channel text DEFAULT NULL,
    after uuid DEFAULT NULL,
    before timestamptz DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    slot int;
    died_at timestamptz := before;
BEGIN
    IF after IS NOT NULL AND died_at IS NULL AND msgstore._tenant_scope() = '' THEN
        FOR slot IN SELECT s FROM msgstore._slots_of('') s LOOP
            died_at := msgstore._page_of(slot, '', 'died_at', NULL, after, NULL) #>> '{}';
            EXIT WHEN died_at IS NOT NULL;
        END LOOP;
    END IF;
    RETURN msgstore._page(page, channel, after, died_at);
END
$$;

CREATE FUNCTION msgstore._sending_page(page text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN msgstore._page(page, NULL, NULL, NULL);
END
$$;

REVOKE ALL ON FUNCTION msgstore._join_pages(jsonb, int[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._page_of(int, text, text, text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._page(text, text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._operations_page(text, text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._sending_page(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._join_pages(jsonb, int[]) IS
    'Joins pages of slots to one, with the slots that did not answer';
COMMENT ON FUNCTION msgstore._page_of(int, text, text, text, uuid, timestamptz) IS
    'Returns a page of _operations_page() or _sending_page() of a slot';
COMMENT ON FUNCTION msgstore._page(text, text, uuid, timestamptz) IS
    'Returns a page of the slot of the session''s tenant, or of all slots without one';
COMMENT ON FUNCTION msgstore._operations_page(text, text, uuid, timestamptz) IS
    'Returns a page for operators: dead_letters, workers or operations';
COMMENT ON FUNCTION msgstore._sending_page(text) IS
    'Returns a page about sending: outbox or reports';
