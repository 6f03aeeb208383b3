#!/usr/bin/env bash
# run.sh WAY HIGHWAY COMPILER: builds and runs the program in consumer/ with gemma.hpp taken in one
# of the ways the README names: add_subdirectory, fetch_content, find_package, pkg_config, meson (as a
# subproject) or meson_installed. HIGHWAY is the folder of Highway's headers. Exit status 77: the tool
# for this way is missing.
set -euo pipefail

way=$1
highway=$2
export CXX=$3
# CMake asks for make unless told otherwise; tools/install_packages installs Ninja.
command -v make >/dev/null || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need() {
  command -v "$1" >/dev/null || { echo "$1 is not installed"; exit 77; }
}

install_gemma() {
  cmake -S "$root" -B "$work/gemma" -DCMAKE_INSTALL_PREFIX="$work/prefix" \
    -DGEMMA_HIGHWAY_DIR="$highway" -DGEMMA_TESTS=OFF -DGEMMA_TOOLS=OFF -DGEMMA_EXAMPLES=OFF
  cmake --build "$work/gemma"
  cmake --install "$work/gemma"
}

build_with_cmake() {
  cmake -S "$here/consumer" -B "$work/build" -DCMAKE_BUILD_TYPE=Debug \
    -DGEMMA_HIGHWAY_DIR="$highway" -DWAY="$way" "$@"
  cmake --build "$work/build"
  "$work/build/consumer"
}

case $way in
  add_subdirectory | fetch_content)
    build_with_cmake -DGEMMA_SOURCE="$root"
    ;;
  find_package)
    install_gemma
    build_with_cmake -DCMAKE_PREFIX_PATH="$work/prefix"
    ;;
  pkg_config)
    need pkg-config
    install_gemma
    export PKG_CONFIG_PATH=$work/prefix/share/pkgconfig
    read -r -a flags < <(pkg-config --cflags --libs gemma)
    "$CXX" -std=c++17 "$here/consumer/main.cpp" "${flags[@]}" -o "$work/consumer"
    "$work/consumer"
    ;;
  meson)
    need meson
    need ninja
    cp -R "$here/consumer" "$work/consumer"
    mkdir "$work/consumer/subprojects"
    mkdir "$work/consumer/subprojects/gemma"
    cp -R "$root/include" "$root/meson.build" "$root/meson_options.txt" \
      "$work/consumer/subprojects/gemma"
    meson setup "$work/build" "$work/consumer" -Dgemma:highway_dir="$highway"
    meson compile -C "$work/build"
    "$work/build/consumer"
    ;;
  meson_installed)
    need meson
    need ninja
    need pkg-config
    meson setup "$work/gemma" "$root" --prefix "$work/prefix" -Dhighway_dir="$highway" \
      -Dtests=disabled -Dtools=disabled
    meson install -C "$work/gemma"
    export PKG_CONFIG_PATH=$work/prefix/share/pkgconfig
    meson setup "$work/build" "$here/consumer" --wrap-mode=nofallback
    meson compile -C "$work/build"
    "$work/build/consumer"
    ;;
  *)
    echo "unknown way '$way'"
    exit 2
    ;;
esac
