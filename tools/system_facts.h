// Facts about this machine and this environment that decide how well graft can work here: kernel,
// limits, other preloaded libraries. Read from /proc, /sys and the environment; changes nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft::tools {

struct SystemFacts {
  std::string kernel;              // uname release
  std::string huge_pages;          // always, madvise, never; "" if the kernel has none
  int64_t overcommit = -1;         // vm.overcommit_memory; -1 unknown
  int64_t max_map_count = -1;      // vm.max_map_count; -1 unknown
  int64_t address_space_kib = -1;  // RLIMIT_AS; -1 unlimited
};

SystemFacts readSystemFacts();

// One library that is preloaded besides graft.
struct Preloaded {
  std::string path;
  std::string source;  // "LD_PRELOAD" or "/etc/ld.so.preload"
  std::string malloc;  // not empty: it brings a malloc of its own; how that is known
};

std::vector<Preloaded> otherPreloads();

// How it is known that this library (a path, or a name that the loader would search) replaces or
// hooks malloc; "" if nothing says so.
std::string mallocOf(const std::string& library);

// The version that a libc.so.6 file says it is, "" if it does not say.
std::string libcVersionOf(const std::string& path);

}  // namespace graft::tools
