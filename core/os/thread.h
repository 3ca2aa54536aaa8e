// A kernel thread of graft's own, unknown to libc: raw clone, every signal blocked, a stack and a
// thread block that belong to the caller. For helpers that run libgraft code only. start() may be
// called from any thread outside a signal handler; the thread leaves by returning from its
// function.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/atomic.h"

namespace graft::os {

// What a thread on somebody's own stack needs. `tid` gets the tid before the thread runs, and 0
// (with a futex wake) when it has ended; the top words of the stack are used for fn and arg.
struct ThreadSpec {
  uintptr_t stack_top;  // a multiple of 16
  void* thread_pointer;  // %fs; the first word there points to itself
  base::Atomic<uint32_t>* tid;
  void (*fn)(void*);
  void* arg;
  uint64_t blocked;  // the thread's signal mask
};
// False: the kernel refused.
bool startThread(const ThreadSpec& spec);

struct HelperThread {
  // The kernel writes the tid here, and 0 (with a futex wake) when the thread has ended.
  base::Atomic<uint32_t> tid{0};
  uintptr_t mapped = 0;
  size_t mapped_bytes = 0;
  alignas(64) char stack[16384];

  // Runs fn(arg). False: the kernel refused. Must not be running.
  bool start(void (*fn)(void*), void* arg);
  // The same for a thread that reads thread variables of ours, which are zero there: with
  // `tls_below` bytes of room below its thread pointer, in a mapping that is kept.
  bool startWithTls(void (*fn)(void*), void* arg, size_t tls_below,
                    uint64_t blocked = ~uint64_t{0});
  // fork's child: the mapping is given back.
  void forget();
  bool running() const { return tid.loadAcquire() != 0; }
  // Waits until the thread has ended.
  void join();
};

// Waits until *word is no longer `value` or the time has passed; it may also return for no reason.
void futexWaitMs(base::Atomic<uint32_t>* word, uint32_t value, uint64_t ms);
inline constexpr uint64_t kForever = ~uint64_t{0};
void futexWaitNs(base::Atomic<uint32_t>* word, uint32_t value, uint64_t ns);
void futexWakeOne(base::Atomic<uint32_t>* word);
void futexWakeAll(base::Atomic<uint32_t>* word);

}  // namespace graft::os
