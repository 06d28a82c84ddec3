#!/usr/bin/env bash
# must_fail.sh PATTERN COMMAND...: succeeds if the command fails and its output, or "exit status N", shows
# the pattern: the way in which the bug must come to light.
set -uo pipefail
pattern=$1
shift
output=$(timeout 60 "$@" 2>&1)
output+=$'\n'"exit status $?"
if grep -qE 'exit status 0$' <<<"$output"; then
  echo "the planted bug was not found"
elif grep -qE "$pattern" <<<"$output"; then
  grep -m 3 -E "$pattern" <<<"$output"
  exit 0
else
  tail -n 40 <<<"$output"
  echo "the planted bug was found, but not as $pattern"
fi
exit 1
