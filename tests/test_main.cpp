// The main function that every test program links.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>

namespace {
// ctest reads the names of the tests, whose lines end as they do elsewhere.
const int standard_output_is_binary = _setmode(1, _O_BINARY);
}  // namespace
#endif
