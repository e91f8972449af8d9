# Fifty sessions append under conditions with overlapping tags, and none of the
# rules that the conditions stand for is ever violated.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('conditions', 'msgstore.workers = 0');
$node->start;
add_database($node, 'store');

# A course has 10 seats, a student takes at most 3 courses, and none twice. An
# extra seat is appended without a condition.
$node->safe_psql('store', <<'SQL');
CREATE FUNCTION enroll(student text, course text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    query jsonb := jsonb_build_array(jsonb_build_object('tags', ARRAY[course]),
        jsonb_build_object('tags', ARRAY[student]));
    known record;
BEGIN
    LOOP
        SELECT coalesce(max(e.global_position), 0) AS last,
            count(*) FILTER (WHERE e.type = 'Enrolled' AND course = ANY (e.tags)) AS taken,
            10 + count(*) FILTER (WHERE e.type = 'Seat' AND course = ANY (e.tags)) AS seats,
            count(*) FILTER (WHERE student = ANY (e.tags)) AS courses,
            count(*) FILTER (WHERE e.tags @> ARRAY[student, course]) AS here
        INTO known FROM msgstore.read_query(query, 0, NULL) e;
        IF known.taken >= known.seats OR known.courses >= 3 OR known.here > 0 THEN
            RETURN 'refused';
        END IF;
        BEGIN
            PERFORM msgstore.append_if(jsonb_build_array(jsonb_build_object(
                'stream', 'enrollment-' || gen_random_uuid(), 'type', 'Enrolled', 'data', '{}'::jsonb,
                'tags', ARRAY[student, course])), query, known.last);
            RETURN 'enrolled';
        EXCEPTION WHEN SQLSTATE 'MS409' THEN
            NULL;
        END;
    END LOOP;
END
$$;
SQL
append_to_file("$directory/enroll.sql", <<'SQL');
\set student random(1, 60)
\set course random(1, 12)
\set kind random(1, 100)
\if :kind = 1
SELECT msgstore.append('seats', 'Seat', '{}', tags => ARRAY['course:' || :course]);
\else
SELECT enroll('student:' || :student, 'course:' || :course);
\endif
SQL
$node->command_ok([ 'pgbench', '-n', '-c', 50, '-j', 2, '-t', 20, '-f', "$directory/enroll.sql",
		$node->connstr('store') ], 'fifty sessions enroll students, without an error or a deadlock');

is( $node->safe_psql('store', q{SELECT count(*) FROM (
			SELECT tags[2] AS course, count(*) AS taken FROM msgstore.stream_events
			WHERE type = 'Enrolled' GROUP BY 1) e
		WHERE taken > 10 + (SELECT count(*) FROM msgstore.stream_events s
			WHERE s.type = 'Seat' AND s.tags @> ARRAY[e.course])}),
	0, 'no course has more students than seats');
is( $node->safe_psql('store', q{SELECT count(*) FROM (SELECT FROM msgstore.stream_events
		WHERE type = 'Enrolled' GROUP BY tags[1] HAVING count(*) > 3) x}),
	0, 'no student has more than three courses');
is( $node->safe_psql('store', q{SELECT count(*) FROM (SELECT FROM msgstore.stream_events
		WHERE type = 'Enrolled' GROUP BY tags HAVING count(*) > 1) x}),
	0, 'no student is enrolled twice in a course');
cmp_ok($node->safe_psql('store', q{SELECT count(*) FROM msgstore.stream_events WHERE type = 'Enrolled'}),
	'>', 50, 'and many were enrolled');
is($node->safe_psql('store', 'SELECT count(*) FROM msgstore.check()'), 0, 'check() finds nothing');
is( $node->safe_psql('store', q{SELECT count(*) FROM msgstore.stream_events e
		WHERE NOT EXISTS (SELECT FROM msgstore.stream_event_keys k WHERE k.global_position = e.global_position)}),
	0, 'each event can be found by its tags');

# A session that appends events with a tag is waited for, one with other tags is not.
my $open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('open-1', 'x', '{}', tags => ARRAY['open', 'both'])});
is( $node->safe_psql('store', q{SELECT count(*) FROM msgstore.append_if('[{"stream": "free-1", "type": "x", "data": {}, "tags": ["free"]}]', '{"tags": ["free"]}');
		SELECT count(*) FROM msgstore.read_query('{"tags": ["free"]}')}),
	"1\n1", 'an open append stalls nobody with other tags');
my $waiting = $node->background_psql('store', on_error_stop => 0);
$waiting->query_until(qr/started/, q{\echo started
	SELECT count(*) FROM msgstore.append_if('[{"stream": "second-1", "type": "x", "data": {}}]', '{"tags": ["both"]}');
});
ok( $node->poll_query_until('store', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
		AND query LIKE '%append_if%' AND pid <> pg_backend_pid()}),
	'a condition waits for an open append with its tag');
$open->query_safe('COMMIT');
$open->quit;
$waiting->quit;
is($node->safe_psql('store', q{SELECT msgstore.count_events('second-1')}), 0, 'and is refused once that has committed');
$node->stop;
done_testing();
