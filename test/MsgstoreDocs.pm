# MsgstoreDocs: runs the examples of a page, and compares what they print.
#
# Uses nothing but core modules of Perl, because the machine may be bare.
package MsgstoreDocs;

use strict;
use warnings FATAL => 'all';

use Exporter qw(import);
use File::Temp qw(tempdir);

our @EXPORT_OK = qw(blocks_of comparable run_blocks slurp);

my $mark = '=== next block ===';

# Before each block, wait until the worker runs and has tried every event that is
# due, as it will have when a person types the next block. This is a separate session, so
# that \g still repeats the page's last query.
my $wait = <<'SQL';
DO $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '30 s';
BEGIN
    WHILE to_regclass('msgstore.event_queue') IS NOT NULL
        AND clock_timestamp() < deadline
    LOOP
        EXIT WHEN NOT EXISTS (
                SELECT FROM msgstore.event_queue
                WHERE next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())
            AND (SELECT array_agg((datname, application_name)::text)
                     = ARRAY[(current_database(), 'msgstore worker 1')::text]
                 FROM pg_stat_activity WHERE backend_type = 'msgstore worker');
        PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
    END LOOP;
END
$$;
SQL

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "could not open $file: $!";
	local $/ = undef;
	return scalar <$handle>;
}

sub spew
{
	my ($file, $content) = @_;
	open my $handle, '>', $file or die "could not open $file: $!";
	print $handle $content;
	close $handle or die "could not write $file: $!";
	return;
}

# Returns the sql and sh blocks of a page but those marked "no-run": kind, line,
# section (its heading), content, and prints (the text block that follows, if any).
sub blocks_of
{
	my ($text) = @_;
	my @blocks;
	my $line = 1;
	my $section = '';
	my $last;

	while ($text =~ /\G(.*?)^```(\w*)([^\n]*)\n(.*?)^```[^\S\n]*\n/gsm)
	{
		my ($before, $kind, $mark, $content) = ($1, $2, $3, $4);

		$section = $1 while $before =~ /^## (.*)$/gm;
		$line += ($before =~ tr/\n//) + 1;
		if ($kind eq 'text' && $last && $before =~ /^\s*$/)
		{
			$last->{prints} = $content;
		}
		$last = undef;
		if ($kind =~ /^(sql|sh)$/ && $mark !~ /no-run/)
		{
			$last = { kind => $kind, line => $line, section => $section, content => $content };
			push @blocks, $last;
		}
		$line += ($content =~ tr/\n//) + 1;
	}
	return @blocks;
}

# Without ids, and without white space at the ends of lines.
sub comparable
{
	my ($text) = @_;
	my $hex = '[0-9a-f]';
	$text =~ s/$hex{8}-$hex{4}-$hex{4}-$hex{4}-$hex{12}/<id>/g;
	$text =~ s/[^\S\n]+$//gm;
	$text =~ s/\A\n+|\n+\z//g;
	return $text;
}

# Runs the blocks in one session and returns the output of each. psql is the
# command that starts it, port is that of the gateway.
sub run_blocks
{
	my ($psql, $port, @blocks) = @_;
	my $directory = tempdir(CLEANUP => 1);
	my $script = "\\encoding UTF8\n\\set SHOW_CONTEXT never\n";
	my $next = "\\! $psql -q -f '$directory/wait.sql' 2>&1\n\\! printf '\\n$mark\\n'\n";
	my $n = 0;

	chmod 0755, $directory;
	for my $block (@blocks)
	{
		my $content = $block->{content};
		if ($block->{kind} eq 'sh')
		{
			my $file = "$directory/" . $n++ . '.sh';
			$content =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/g;
			spew($file, $content);
			$content = "\\! bash $file 2>&1\n";
		}
		$script .= $next . $content;
	}
	spew("$directory/page.sql", $script);
	spew("$directory/wait.sql", $wait);
	my (undef, @printed) = split /^\Q$mark\E\n/m, scalar `$psql < '$directory/page.sql' 2>&1`, -1;
	return @printed;
}

1;
