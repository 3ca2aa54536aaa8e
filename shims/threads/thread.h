// What graft keeps per thread of the program while threads are Gs: a record in the thread's own
// static TLS, found from a pthread_t (the thread pointer) by a fixed distance. The memory of a slot
// is never unmapped, so the record of a thread that is gone can be read until the slot is used
// again. A thread that graft did not make has an empty record.
//
// state: who ends the life of the block is decided by its bits, and a joiner sleeps on it.
// Any thread of the program. No locks.
#pragma once

#include <pthread.h>

#include "core/runtime/runtime.h"
#include "shims/glibc/thread_block.h"

namespace graft::shims {

struct Thread {
  static constexpr uint32_t kDetached = 1, kJoining = 2, kEnded = 4, kGone = 8;

  glibc::ThreadBlock* block;  // null: not one of ours
  sched::G* g;  // while it has not ended
  base::Atomic<uint32_t> state;
  uint32_t tid;  // as in glibc's block: stays the same for life
  base::Atomic<uint32_t> in_sigwait;  // takes blocked signals, too
  base::Atomic<uint32_t> masked_wait;  // WaitMask: a handler ends its next wait
  uint32_t never;  // sleepers wait for it to change, which it does not
  base::Atomic<uintptr_t> joins;  // the thread that this one waits for
  char name[16];

  bool ours() const { return block != nullptr; }
};

extern "C" [[gnu::visibility("hidden")]] thread_local constinit Thread graft_thread
    __attribute__((tls_model("initial-exec")));

// A pthread_t is the thread pointer.
inline Thread& threadOf(uintptr_t thread_pointer) {
  uintptr_t off;
  asm("movq graft_thread@gottpoff(%%rip), %0" : "=r"(off));
  return *reinterpret_cast<Thread*>(thread_pointer + off);
}

}  // namespace graft::shims
