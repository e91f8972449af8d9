# A duplicate with different content is in the server's log: with the channel, the
# event and both digests, and without any content.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('conflicts', 'msgstore.workers = 0');
$node->start;
add_database($node, 'main');

sub sql { return $node->safe_psql('main', $_[0]) }

# The call of ingest() with a body, written out as a client would.
sub ingest
{
	my ($body) = @_;
	return sql(qq{SELECT event_id FROM msgstore.ingest('sms', '{"messaging_provider_id": "m-1",
		"from": "+15550001", "to": "+15550002", "body": "$body", "timestamp": "2024-11-01T14:00:00Z"}')});
}

my $event = ingest('content one');
my $before = -s $node->logfile;
is(ingest('content one'), $event, 'a duplicate');
is(ingest('content two'), $event, 'a duplicate with different content');
is(ingest('content three'), $event, 'and another one');

open(my $file, '<', $node->logfile) or die $!;
seek($file, $before, 0);
my $log = join '', <$file>;
my $digests = sql("SELECT encode(stored_digest, 'hex'), encode(received_digest, 'hex') FROM msgstore.id_conflicts");
my ($stored, $received) = split /\|/, $digests;

is(() = $log =~ /LOG:  event "$event" on channel "sms" was received again with different content/g,
	2, 'each conflict is logged, and nothing else');
like($log, qr/DETAIL:  SHA-256 of the stored payload: $stored; of the received: $received\./, 'with both digests');
unlike($log, qr/content (one|two|three)/, 'and without the content');

$node->stop;
done_testing();
