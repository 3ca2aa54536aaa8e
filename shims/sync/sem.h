// Semaphores: glibc's layout over sem_words.h, and taking a token that is there, inline for the
// exports; the rest is in sem.cc. Any thread of the program in user code. No locks.
#pragma once

#include <semaphore.h>

#include "shims/sync/sem_words.h"

namespace graft::shims {

// What semaphore.h hides.
struct SemLayout {
  base::Atomic<uint64_t> data;
  int shared;  // 0: private
};
static_assert(sizeof(SemLayout) <= sizeof(sem_t));

inline SemLayout& semLayout(sem_t* sem) { return *reinterpret_cast<SemLayout*>(sem); }

inline bool semTakeFast(sem_t* sem) {
  return SemWord<base::RealAtom>(semLayout(sem).data).tryTake();
}

}  // namespace graft::shims
