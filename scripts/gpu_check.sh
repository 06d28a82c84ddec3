#!/usr/bin/env bash
# Checks a build on this machine's GPU: kernels, selftest, probe, golden models, a dummy model that streams.
# Writes RESULT.json, RESULT.md and RESULT.profile.yaml, which plan and simulate read. Needs no network; python3 and what the build needs at run time.
#
#   scripts/gpu_check.sh [--build DIR] [--module FILE] [--model FOLDER] [--device-memory BYTES]
#                        [--rows N] [--new-tokens N] [--scratch DIR] [-o RESULT]
#
# --module: the file of device.module; with it the kernel tests are those of the emulated runtime.
# --model: folder with the config.json of the model that streams, from host memory and from disk.
set -euo pipefail
cd "$(dirname "$0")/.."
# In a folder that gpu_bundle.sh made, the programs' libraries lie beside them.
[ ! -d build/lib ] || export LD_LIBRARY_PATH=$PWD/build/lib:${LD_LIBRARY_PATH:-/usr/local/cuda/lib64}
exec python3 scripts/gpu_check.py "$@"
