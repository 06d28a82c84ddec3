#!/usr/bin/env bash
# Prints the name of a Python that has pip; installs Debian's where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

for python in python3 /usr/bin/python3; do
  if "$python" -m pip --version >/dev/null 2>&1; then
    echo "$python"
    exit 0
  fi
done
scripts/install_deps.sh model
echo /usr/bin/python3
