#!/usr/bin/env bash
# run_example.sh NAME HIGHWAY: compiles examples/NAME.cpp by the very command in its head comment,
# in a folder that looks like a checkout, then runs it. The lines are "// Build: command" and
# "// Run: command"; the second is used when the real model is in the cache, otherwise the program
# gets the small model in tests/data. HIGHWAY is the folder of Highway's headers, which the compiler
# finds as it finds installed ones. Exit status 77: there is no model to run it with.
set -euo pipefail

name=$1
highway=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source_file=$root/examples/$name.cpp

line_of() { sed -nE "s|^// $1: *(.*)|\1|p" "$source_file" | head -n 1; }
build=$(line_of Build)
run=$(line_of Run)
[ -n "$build" ] || { echo "$source_file has no '// Build:' line"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$root/examples" "$work/examples"
ln -s "$root/include" "$root/tools" "$work/"
cd "$work"

echo "$build"
export CPLUS_INCLUDE_PATH=$highway${CPLUS_INCLUDE_PATH:+:$CPLUS_INCLUDE_PATH}
bash -c "$build"

program=$(sed -nE 's/.* -o +([^ ]+).*/\1/p' <<<"$build")
program=./${program:-a.out}
cached=${XDG_CACHE_HOME:-${HOME:-}/.cache}/gemma.hpp/gemma-3-270m-q4_k_m.gguf
small=$root/tests/data/kjv-small.gguf
if [ -f "$cached" ] && [ -n "$run" ]; then
  :
elif [ -f "$small" ]; then
  run="$program '$small'"
else
  echo "compiled, not run: there is no model"
  exit 77
fi
echo "$run"
text=$(bash -c "$run")
echo "$text"
[ -n "$text" ] || { echo "the program wrote nothing"; exit 1; }
