#!/usr/bin/env bash
# gpu_resources.sh BUILD_DIR: a Markdown table of what each GPU kernel of a build needs, for each GPU that
# it was built for. Fails if a kernel spills registers or uses local memory, or if there are no kernels.
set -euo pipefail
build=${1:?gpu_resources.sh BUILD_DIR}
shopt -s nullglob
notes=("$build"/gpu/CMakeFiles/zs_gpu.dir/*.ptxas)
[ ${#notes[@]} -gt 0 ] || { echo "$build holds no kernels: it was built without CUDA" >&2; exit 2; }

echo "| kernel | GPU | registers | shared bytes | stack bytes | spilled bytes |"
echo "|---|---|---|---|---|---|"
cat "${notes[@]}" | awk '
  /Compiling entry function/ { split($0, quoted, "\x27"); kernel = quoted[2]; gpu = quoted[4] }
  /bytes stack frame/ { stack = $1; spilled = $5 + $9 }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
    shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH - 11) : 0
    print kernel, "|", gpu, "|", registers, "|", shared, "|", stack, "|", spilled
  }' | c++filt | sed -E 's/^void //; s/zerostream::|\(anonymous namespace\)::|_GLOBAL__N_[^:]*:://g; s/\([A-Za-z].*\) \|/ |/; s/\([a-z]+\)([0-9])/\1/g; s/^/| /; s/$/ |/' |
  sort -u | awk -F'|' '
    { print }
    $6 + $7 > 0 { failed = 1 }
    END { if (NR == 0 || failed) { print "some kernel spills, or there is none" > "/dev/stderr"; exit 1 } }'
