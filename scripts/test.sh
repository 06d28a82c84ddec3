#!/usr/bin/env bash
# Installs what the tests need, builds everything into build/ and runs all tests.
#
#   scripts/test.sh [ctest option ...]      for example: scripts/test.sh -R Tokenizer
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_deps.sh build test bench
scripts/get_model.sh
cmake --preset release
cmake --build --preset release
ctest --preset release "$@"
