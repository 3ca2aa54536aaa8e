// What the kernel keeps per thread that belongs to a G: blocked signals and the alternate signal
// stack. A G has its own; an M knows what its kernel thread has, and takes over the G's before it
// runs it, by a system call only where they differ. Nobody else reads or writes an M's; a G's is
// its own while it runs, and others may read `blocked` racily (atomic) to choose who gets a signal.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/atomic.h"

namespace graft::sched {

struct KernelState {
  base::Atomic<uint64_t> blocked{0};
  void* alt_stack = nullptr;  // null: none
  size_t alt_size = 0;
  int alt_flags = 0;

  bool same(const KernelState& o) const {
    return blocked.loadRelaxed() == o.blocked.loadRelaxed() && alt_stack == o.alt_stack &&
           alt_size == o.alt_size;
  }
  void take(const KernelState& o) {
    blocked.storeRelaxed(o.blocked.loadRelaxed());
    alt_stack = o.alt_stack;
    alt_size = o.alt_size;
    alt_flags = o.alt_flags;
  }
};

constexpr uint64_t signalBit(int signal) { return uint64_t{1} << (signal - 1); }

}  // namespace graft::sched
