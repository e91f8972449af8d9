-- responses: the usage of tokens by tenant, model and day.

-- Holds the whole sum in one transaction: a reader sees each change in exactly
-- one of the two tables.
CREATE FUNCTION msgstore._merge_usage() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    merged bigint;
BEGIN
    WITH changes AS (
        DELETE FROM msgstore.response_usage_changes c
        WHERE NOT msgstore._is_elsewhere(c.tenant_id)
        RETURNING *
    ), sums AS (
        INSERT INTO msgstore.response_usage AS u
        SELECT c.tenant_id, c.model, c.day, sum(c.response_count),
            sum(c.input_tokens), sum(c.output_tokens), sum(c.total_tokens)
        FROM changes c
        GROUP BY c.tenant_id, c.model, c.day
        ORDER BY c.tenant_id, c.model, c.day
        ON CONFLICT (tenant_id, model, day) DO UPDATE
        SET response_count = u.response_count + excluded.response_count,
            input_tokens = u.input_tokens + excluded.input_tokens,
            output_tokens = u.output_tokens + excluded.output_tokens,
            total_tokens = u.total_tokens + excluded.total_tokens
    )
    SELECT count(*) INTO merged FROM changes;
    RETURN merged;
END
$$;

CREATE FUNCTION msgstore.list_response_usage(
    since date DEFAULT NULL,
    until date DEFAULT NULL)
    RETURNS TABLE (
        tenant_id text,
        model text,
        day date,
        response_count bigint,
        input_tokens numeric,
        output_tokens numeric,
        total_tokens numeric)
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT u.tenant_id, u.model, u.day, sum(u.response_count)::bigint,
        sum(u.input_tokens), sum(u.output_tokens), sum(u.total_tokens)
    FROM (
        SELECT * FROM msgstore.response_usage
        UNION ALL
        SELECT c.tenant_id, c.model, c.day, c.response_count, c.input_tokens,
            c.output_tokens, c.total_tokens
        FROM msgstore.response_usage_changes c
    ) u
    WHERE (msgstore._tenant_scope() = '' OR u.tenant_id = msgstore._tenant_scope())
        AND ($1 IS NULL OR u.day >= $1) AND ($2 IS NULL OR u.day <= $2)
    GROUP BY u.tenant_id, u.model, u.day
    HAVING sum(u.response_count) <> 0 OR sum(u.total_tokens) <> 0
    ORDER BY u.tenant_id, u.day, u.model
    $$;

REVOKE ALL ON FUNCTION msgstore._merge_usage() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_response_usage(date, date) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._merge_usage() IS
    'Merges all changes into response_usage and returns their number';
COMMENT ON FUNCTION msgstore.list_response_usage(date, date) IS
    'Returns the number of responses and tokens by tenant, model and day (in UTC, on which the responses ended in the store), from the first to the last of these days; null means no limit. Counts responses of the durable store with a usage, also after they were removed';
