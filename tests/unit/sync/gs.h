// Gs for the tests of shims/sync: each has a thread block of its own, just large enough for what
// the shims read and write there (thread id, stack guard, errno), zeroed otherwise. Their bodies
// call shims and system calls only.
#pragma once

#include <linux/futex.h>
#include <string.h>

#include "shims/glibc/own_tid.h"
#include "shims/sync/mutex.h"
#include "shims/sync/real.h"
#include "shims/sync/sync.h"
#include "tests/unit/sched/in_process.h"

namespace graft::shims {

using sched::checkFailed;
using sched::Count;
using sched::inChild;
using sched::s;

constexpr uint64_t kMs = 1'000'000;
constexpr size_t kBelow = 16384, kBlock = 4096;  // TLS, thread block

inline ptrdiff_t robust_head;
inline long futex_offset;

// As this thread's block has it, for every G's.
inline void findRobustList() {
  robust_list_head* own;
  size_t size;
  char* tp;
  os::sys(SYS_get_robust_list, 0, os::arg(&own), os::arg(&size));
  asm("movq %%fs:0, %0" : "=r"(tp));
  robust_head = reinterpret_cast<char*>(own) - tp;
  futex_offset = own->futex_offset;
}

inline bool slotWithBlock(sched::Stack& out, size_t size) {
  static uint32_t next_tid = 0x10000000;
  if (!sched::Slots::alloc(out, size + kBelow + kBlock)) return false;
  out.size = size;
  char* block = static_cast<char*>(out.low) + size + kBelow;
  memset(block - kBelow, 0, kBelow + kBlock);
  uintptr_t* words = reinterpret_cast<uintptr_t*>(block);
  words[0] = words[2] = out.fs = reinterpret_cast<uintptr_t>(block);
  asm("movq %%fs:0x28, %0" : "=r"(words[5]));
  asm("movq %%fs:0x30, %0" : "=r"(words[6]));
  auto* head = reinterpret_cast<robust_list_head*>(block + robust_head);
  head->list.next = &head->list;
  head->futex_offset = futex_offset;
  uint32_t tid = __atomic_add_fetch(&next_tid, 1, __ATOMIC_RELAXED);
  memcpy(block + glibc::tidOffset(), &tid, sizeof tid);
  return true;
}

inline sched::Config withBlocks(uint32_t procs) {
  glibc::findOwnTid();
  findRealSync();
  findRobustList();
  sched::Config c = sched::testConfig(procs);
  c.stacks.alloc = slotWithBlock;
  return c;
}

inline void lock(pthread_mutex_t* m) {
  if (!lockFast(m)) SCHED_CHECK(mutexLock(s, m) == 0);
}
inline void unlock(pthread_mutex_t* m) {
  if (!unlockFast(s, m)) SCHED_CHECK(mutexUnlock(s, m) == 0);
}

inline timespec after(uint64_t ns, clockid_t clock = CLOCK_REALTIME) {
  timespec t{};
  os::sys(SYS_clock_gettime, clock, os::arg(&t));
  uint64_t sum = static_cast<uint64_t>(t.tv_nsec) + ns;
  return {t.tv_sec + static_cast<time_t>(sum / 1'000'000'000),
          static_cast<long>(sum % 1'000'000'000)};
}

class Sync : public testing::TestWithParam<uint32_t> {
 protected:
  template <class F>
  void run(F body) {
    inChild(withBlocks(GetParam()), [&] {
      __libc_single_threaded = 0;  // as for a program whose second thread is a G
      body();
    });
  }
};

}  // namespace graft::shims
