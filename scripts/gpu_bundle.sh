#!/usr/bin/env bash
# Puts into a folder what scripts/gpu_check.sh needs on a machine that has a GPU, its driver, the CUDA runtime and
# cuBLAS, and python3, but no compiler and none of the packages of scripts/install_deps.sh: their libraries travel
# along. There: FOLDER/scripts/gpu_check.sh -o result
#
#   scripts/gpu_bundle.sh [--build DIR] FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
build=build
if [ "${1:-}" = --build ]; then build=$2; shift 2; fi
folder=${1:?gpu_bundle.sh [--build DIR] FOLDER}
programs=(zerostream gpu_hardware_test libzerostream_cuda.so)
for program in "${programs[@]}"; do
  [ -e "$build/$program" ] || { echo "$build/$program is missing: build with CUDA and tests first" >&2; exit 2; }
done

# What the programs load, but for the C library, which must fit the machine, and CUDA, which must fit its driver.
libraries() {
  ldd "${programs[@]/#/$build/}" | awk '$3 ~ /^\// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*|libcu[^/]*)\.so'
}

rm -rf "$folder"
mkdir -p "$folder"/build/lib "$folder"/scripts "$folder"/tests "$folder"/configs/models
for program in "${programs[@]}"; do strip -o "$folder/build/$program" "$build/$program"; done
libraries | xargs -I{} cp -L {} "$folder/build/lib/"
cp scripts/gpu_check.sh scripts/gpu_check.py "$folder/scripts/"
cp -r tests/golden "$folder/tests/"
cp -r configs/models/opt-6.7b configs/models/opt-30b "$folder/configs/models/"
du -sh "$folder"
