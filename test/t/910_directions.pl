# Includes point one way: the order of folders in docs/architecture.md holds,
# and no files include each other in a circle.
use strict;
use warnings;
use File::Find;
use Test::More;

# The lines of a fenced block under a heading, top first, by their first word.
sub written_order
{
	my ($heading) = @_;
	my ($inside, $fenced, @names);

	open(my $page, '<', 'docs/architecture.md') or die "docs/architecture.md: $!";
	while (<$page>)
	{
		if (/^#+ (.*)$/)
		{
			$inside = $1 eq $heading;
		}
		elsif ($inside && /^```/)
		{
			last if $fenced;
			$fenced = 1;
		}
		elsif ($fenced && /^([\w.\/]+)/)
		{
			push @names, $1;
		}
	}
	return @names;
}

# Own headers that each source file below a directory includes.
sub read_includes
{
	my ($root) = @_;
	my (%includes, @files);

	find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.[ch]$/ } }, $root);
	foreach my $file (@files)
	{
		my $name = substr($file, length("$root/"));

		open(my $source, '<', $file) or die "$file: $!";
		$includes{$name} = [ grep { -f "$root/$_" } map { /^\s*#\s*include\s+"([^"]+)"/ ? $1 : () } <$source> ];
	}
	return %includes;
}

# What a file belongs to in the written order: itself if it is named there,
# else its folder.
sub place
{
	my ($file, $rank) = @_;

	return $file if exists $rank->{$file};
	(my $stem = $file) =~ s/\.h$/.c/;
	return $stem if exists $rank->{$stem};
	return $file =~ m{^(.*)/} ? $1 : $file;
}

# Includes against the order, and files whose place is not in it.
sub against_order
{
	my ($includes, @order) = @_;
	my %rank = map { $order[$_] => $_ } 0 .. $#order;
	my @wrong;

	foreach my $file (sort keys %$includes)
	{
		my $from = place($file, \%rank);

		if (!exists $rank{$from})
		{
			push @wrong, "$file is in no place of the order";
			next;
		}
		foreach my $header (@{ $includes->{$file} })
		{
			my $to = place($header, \%rank);

			push @wrong, "$file includes $header"
			  if exists $rank{$to} && $rank{$to} < $rank{$from};
		}
	}
	return @wrong;
}

# Circles of units, a unit being a .c file and its header.
sub circles
{
	my ($includes) = @_;
	my (%uses, %state, @stack, @found);

	foreach my $file (keys %$includes)
	{
		(my $unit = $file) =~ s/\.[ch]$//;
		foreach my $header (@{ $includes->{$file} })
		{
			(my $used = $header) =~ s/\.h$//;
			$uses{$unit}{$used} = 1 if $used ne $unit;
		}
	}
	my $visit;
	$visit = sub {
		my ($unit) = @_;

		$state{$unit} = 'open';
		push @stack, $unit;
		foreach my $used (sort keys %{ $uses{$unit} || {} })
		{
			if (($state{$used} || '') eq 'open')
			{
				my ($first) = grep { $stack[$_] eq $used } 0 .. $#stack;
				push @found, join(' -> ', @stack[ $first .. $#stack ], $used);
			}
			elsif (!$state{$used})
			{
				$visit->($used);
			}
		}
		pop @stack;
		$state{$unit} = 'done';
	};
	foreach my $unit (sort keys %uses)
	{
		$visit->($unit) unless $state{$unit};
	}
	return @found;
}

foreach my $part ([ 'src', 'Order of the extension\'s folders' ], [ 'gateway', 'Order of the gateway\'s folders' ])
{
	my ($root, $heading) = @$part;
	my @order = written_order($heading);
	my %includes = read_includes($root);
	my %names = map { $_ => 1 } @order;

	cmp_ok(scalar(@order), '>', 4, "$root: docs/architecture.md has an order");
	cmp_ok(scalar(map { @$_ } values %includes), '>', 50, "$root: the includes are read");
	is_deeply([ grep { !-e "$root/$_" } @order ], [], "$root: everything in the order exists");
	is_deeply([ against_order(\%includes, @order) ], [], "$root: no include points against the order");
	is_deeply([ circles(\%includes) ], [], "$root: no files include each other in a circle");
}

# Names of newer versions of PostgreSQL, which older ones have by these headers.
my %header_of = (
	pushJsonbValue => 'server/jsonb_state.h',
	JsonbInState => 'server/jsonb_state.h',
	index_beginscan => 'server/versions.h',
	ShmemInitHash => 'server/versions.h',
	tuplestore_putvalues => 'utils/tuplestore.h',
	tuplestore_puttuple => 'utils/tuplestore.h');
sub slurp
{
	my ($file) = @_;
	open(my $source, '<', $file) or die "$file: $!";
	local $/ = undef;
	return scalar <$source>;
}

sub without_header
{
	my ($file, $text) = @_;
	$text .= slurp($file =~ s/c$/h/r) if $file =~ /c$/ && -e $file =~ s/c$/h/r;
	return map { "$file uses $_ without $header_of{$_}" }
	  grep { $text =~ /\b$_\b/ && $text !~ /^#include "\Q$header_of{$_}\E"/m } sort keys %header_of;
}
{
	my @sources = grep { !m{^src/server/(versions|jsonb_state)\.h$} } glob 'src/*/*.[ch]';
	is_deeply([ map { without_header($_, slurp($_)) } @sources ], [], 'names of newer versions come from their headers');
	is_deeply([ grep { slurp($_) =~ /JsonbParseState/ } @sources ], [], 'no type that newer versions do not have');
}

# The checks themselves find what they are for.
is_deeply(
	[ against_order({ 'low/a.c' => ['high/b.h'], 'high/b.c' => ['low/a.h'] }, 'high', 'low') ],
	['low/a.c includes high/b.h'],
	'an include against the order is found');
is_deeply([ without_header('new/a.c', 'x = index_beginscan(') ],
	['new/a.c uses index_beginscan without server/versions.h'], 'a missing header is found');
is_deeply([ circles({ 'a.h' => ['b.h'], 'b.c' => ['c.h'], 'c.h' => ['a.h'] }) ], ['a -> b -> c -> a'], 'a circle is found');
is_deeply([ against_order({ 'new/a.c' => [] }, 'high') ], ['new/a.c is in no place of the order'], 'a folder that is not in the order is found');

done_testing();
