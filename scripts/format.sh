#!/usr/bin/env bash
# Formats all C++ files in place; with --check it only names those that are not formatted, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(-i)
[[ ${1:-} != --check ]] || mode=(--dry-run -Werror)
find . \( -name 'build*' -o -name '.?*' -o -name models \) -prune -o \
  \( -name '*.h' -o -name '*.cc' -o -name '*.cu' \) -print0 |
  xargs -0 clang-format "${mode[@]}"
