#!/usr/bin/env bash
# Puts nvcc, the CUDA runtime and cuBLAS (850 MB, from the Python packages that carry them) into .cuda/, where CMake
# finds them. Where there is a toolkit, or .cuda/ is there, this does nothing. Neither root nor a GPU is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cublas==13.1.0.3)

if command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc || -x .cuda/bin/nvcc ]]; then
  exit 0
fi
case $(uname -m) in
  x86_64) target=x86_64-linux ;;
  aarch64) target=sbsa-linux ;;
  *)
    echo "There is no CUDA toolkit for $(uname -m) in Python packages" >&2
    exit 1
    ;;
esac

folder=$(mktemp -d -p . .cuda.XXXXXX)
trap 'rm -rf "$folder"' EXIT
echo "Fetching ${packages[*]}" >&2
"$(scripts/python_with_pip.sh)" -m pip -q install --no-deps --no-cache-dir --only-binary :all: \
  --root-user-action ignore --target "$folder" "${packages[@]}"
toolkit=$folder/nvidia/cu13

# What a toolkit has besides: names without versions, and the folders in which nvcc looks.
for library in "$toolkit"/lib/*.so.*; do
  ln -s "${library##*/}" "${library%.so.*}.so"
done
ln -s lib "$toolkit/lib64"
mkdir -p "$toolkit/targets/$target"
ln -s ../../include ../../lib "$toolkit/targets/$target/"
mv "$toolkit" .cuda
