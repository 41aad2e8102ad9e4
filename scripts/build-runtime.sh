#!/usr/bin/env bash
# build-runtime.sh CLANG OUT.wasm SOURCE...: the runtime of compiled Python. In two steps: when it links what it optimizes, clang has
# Binaryen, where that is installed, rewrite the module, and the relocations that embed-runtime.py needs would no longer fit.
set -euo pipefail
clang=$1 out=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
objects=()
for source in "$@"; do
  object=$folder/$(basename "$source" .c).o
  "$clang" --target=wasm32-wasi -O2 -Wall -Wextra -Werror -mbulk-memory -msign-ext -mnontrapping-fptoint -ffunction-sections \
    -fdata-sections -c -o "$object" "$source"
  objects+=("$object")
done
"$clang" --target=wasm32-wasi -nostartfiles -Wl,--no-entry -Wl,--emit-relocs -Wl,--gc-sections -Wl,-z,stack-size=262144 \
  -Wl,--stack-first -Wl,--export=__heap_base -Wl,--export=budget -Wl,--export=failure -o "$out" "${objects[@]}"
