#!/usr/bin/env bash
# Small jobs of random shapes under random faults, one after the other in one process, for MINUTES:
#   scripts/soak.sh [MINUTES [FIRST_SEED]]
# Each must end in the right result or the right error and go on to the right result, and the memory of the process must
# not grow (docs/reliability.md). Fails at the first that does not.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-60}
cmake --preset release
cmake --build --preset release --target fault_soak
scratch=$(mktemp -d -p build)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
../fault_soak $((60 * minutes)) "${2:-0}"
