# MsgstoreLoad.pm: sessions that load a temporary server, for test/t.
#
# The procedures loop until they are cancelled, the server stops, or the time in
# their last argument has come. They commit after each step, and note errors that
# are no part of normal operation in the table faults.
package MsgstoreLoad;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run;

our @EXPORT = qw(start_psql add_outside_processor add_actors);

# Starts psql with these arguments. Its output is written to a file.
sub start_psql
{
	my ($node, $database, $output, @arguments) = @_;
	return IPC::Run::start [
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr($database), @arguments ],
	  '>', $output, '2>', "$output.err";
}

# A processor outside the server: most of the time it does its work, and now
# and then it forgets all it has claimed, as one that is started anew.
sub add_outside_processor
{
	my ($node, $database) = @_;
	$node->safe_psql($database, <<'SQL');
CREATE PROCEDURE process_outside(
    name text, until timestamptz DEFAULT 'infinity')
LANGUAGE plpgsql AS $$
DECLARE
    life int := 1;
    ids uuid[];
    given uuid;
BEGIN
    WHILE clock_timestamp() < until LOOP
        SELECT array_agg(c.id ORDER BY c.id) INTO ids
        FROM msgstore.claim(name || life, 1 + (random() * 8)::int) c;
        COMMIT;
        PERFORM pg_sleep(random() * 0.02);
        IF random() < 0.3 THEN
            life := life + 1;
        ELSIF random() < 0.5 THEN
            PERFORM msgstore.heartbeat(name || life);
        END IF;
        COMMIT;
        FOREACH given IN ARRAY coalesce(ids, '{}') LOOP
            BEGIN
                IF random() < 0.8 THEN
                    PERFORM msgstore.complete(name || life, ARRAY[given]);
                ELSE
                    PERFORM msgstore.fail(name || life, given, 'P0001', 'failed outside');
                END IF;
            EXCEPTION
                -- The handler's refusal, or a claim that is its no more, or
                -- that waits behind an earlier event.
                WHEN raise_exception OR SQLSTATE 'MS409' THEN
            END;
            COMMIT;
        END LOOP;
    END LOOP;
END
$$;
SQL
	return;
}

# CALL act('step', until) repeats a step, a function step_…() that returns void.
# Errors of class MS and those that a handler raises are normal: claims expire,
# messages are erased.
sub add_actors
{
	my ($node, $database, $steps) = @_;
	$node->safe_psql($database, <<'SQL' . $steps);
CREATE TABLE faults (
    step text, code text, message text, detail text, context text);
CREATE TABLE steps (step text, done bigint, refused bigint);

CREATE PROCEDURE act(step text, until timestamptz DEFAULT 'infinity')
LANGUAGE plpgsql AS $$
DECLARE
    done bigint := 0;
    refused bigint := 0;
    code text;
    message text;
    detail text;
    context text;
BEGIN
    WHILE clock_timestamp() < until LOOP
        BEGIN
            EXECUTE format('SELECT step_%s()', step);
            done := done + 1;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE,
                message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                context = PG_EXCEPTION_CONTEXT;
            IF code LIKE 'MS%' OR code = 'P0001' THEN
                refused := refused + 1;
            ELSE
                INSERT INTO faults VALUES (step, code, message, detail, context);
            END IF;
        END;
        COMMIT;
    END LOOP;
    INSERT INTO steps VALUES (step, done, refused);
END
$$;
SQL
	return;
}

1;
