// The one way in which the collector reaches threads: stop them, see their stacks and registers,
// let them go on. core/runtime/world.cc implements it over the scheduler for Gs and by a signal for
// every other kernel thread; tests implement it over nothing. HZ-UNAWARE: a thread counts as
// stopped only when it has acknowledged with its registers, or cannot run before it is let go.
//
// stop() and start() run on the collector's own thread; the callbacks run there too, while the
// world is stopped. They may not allocate from the heap or call libc.
#pragma once

#include <stddef.h>

#include "core/base/types.h"

namespace graft::gc {

// Where one stopped thread's stack is. What lies below sp - kRedZone is dead; everything else in
// the mapping or in [low, high) is scanned.
struct StackInfo {
  Addr sp = 0;
  Addr thread_pointer = 0;  // 0: not known, or not above its stack: the first thread's
  Addr low = 0, high = 0;  // 0: not known, then the mapping that holds sp decides
};

// The x86-64 ABI lets leaf functions use so much below the stack pointer.
inline constexpr size_t kRedZone = 128;

struct World {
  // The signal by which threads are stopped, 0 if there is none.
  int (*signal)(void* self) = nullptr;
  // Null: everything stands still. Else why not, and everything runs again.
  const char* (*stop)(void* self, uint64_t timeout_ns) = nullptr;
  void (*start)(void* self) = nullptr;
  void (*forEachStack)(void* self, void (*f)(void* arg, const StackInfo& s), void* arg) = nullptr;
  // Memory that holds registers of stopped threads, vector registers among them.
  void (*forEachRegisters)(void* self, void (*f)(void* arg, Addr from, size_t bytes),
                           void* arg) = nullptr;
  void* self = nullptr;
};

}  // namespace graft::gc
