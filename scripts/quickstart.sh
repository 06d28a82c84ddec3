#!/usr/bin/env bash
# From a bare Debian 12 to answers: installs what the engine needs, builds it, fetches a small real model
# and runs configs/quickstart.yaml: the weights stay on disk and stream through a fixed amount of memory.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*" >&2; }

step "Packages"
scripts/install_deps.sh build model

step "Build (build/zerostream)"
cmake --preset engine
cmake --build --preset engine

step "Model"
scripts/get_model.sh

step "Run (configs/quickstart.yaml)"
build/zerostream run configs/quickstart.yaml

step "Answers (models/quickstart.out.jsonl)"
scripts/show_answers.py configs/quickstart.jsonl models/quickstart.out.jsonl
