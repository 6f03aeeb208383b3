// The version of gemma.hpp. CMakeLists.txt and meson.build read it from here.
#ifndef GEMMA_VERSION_HPP_
#define GEMMA_VERSION_HPP_

#define GEMMA_VERSION_MAJOR 0
#define GEMMA_VERSION_MINOR 1
#define GEMMA_VERSION_PATCH 0

/// As one number: 10203 is version 1.2.3.
#define GEMMA_VERSION (GEMMA_VERSION_MAJOR * 10000 + GEMMA_VERSION_MINOR * 100 + GEMMA_VERSION_PATCH)

#endif  // GEMMA_VERSION_HPP_
