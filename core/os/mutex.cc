// Waiting side of os::Mutex: a short spin, because critical sections of the heap last well under
// a microsecond, then a private futex wait. Slow paths of any thread.
#include "core/os/mutex.h"

#include <linux/futex.h>

namespace graft::os {

constinit base::Atomic<uintptr_t> fork_owner{0};

namespace {
constinit base::Atomic<int> fork_tid{0}, fork_pid{0};
}

void beginOwnFork() {
  fork_tid.storeRelaxed(gettid());
  fork_pid.storeRelaxed(getpid());
  fork_owner.storeRelease(threadPointer());
}
void endOwnFork() { fork_owner.storeRelaxed(0); }

// In the child the tid is another one, but nobody else is there.
bool isForkingThread() {
  return gettid() == fork_tid.loadRelaxed() || getpid() != fork_pid.loadRelaxed();
}

void Mutex::lockSlow() {
  if (passes()) return;
  for (int spin = 0; spin < 60; spin++) {
    base::cpuRelax();
    uint32_t expected = 0;
    if (state_.loadRelaxed() == 0 && state_.casAcquire(expected, 1)) return;
  }
  while (state_.exchangeAcquire(2) != 0) {
    sys(SYS_futex, arg(&state_), FUTEX_WAIT_PRIVATE, 2, 0);
  }
}

void Mutex::wakeOne() { sys(SYS_futex, arg(&state_), FUTEX_WAKE_PRIVATE, 1); }

}  // namespace graft::os
