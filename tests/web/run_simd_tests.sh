#!/usr/bin/env bash
# Builds the tests of the SIMD kernels for WebAssembly and runs them with Node.js.
#
#   tests/web/run_simd_tests.sh FOLDER HIGHWAY DOCTEST
#
# FOLDER: where to build. HIGHWAY and DOCTEST: the folders of their headers. Status 77: skipped, as
# Emscripten or Node.js is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../../tools/lib.sh"
source "$root/examples/web/emscripten.sh"

case ${1:-} in
  -h | --help) show_help; exit 0 ;;
esac
[ $# -eq 3 ] || usage_error "expected FOLDER HIGHWAY DOCTEST"
for program in "${EMXX:-em++}" node; do
  if ! have "$program"; then
    echo "skipped: $program is missing; tools/install_packages --tests gets it where it can"
    exit 77
  fi
done
find_emscripten

# Nothing else of a system's folder is for WebAssembly.
out=$1
mkdir -p "$out/headers"
ln -sfn "$(realpath "$2/hwy")" "$out/headers/hwy"
ln -sfn "$(realpath "$3/doctest")" "$out/headers/doctest"

# The kernels are compiled once, all else without them.
engine=$out/engine.cpp
echo '#include "gemma/src.hpp"' >"$engine.new"
if ! cmp -s "$engine.new" "$engine"; then mv "$engine.new" "$engine"; fi

compile() {
  local source=$1 object
  object=$out/$(basename "$source").o
  if is_newer "$object" "$source" "$root/include" "$out/headers/hwy"; then return; fi
  quietly "$emxx" -std=c++17 -O1 -msimd128 -fexceptions -DGEMMA_SEPARATE_COMPILATION -I "$root/include" \
    -I "$root/tests" -isystem "$out/headers" -c "$source" -o "$object.new"
  mv "$object.new" "$object"
}
sources=("$engine" "$root/tests/test_main.cpp" "$here/is_wasm.cpp" "$root"/tests/simd/*_test.cpp)
export -f compile quietly is_newer
export emxx root out
# shellcheck disable=SC2016
printf '%s\0' "${sources[@]}" | xargs -0 -P "$(jobs)" -I{} bash -euc 'compile "$1"' _ {}

objects=()
for source in "${sources[@]}"; do objects+=("$out/$(basename "$source").o"); done
quietly "$emxx" -O1 -msimd128 -fexceptions "${objects[@]}" -s ALLOW_MEMORY_GROWTH=1 -s EXIT_RUNTIME=1 \
  -s ENVIRONMENT=node -o "$out/simd_tests.js"

# Emscripten before 3.1.9 takes Node.js's fetch(), since version 18, for a browser's, and gives it a path.
options=()
if node --no-experimental-fetch -e 0 2>/dev/null; then options+=(--no-experimental-fetch); fi
node ${options[@]+"${options[@]}"} "$out/simd_tests.js"
