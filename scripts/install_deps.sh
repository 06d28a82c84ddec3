#!/usr/bin/env bash
# Installs the Debian packages that ZeroStream is built with. When all are there it does nothing and needs
# no rights.
#
#   scripts/install_deps.sh [GROUP ...]     build (the engine), model (fetching the demo model),
#                                           test, bench, ci; default: build test bench
set -euo pipefail

declare -A packages=(
  [build]="cmake ninja-build g++ libhwy-dev liburing-dev libaio-dev libboost-dev libyaml-cpp-dev
           nlohmann-json3-dev libpcre2-dev libutf8proc-dev libxxhash-dev libfmt-dev libcli11-dev"
  [model]="python3 python3-pip"
  [test]="libgtest-dev libgmock-dev"
  [bench]="libbenchmark-dev libdnnl-dev"
  [ci]="clang clang-format libclang-rt-14-dev git"
)

missing=()
for group in "${@:-build test bench}"; do
  for group in $group; do
    for package in ${packages[$group]:?no such group of packages}; do
      status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
      [[ $status == installed ]] || missing+=("$package")
    done
  done
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  as_root=(sudo)
  if ! command -v sudo >/dev/null; then
    echo "These packages are missing; install them as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi
echo "Installing ${missing[*]}" >&2
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null </dev/null
