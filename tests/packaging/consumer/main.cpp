// A program of somebody else's that uses gemma.hpp through a package.
#include <gemma/gemma.hpp>
#include <cstdio>

int main() {
  std::printf("%d.%d.%d\n", GEMMA_VERSION_MAJOR, GEMMA_VERSION_MINOR, GEMMA_VERSION_PATCH);
  return gemma::try_load("there-is-no-such.gguf").ok() ? 1 : 0;
}
