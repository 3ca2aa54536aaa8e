# Counts words and pairs of words of a text in associative arrays, deletes the rare ones, and joins the
# rest: strings and hash nodes by the hundred thousand.
{ for (i = 1; i <= NF; i++) { seen[$i]++; if (i > 1) pair[$(i - 1) " " $i]++ } }
END {
  for (w in pair) if (pair[w] < 3) delete pair[w]
  for (w in pair) kept++
  for (w in seen) total += seen[w]
  print kept, total
}
