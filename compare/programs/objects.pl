# Makes and drops Perl hashes, arrays and strings: a word count with deletions, splitting and joining,
# sorting by computed keys. Each scalar is a malloc of its own.
use strict;
use warnings;

my $seed = 1;
sub draw { $seed = ($seed * 1103515245 + 12345) % 2147483648; return int($seed / 65536) % $_[0]; }

my %store;
my $sum = 0;
for my $turn (1 .. 10) {
  for (1 .. 50000) {
    my $key = "key-" . draw(20000);
    if (exists $store{$key} && draw(3) == 0) { delete $store{$key}; }
    else { $store{$key} = [ $key x (1 + draw(8)), { turn => $turn, at => draw(1000) } ]; }
  }
  my $line = join(" ", map { $_ . $turn } 1 .. 40000);
  my @words = split(/ /, $line);
  my @sorted = sort { length($a) <=> length($b) || $a cmp $b } @words;
  $sum += @sorted;
}
die "sum is $sum" unless $sum == 400000;
