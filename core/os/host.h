// What core asks of its embedder: libgraft.so's preload layer fills these in, unit tests leave
// them empty. Core itself never names a libc function. Written once at start, then read only.
#pragma once

#include <stddef.h>

namespace graft::os {

struct Host {
  void (*abort)() = nullptr;  // libc's abort: SIGABRT with its semantics
  // The allocator behind graft: for blocks that graft did not hand out, and for everything while
  // graft is off.
  void* (*malloc)(size_t) = nullptr;
  void* (*calloc)(size_t, size_t) = nullptr;
  void* (*realloc)(void*, size_t) = nullptr;
  void* (*memalign)(size_t, size_t) = nullptr;
  void (*free)(void*) = nullptr;
  size_t (*usableSize)(void*) = nullptr;
};
extern constinit Host host;

}  // namespace graft::os
