// Where a G's stack and thread block come from: slots of an allocator that the embedder passes in.
// A dead G keeps its slot, so that the next G of the same size starts without an allocation.
//
// A slot's thread block stays mapped for ever: an M's FS may point to it, unused, after the G has
// died. alloc and free run on the stack of the G (or foreign thread) that spawns, or on g0 (free),
// in runtime code: no libc call that can lock or allocate. reuse runs where alloc does and may
// refuse (HZ-TLSREUSE: the thread block has gone stale); the slot is then freed.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::sched {

struct Stack {
  void* low = nullptr;
  size_t size = 0;
  uintptr_t fs = 0;  // the FS base that goes with it; 0: none
  void* cookie = nullptr;  // the allocator's
};

struct StackSource {
  bool (*alloc)(Stack& out, size_t size) = nullptr;
  bool (*reuse)(Stack& stack) = nullptr;  // null: always
  void (*free)(Stack& stack) = nullptr;
};

}  // namespace graft::sched
