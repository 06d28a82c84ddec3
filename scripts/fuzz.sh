#!/usr/bin/env bash
# Builds the fuzz targets (tests/fuzz, build preset "fuzz") and runs each for SECONDS, two at once:
#   scripts/fuzz.sh [SECONDS [TARGET...]]
# Works on copies of the corpora. What it finds is left in build-asan/findings, and it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
shift || true
cmake --preset asan
cmake --build --preset fuzz
root=$PWD
findings=$root/build-asan/findings
mkdir -p "$findings"
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(ls tests/fuzz/corpus)

# Some targets make small files: in memory where that is possible.
scratch=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
trap 'rm -rf "$scratch"' EXIT

# fuzz TARGET: files are small, so are allocations that they justify.
fuzz() {
  local folder=$scratch/$1 dictionary=$root/tests/fuzz/dictionaries/$1.dict
  cp -r "$root/tests/fuzz/corpus/$1" "$folder"
  cd "$folder"
  [[ -e $dictionary ]] || dictionary=$root/tests/fuzz/dictionaries/json.dict
  ASAN_OPTIONS=quarantine_size_mb=16:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1 \
    "$root/build-asan/fuzz_$1" . -max_total_time="$seconds" -max_len=16384 -timeout=10 \
    -malloc_limit_mb=64 -rss_limit_mb=1024 -dict="$dictionary" -artifact_prefix="$findings/$1-" \
    -print_final_stats=1 -verbosity=0 >"$folder.log" 2>&1 ||
    { tail -n 60 "$folder.log"; echo "$1: FAILED, see $findings/$1-*"; return 1; }
  echo "$1: $(awk '/number_of_executed_units|peak_rss_mb/ {printf "%s %s  ", $1, $2}' "$folder.log")"
}

export -f fuzz
export root findings scratch seconds
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -euo pipefail -c 'fuzz {}'
