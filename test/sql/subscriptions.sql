-- subscriptions: operating them.
CREATE EXTENSION msgstore;
\pset null NULL
\set SHOW_CONTEXT never
SELECT count(msgstore.append('order-' || n % 3, 'Placed', jsonb_build_object('n', n)))
FROM generate_series(1, 9) n;
SELECT msgstore.append('other-1', 'x', '{}');

-- list_subscriptions() tells position, head and lag, and when events were fetched.
SELECT msgstore.create_subscription('mailer', 'order'), msgstore.create_subscription('all');
CREATE VIEW lags AS
SELECT name, category, members, position, head, lag_events, lag_seconds > 0 AS late,
    last_fetch_at IS NOT NULL AS fetched, parked_events AS parked
FROM msgstore.list_subscriptions();
SELECT * FROM lags;
SELECT count(*) FROM msgstore.fetch('mailer', 4);
SELECT msgstore.ack('mailer', 4), msgstore.park('mailer', 2, 'bad address');
SELECT msgstore.ack('all', 10);
SELECT * FROM lags;
-- The lag is counted up to a limit.
SELECT name, lag_events FROM msgstore.list_subscriptions(2);
-- The lag of a group is that of its members' shares, also after resizing.
SELECT msgstore.create_subscription('group', 'order', 2);
SELECT msgstore.ack('group', 9, 0);
SELECT name, lag_events = (SELECT count(*) FROM msgstore.fetch('group', 100, 1)) AS exact,
    lag_events BETWEEN 1 AND 8 AS partial
FROM msgstore.list_subscriptions() WHERE name = 'group';
SELECT msgstore.resize_subscription('group', 3);
SELECT lag_events = (SELECT count(*) FROM generate_series(0, 2) m, msgstore.fetch('group', 100, m)) AS exact,
    lag_events BETWEEN 1 AND 8 AS partial
FROM msgstore.list_subscriptions() WHERE name = 'group';
SELECT member, position, last_fetch_at IS NOT NULL AS fetched FROM msgstore.list_members('group');
SELECT * FROM msgstore.list_members('none');

-- seek() moves back and forward, and forgets what earlier generations handled.
SELECT msgstore.seek('group', 3);
SELECT lag_events FROM msgstore.list_subscriptions() WHERE name = 'group';
SELECT msgstore.seek('mailer', 8);
SELECT data FROM msgstore.fetch('mailer');
SELECT msgstore.seek('mailer', 0);
SELECT count(*) FROM msgstore.fetch('mailer');
SELECT msgstore.seek('mailer', 11);
SELECT msgstore.seek('mailer', -1);
SELECT msgstore.seek('mailer', NULL);
SELECT msgstore.seek('none', 0);

-- A single parked event can be replayed.
SELECT msgstore.park('mailer', 3, 'bad address');
SELECT data FROM msgstore.replay_parked('mailer', "position" => 3);
SELECT data FROM msgstore.replay_parked('mailer', "position" => 3);
SELECT global_position FROM msgstore.list_parked('mailer');

-- Two versions of a projection change places in one transaction.
SELECT msgstore.create_subscription('mailer-2', 'order', after_position => 5);
SELECT msgstore.rename_subscription('mailer-2', 'mailer');
BEGIN;
SELECT msgstore.rename_subscription('mailer', 'mailer-1');
SELECT msgstore.rename_subscription('mailer-2', 'mailer');
COMMIT;
SELECT name, position, parked_events FROM msgstore.list_subscriptions() WHERE name LIKE 'mailer%';
SELECT data FROM msgstore.fetch('mailer');
SELECT global_position FROM msgstore.list_parked('mailer-1');
SELECT msgstore.rename_subscription('mailer', '');
SELECT msgstore.rename_subscription('mailer', NULL);
SELECT msgstore.rename_subscription('none', 'mailer-3');

-- wait_for() is exact: it looks at the events of the subscription, not at the
-- number of its position.
SELECT msgstore.seek('mailer', 8);
SELECT msgstore.wait_for('mailer', 8, '0'), msgstore.wait_for('mailer', 9, '0');
SELECT msgstore.ack('mailer', 9);
SELECT msgstore.wait_for('mailer', 9, '0'), msgstore.wait_for('mailer', 10, '0'),
    msgstore.wait_for('mailer', 11, '10 ms');
SELECT msgstore.wait_for('none', 1, '0');
SELECT msgstore.wait_for('mailer', NULL);
SELECT msgstore.wait_for(NULL, 1);
SELECT msgstore.wait_for('mailer', 1, '-1 s');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT msgstore.wait_for('mailer', 1);
ROLLBACK;

-- await_events() is a procedure; it keeps its transaction.
CALL msgstore.await_events('order', 8);
CALL msgstore.await_events('order', 9, '0');
CALL msgstore.await_events(NULL, 9, '0');
CALL msgstore.await_events(NULL, 9, '-1 s');
BEGIN;
CREATE TABLE kept ();
CALL msgstore.await_events('order', 8);
COMMIT;
SELECT * FROM kept;
DO $$ DECLARE found boolean; BEGIN CALL msgstore.await_events('order', 8, '0', found); RAISE NOTICE 'found: %', found; END $$;
CREATE FUNCTION inside() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE found boolean; BEGIN CALL msgstore.await_events('order', 9, '0', found); RETURN found; END $$;
SELECT inside();

-- A tenant has subscriptions of its own; operators see those of all tenants.
SET msgstore.tenant_id = 'acme';
SELECT msgstore.append('order-1', 'x', '{}');
SELECT msgstore.create_subscription('mailer', 'order');
SELECT tenant_id, name, lag_events FROM msgstore.list_subscriptions();
RESET msgstore.tenant_id;
SELECT tenant_id, name, lag_events FROM msgstore.list_subscriptions();
DROP VIEW lags;
DROP TABLE kept;
DROP FUNCTION inside;
DROP EXTENSION msgstore;
