# MsgstoreInstallation.pm: a copy of the server's installation, to which files of
# extensions can be added.
package MsgstoreInstallation;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(basename);
use File::Path qw(mkpath);
use PostgreSQL::Test::Utils;

our @EXPORT = qw(copy_installation place_in);

sub ask_pg_config
{
	my ($option) = @_;
	my ($out, $err) = run_command([ 'pg_config', "--$option" ]);
	return $out;
}

# The server finds the scripts and libraries of extensions relative to its own
# program file. To add some it runs from a copy of its installation, in which
# everything but the programs may be links. "add" maps paths relative to the
# directory of scripts to their contents; "replace" is a list of files that take
# the place of those of their names, scripts and libraries. Returns the copy.
sub copy_installation
{
	my (%option) = @_;
	my $to = PostgreSQL::Test::Utils::tempdir;
	my %place = places();
	my $prefix = delete $place{prefix};
	my @replaced = @{ $option{replace} // [] };

	my $link = sub {
		my ($folder, @but) = @_;
		mkpath("$to/$folder");
		for my $from (glob "$prefix$folder/*")
		{
			my $name = basename($from);
			symlink $from, "$to/$folder/$name" or die "$name: $!"
			  unless grep { $_ eq $name } @but;
		}
	};
	my @programs = qw(postgres pg_ctl pg_config initdb);
	$link->($place{bindir}, @programs);
	copy("$prefix$place{bindir}/$_", "$to/$place{bindir}/$_") for @programs;
	$link->($place{pkglibdir}, map { basename($_) } @replaced);
	$link->($place{sharedir}, 'extension');
	$link->("$place{sharedir}/extension", map { basename($_) } @replaced);
	copy($_, "$to/" . ($_ =~ /\.so$/ ? $place{pkglibdir} : "$place{sharedir}/extension")) for @replaced;
	append_to_file("$to/$place{sharedir}/extension/$_", $option{add}{$_})
	  for keys %{ $option{add} // {} };
	return "$to/$place{bindir}" =~ s{/bin$}{}r;
}

# Directories of the server relative to what they have in common, the prefix.
sub places
{
	my %place = map { $_ => ask_pg_config($_) } qw(bindir sharedir pkglibdir);
	my $prefix = $place{bindir};
	$prefix =~ s{[^/]+/?$}{}
	  until $place{sharedir} =~ /^\Q$prefix\E/ && $place{pkglibdir} =~ /^\Q$prefix\E/;
	$place{$_} =~ s{^\Q$prefix\E}{} for keys %place;
	return (%place, prefix => $prefix);
}

# Where "make install" with that DESTDIR has put what belongs into such a directory.
sub place_in
{
	my ($destdir, $name) = @_;
	return $destdir . ask_pg_config($name);
}

sub copy
{
	my ($from, $to) = @_;
	system('cp', $from, $to) == 0 or die "could not copy $from";
	return;
}

1;
