// The version of gemma.hpp. CMakeLists.txt and meson.build read it from here.
#ifndef GEMMA_VERSION_HPP_
#define GEMMA_VERSION_HPP_

#define GEMMA_VERSION_MAJOR 0
#define GEMMA_VERSION_MINOR 1
#define GEMMA_VERSION_PATCH 0

#endif  // GEMMA_VERSION_HPP_
