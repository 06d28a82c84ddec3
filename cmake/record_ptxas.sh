#!/usr/bin/env bash
# record_ptxas.sh OBJECT COMPILER...: runs the compiler and keeps what ptxas says of each kernel in
# OBJECT.ptxas, for scripts/gpu_resources.sh.
set -uo pipefail
object=$1
shift
"$@" 2>"$object.stderr"
status=$?
notes='^ptxas info|bytes stack frame'
grep -E "$notes" "$object.stderr" >"$object.ptxas"
grep -vE "$notes" "$object.stderr" >&2
rm -f "$object.stderr"
exit $status
