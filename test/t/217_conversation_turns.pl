# The turn of a conversation: who waits for it, and who gets it when its holder
# dies.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('turns', 'msgstore.workers = 0');
$node->start;
$node->safe_psql('postgres', q{
	CREATE DATABASE store;
	\c store
	CREATE EXTENSION msgstore;
	CREATE FUNCTION save(id text, status text) RETURNS text LANGUAGE sql
	RETURN msgstore.save_response(jsonb_build_object('id', id, 'status', status, 'model', 'm',
		'conversation', 'c', 'input', jsonb_build_array(jsonb_build_object('id', 'in_' || id))));
	SELECT msgstore.create_response_conversation('{"id": "c"}')});

sub sql { return $node->safe_psql('store', $_[0]) }

sub items
{
	return sql(q{SELECT string_agg(i ->> 'id', ' ' ORDER BY n) FROM jsonb_array_elements(
		msgstore.list_conversation_items('c', sort_order => 'asc') -> 'data') WITH ORDINALITY l (i, n)});
}

# Returns once a session runs, or waits for a lock in, a statement with this text.
sub runs
{
	my ($text) = @_;
	return eventually(
		sub {
			return sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
				AND query LIKE '%$text%' AND pid <> pg_backend_pid()") > 0;
		});
}

# A response waits for the one that is in progress, and follows it.
sql(q{SELECT save('first', 'in_progress')});
my $waiting = $node->background_psql('store', on_error_stop => 0);
$waiting->query_safe(q{SET msgstore.conversation_wait = '10min'});
$waiting->query_until(qr/sent/, "\\echo sent\nSELECT save('second', 'completed');\n");
ok(runs(q{save(''second''}), 'the second waits');
is(items(), '', 'nothing is in the conversation');
sql(q{SELECT msgstore.update_response('first', '{"status": "completed"}')});
ok(eventually(sub { items() eq 'in_first in_second' }), 'the second follows the first');
$waiting->quit;

# A session that has the turn in an open transaction dies.
my $holder = $node->background_psql('store', on_error_stop => 0);
my $pid = $holder->query_safe('SELECT pg_backend_pid()');
$holder->query_safe(q{BEGIN; SELECT save('third', 'in_progress')});
my $next = $node->background_psql('store', on_error_stop => 0);
$next->query_until(qr/sent/, "\\echo sent\nSELECT save('fourth', 'completed');\n");
ok(runs(q{save(''fourth''}), 'the next one waits for the transaction');
sql("SELECT pg_terminate_backend($pid)");
ok(eventually(sub { items() eq 'in_first in_second in_fourth' }), 'and takes the turn when it dies');
$_->quit for $next, $holder;

# A worker that has the turn of a committed response is silent for too long: the
# response fails and gives its turn back.
sql(q{SELECT msgstore.save_background('{"id": "fifth", "status": "queued", "model": "m", "background": true,
	"conversation": "c"}', '{}')});
sql(q{SELECT id FROM msgstore.claim_response('w')});
sql(q{SELECT msgstore.update_response('fifth', '{"worker_heartbeat": "2024-11-01T14:00:00Z"}', 'w')});
is(($node->psql('store', q{SELECT save('sixth', 'completed')}))[0], 3, 'the turn is taken');
sql('SELECT msgstore._response_housekeeping()');
is(sql(q{SELECT msgstore.get_response('fifth') ->> 'status'}), 'failed', 'a silent response fails');
is(sql(q{SELECT save('sixth', 'completed')}), 'sixth', 'and its turn is free');

# Of many responses at once one is in progress.
my @sessions = map { $node->background_psql('store', on_error_stop => 0) } 1 .. 10;
for my $n (1 .. 10)
{
	$sessions[ $n - 1 ]->query_until(qr/sent/, "\\echo sent\nSELECT save('many$n', 'in_progress');\n");
}
$_->quit for @sessions;
is(sql(q{SELECT count(*) FROM msgstore.responses WHERE id LIKE 'many%'}), 1, 'ten at once: one is stored');

$node->stop;
done_testing();
