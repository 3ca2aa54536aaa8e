// The mallocs that are compared: the names of --against, the shared libraries behind them, and the
// Debian packages that bring these. Reads the environment and the file system; starts nothing.
#pragma once

#include <string>
#include <vector>

namespace graft::tools::compare {

struct Runtime {
  std::string name;
  std::string library;  // absolute path to preload; empty: none
  std::string version;  // as far as it can be told without loading it
};

struct RuntimeList {
  std::vector<Runtime> runtimes;     // in the order in which they were named, graft last
  std::vector<std::string> skipped;  // one line each
  std::string problem;               // not empty: the list cannot be used, in one line
};

// What is to be compared.
struct Wanted {
  std::string against;        // comma-separated names or NAME=PATH; empty: the usual ones
  std::string graft_library;  // for graft, which is added
  // The malloc library that the program is linked with, "" for none. With one, "glibc" has to
  // preload libc itself, and "own" is the program as it is.
  std::string linked;
};

// A missing library of `against` is a problem; of the usual ones it is skipped.
RuntimeList findRuntimes(const Wanted& wanted);

// The first of the DT_NEEDED names that is a malloc, or "".
std::string linkedMalloc(const std::vector<std::string>& needed);

// The index of own, else of glibc, else of the first one.
size_t baselineOf(const std::vector<Runtime>& runtimes);

// LD_PRELOAD with this runtime: its library, then what `current` holds besides other mallocs, which
// are named in `dropped`.
std::string preloadOf(const Runtime& runtime, const char* current,
                      std::vector<std::string>& dropped);

}  // namespace graft::tools::compare
