# Shared by the scripts in tools/: sourced, not run.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/gemma.hpp
build=${GEMMA_BUILD_DIR:-build}
if [ "${build#/}" = "$build" ]; then build=$root/$build; fi

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

usage_error() {
  printf '%s: error: %s (see --help)\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# The comment block at the head of a script is its help.
show_help() { awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$0"; }

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command without its output, which is shown only if the command fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then tail -n 20 "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

# version_at_least 1.3.0 1.2: succeeds if the first is not older than the second.
version_at_least() {
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# The version of the Highway headers in a folder; nothing if there are none.
highway_version() {
  [ -f "$1/hwy/highway.h" ] && [ -f "$1/hwy/base.h" ] || return 0
  sed -nE 's/^#define HWY_(MAJOR|MINOR|PATCH) ([0-9]+).*/\2/p' "$1/hwy/base.h" | paste -sd. -
}

# Folders in which the compiler finds headers without being told.
system_include_dirs() {
  printf '%s\n' /usr/include /usr/local/include /opt/homebrew/include
  if [ -n "${CPLUS_INCLUDE_PATH:-}" ]; then tr ':' '\n' <<<"$CPLUS_INCLUDE_PATH"; fi
}

have_header() {
  local dir
  while read -r dir; do
    if [ -f "$dir/$1" ]; then return 0; fi
  done < <(system_include_dirs)
  return 1
}

# Whether programs find this library when they ask for it by name.
have_library() {
  { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } |
    grep "^[[:space:]]*$1 " >/dev/null
}

jobs() { getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2; }

# configure [-DNAME=VALUE…]: runs cmake on the build folder, with ninja if it is a new one.
configure() {
  local arguments=("$@")
  if [ -n "${GEMMA_HIGHWAY_DIR:-}" ]; then
    arguments+=("-DGEMMA_HIGHWAY_DIR=$GEMMA_HIGHWAY_DIR")
  elif [ -f "$root/build/deps/include/hwy/highway.h" ]; then
    arguments+=("-DGEMMA_HIGHWAY_DIR=$root/build/deps/include")
  fi
  if [ ! -f "$build/CMakeCache.txt" ] && [ -z "${CMAKE_GENERATOR:-}" ] && have ninja; then
    arguments+=(-G Ninja)
  fi
  quietly cmake -S "$root" -B "$build" "${arguments[@]}"
}
