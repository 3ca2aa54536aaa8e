// The running thread's id as glibc keeps it in the thread block, which is what glibc writes into a
// mutex as its owner; and whether the process ever had a second thread, by glibc's public flag. The
// offset is the fact `tid`, looked up early, because mutexes are locked long before calibration.
// Any thread of the program; findOwnTid() before it has threads.
#pragma once

#include <stdint.h>
#include <sys/single_threaded.h>

#include "core/os/sys.h"
#include "shims/glibc/facts.h"

namespace graft::glibc {

// Where the id is, from the thread pointer; 0: not known (yet).
inline int64_t tidOffset() { return facts.tid; }
inline uint32_t tidAt(int64_t offset) {
  uint32_t tid;
  asm volatile("movl %%fs:(%1), %0" : "=r"(tid) : "r"(offset));
  return tid;
}
inline uint32_t ownTid() { return tidAt(tidOffset()); }
inline bool singleThreaded() { return __libc_single_threaded != 0; }

// Whether the thread with this thread pointer is to be cancelled; and whether it would
// be at its next cancellation point. The bits of cancelhandling are 0: disabled, 2: under way,
// 3: asked for (glibc 2.34 to 2.43). False before calibration.
inline bool cancelAsked(uintptr_t tp) {
  if (facts.cancelhandling == 0) return false;
  auto* word = reinterpret_cast<const uint32_t*>(tp + static_cast<uintptr_t>(facts.cancelhandling));
  return (__atomic_load_n(word, __ATOMIC_RELAXED) & 12) != 0;
}
// Its cancellation is asynchronous, as during a call of libc's that may be cancelled.
inline bool cancelsAnywhere(uintptr_t tp) {
  if (facts.cancelhandling == 0) return false;
  auto* word = reinterpret_cast<const uint32_t*>(tp + static_cast<uintptr_t>(facts.cancelhandling));
  return (__atomic_load_n(word, __ATOMIC_RELAXED) & 3) == 2;
}
inline bool cancelPending(uintptr_t tp) {
  if (facts.cancelhandling == 0) return false;
  auto* word = reinterpret_cast<const uint32_t*>(tp + static_cast<uintptr_t>(facts.cancelhandling));
  return (__atomic_load_n(word, __ATOMIC_RELAXED) & 9) == 8;
}
inline bool cancelPending() { return cancelPending(os::threadPointer()); }

// Takes the offset from glibc's descriptor if it proves right for the calling thread.
void findOwnTid();

// For its lifetime the thread block holds the id of the kernel thread underneath: for calls of
// glibc's that hand it to the kernel, or to another process (HZ-TID). The caller's G is wired.
class KernelTid {
 public:
  KernelTid() : virtual_(ownTid()) { set(static_cast<uint32_t>(os::gettid())); }
  ~KernelTid() { set(virtual_); }
  KernelTid(const KernelTid&) = delete;
  KernelTid& operator=(const KernelTid&) = delete;

 private:
  static void set(uint32_t tid) {
    asm volatile("movl %0, %%fs:(%1)" : : "r"(tid), "r"(tidOffset()) : "memory");
  }
  uint32_t virtual_;
};

}  // namespace graft::glibc
