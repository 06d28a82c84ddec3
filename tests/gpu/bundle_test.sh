#!/usr/bin/env bash
# bundle_test.sh BUILD_DIR: the folder that gpu_bundle.sh makes is small, and its programs find all but the C library
# and CUDA in it.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
scripts/gpu_bundle.sh --build "$1" "$folder/bundle"
[ "$(du -sm "$folder/bundle" | cut -f1)" -le 64 ] || { echo "the bundle is larger than 64 MiB" >&2; exit 1; }

cd "$folder/bundle"
export LD_LIBRARY_PATH=$PWD/build/lib
outside=$(ldd build/zerostream build/gpu_hardware_test build/libzerostream_cuda.so |
  awk -v own="$LD_LIBRARY_PATH/" '$2 == "=>" && index($3, own) != 1 { print $1 }' |
  grep -vE '^(libc|libm|libdl|libpthread|librt|libcudart|libcublas[A-Za-z]*)\.so' || true)
[ -z "$outside" ] || { echo "not in the bundle: $outside" >&2; exit 1; }
build/zerostream doctor > doctor.txt
grep -q GPU doctor.txt
scripts/gpu_check.sh --help > /dev/null
