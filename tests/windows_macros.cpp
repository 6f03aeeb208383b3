// Every header of gemma.hpp where <windows.h> has made macros of min and max, as it does unless asked not
// to. The standard's headers come first: some undefine such macros.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

#if defined(_WIN32)
#include <windows.h>
#endif

#undef min
#undef max
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))

#include "every_header.hpp"

#if !defined(min) || !defined(max)
#error "The macros of whoever includes these headers are theirs to keep."
#endif
