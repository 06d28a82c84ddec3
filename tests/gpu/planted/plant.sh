#!/usr/bin/env bash
# plant.sh BUG.sed FILE TARGET: writes FILE with the bug in it to TARGET. Fails if the bug finds nothing to
# change: it must then be written anew.
set -euo pipefail
mkdir -p "$(dirname "$3")"
sed -E -f "$1" "$2" >"$3"
if cmp -s "$2" "$3"; then
  rm "$3"
  echo "$1 changes nothing in $2" >&2
  exit 1
fi
