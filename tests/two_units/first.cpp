// One of two translation units that both include every header of gemma.hpp: a function that lacks
// its `inline` makes the program fail to link.
#include "every_header.hpp"

int second_major_version();

int main() { return second_major_version() == GEMMA_VERSION_MAJOR ? 0 : 1; }
