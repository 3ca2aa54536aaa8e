// Pointers that only the kernel holds: the data of epoll interests and the values that timers will
// deliver. They are read back from /proc while the world is stopped. See HZ-ROOTS and GC.md,
// section 5. The collector's thread; inline system calls, no locks.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::gc {

struct KernelRoots {
  char* text;  // a buffer for what /proc says
  size_t text_size;
  void (*found)(void* arg, uint64_t word);
  void* arg;
  // Null, or what could not be read.
  const char* read() const;
};

// The words in what /proc says of one epoll descriptor, and of the timers. For tests too.
void parseEpoll(const char* text, size_t n, void (*found)(void* arg, uint64_t word), void* arg);
void parseTimers(const char* text, size_t n, void (*found)(void* arg, uint64_t word), void* arg);

}  // namespace graft::gc
