# Finds what builds for WebAssembly: sourced after tools/lib.sh, not run.
# shellcheck shell=bash disable=SC2034,SC2154

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

# Sets highway to a folder with Highway's headers and nothing else: the rest of a system's folder is not
# for WebAssembly.
find_highway() {
  local dir
  if [ -z "${GEMMA_HIGHWAY_DIR:-}" ]; then "$root/tools/get_deps"; fi
  while read -r dir; do
    if [ -f "$dir/hwy/highway.h" ]; then
      highway=$build/web-headers
      mkdir -p "$highway"
      ln -sfn "$(realpath "$dir/hwy")" "$highway/hwy"
      return
    fi
  done < <(printf '%s\n' ${GEMMA_HIGHWAY_DIR:+"$GEMMA_HIGHWAY_DIR" "$GEMMA_HIGHWAY_DIR/include"} \
    "$root/build/deps/include" && system_include_dirs)
  die "found no headers of Highway; name their folder with GEMMA_HIGHWAY_DIR"
}

# is_newer FILE SOURCE…: whether FILE is there, and newer than each source and all files of source folders.
is_newer() {
  local file=$1
  shift
  [ -f "$file" ] && [ -z "$(find -L "$@" -newer "$file" -type f -print -quit)" ]
}
