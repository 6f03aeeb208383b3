// The other unit of first.cpp.
#include "every_header.hpp"

int second_major_version();
int second_major_version() { return GEMMA_VERSION_MAJOR; }
