# Finds what builds for WebAssembly: sourced after tools/lib.sh, not run.
# shellcheck shell=bash disable=SC2034

# Sets emxx, and what Debian's package of it needs set.
find_emscripten() {
  emxx=${EMXX:-em++}
  have "$emxx" || die "needs Emscripten's em++, which is not in the PATH; on Debian and Ubuntu" \
    "tools/install_packages --web installs it, elsewhere see emscripten.org, or name it with EMXX"
  # Node.js of other sources does not look where Debian puts the modules that em++ calls.
  if [ -d /usr/share/nodejs/acorn ]; then
    export NODE_PATH=/usr/share/nodejs${NODE_PATH:+:$NODE_PATH}
  fi
}

# Sets highway to the folder of Highway's headers.
find_highway() {
  local dir
  for dir in ${GEMMA_HIGHWAY_DIR:+"$GEMMA_HIGHWAY_DIR" "$GEMMA_HIGHWAY_DIR/include"} \
    "$root/build/deps/include"; do
    if [ -f "$dir/hwy/highway.h" ]; then
      highway=$dir
      return
    fi
  done
  "$root/tools/get_deps"
  highway=$root/build/deps/include
  if [ -d "$highway/hwy" ]; then return; fi
  # The system's are new enough, but nothing else of its folder is for WebAssembly.
  while read -r dir; do
    if [ -f "$dir/hwy/highway.h" ]; then
      highway=$build/web-highway
      mkdir -p "$highway"
      ln -sfn "$dir/hwy" "$highway/hwy"
      return
    fi
  done < <(system_include_dirs)
  die "found no headers of Highway; name their folder with GEMMA_HIGHWAY_DIR"
}

# is_newer FILE SOURCE…: whether FILE is there, and newer than each source and all files of source folders.
is_newer() {
  local file=$1
  shift
  [ -f "$file" ] && [ -z "$(find -L "$@" -newer "$file" -type f -print -quit)" ]
}
