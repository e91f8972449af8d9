CREATE EXTENSION pgq;
SELECT pgq.create_queue('events');
-- The largest batches that still made it faster.
SELECT pgq.set_queue_config('events', 'ticker_max_count', '5000');
SELECT pgq.register_consumer('events', 'worker');

CREATE PROCEDURE work.drain_queue() LANGUAGE plpgsql AS $$
DECLARE
    batch bigint;
BEGIN
    LOOP
        batch := pgq.next_batch('events', 'worker');
        EXIT WHEN batch IS NULL;
        PERFORM work.apply(array_agg(ev_data::jsonb)) FROM pgq.get_batch_events(batch);
        PERFORM pgq.finish_batch(batch);
        COMMIT;
    END LOOP;
END $$;

-- Its daemon ticks every second, a queue every three seconds. Here it ticks as
-- often as that helps.
CREATE PROCEDURE work.tick_on() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pgq.set_queue_config('events', 'ticker_max_lag', '10 ms');
    LOOP
        PERFORM pgq.ticker('events');
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;

CREATE PROCEDURE work.follow_queue() LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        CALL work.drain_queue();
        COMMIT;
        PERFORM pg_sleep(0.02);
    END LOOP;
END $$;
