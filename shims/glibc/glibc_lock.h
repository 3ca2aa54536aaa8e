// glibc's own low-level lock, spoken from outside: the word of _dl_stack_cache_lock has the
// protocol 0 free, 1 held, 2 held and someone may wait, with private futex waits. The program's
// threads and the thread that calibrates; never g0, sysmon or a signal handler, because the holder
// may be any thread of the program, and a wait here needs the ownership word at `user`
// (HZ-TLSREUSE).
#pragma once

#include <linux/futex.h>
#include <stdint.h>

#include "core/base/atomic.h"
#include "core/os/sys.h"

namespace graft::glibc {

using GlibcLockWord = base::Atomic<uint32_t>;

inline bool tryLock(GlibcLockWord* word) {
  uint32_t expected = 0;
  return word->casAcquire(expected, 1);
}

// Spins first, unlike glibc: what is done under the lock is a few stores as a rule, and sleeping
// and being woken takes a thousand times as long.
inline void lock(GlibcLockWord* word) {
  if (tryLock(word)) return;
  for (int spin = 0; spin < 100; spin++) {
    base::cpuRelax();
    if (word->loadRelaxed() == 0 && tryLock(word)) return;
  }
  while (word->exchangeAcquire(2) != 0) {
    os::sys(SYS_futex, os::arg(word), FUTEX_WAIT_PRIVATE, 2, 0);
  }
}

inline void unlock(GlibcLockWord* word) {
  if (word->exchangeRelease(0) == 2) os::sys(SYS_futex, os::arg(word), FUTEX_WAKE_PRIVATE, 1);
}

}  // namespace graft::glibc
