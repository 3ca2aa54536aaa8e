// See credentials.h. The caller goes first: if the kernel refuses, nobody else changes. A kernel
// thread that was made meanwhile is found by looking again until there is no new one. The handler
// runs in any state of its thread, on g0 and in helpers too: system calls only.
#include "shims/threads/credentials.h"

#include "core/os/thread.h"
#include "shims/threads/real.h"
#include "shims/threads/signals.h"

namespace graft::shims {

using runtime::rt;

namespace {

struct Call {
  long nr, a, b, c;
};
os::Mutex one_at_a_time;
constinit Call call{};
constinit base::Atomic<uint32_t> done{0};
constinit uint32_t told[sched::kMaxMs + 8];

void repeat(int, siginfo_t*, void*) {
  os::sys(call.nr, call.a, call.b, call.c);
  done.fetchAddAcqRel(1);
  os::futexWakeAll(&done);
}

bool wasTold(uint32_t tid, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (told[i] == tid) return true;
  }
  return false;
}

}  // namespace

bool onEveryThread(long nr, long a, long b, long c, long& result) {
  if (!rt.sched.on()) return false;
  os::Lock lock(one_at_a_time);
  result = os::sys(nr, a, b, c);
  if (os::failed(result)) return true;
  call = {nr, a, b, c};
  done.storeRelease(0);
  struct sigaction act{};
  act.sa_sigaction = repeat;
  act.sa_flags = SA_SIGINFO | SA_RESTART;
  realThreads().sigaction(kEveryThread, &act, nullptr);
  size_t n = 0;
  told[n++] = static_cast<uint32_t>(os::gettid());
  for (size_t before = 0; before != n;) {
    before = n;
    forEachKernelThread([&](uint32_t tid) {
      if (tid == 0 || n == sizeof told / sizeof told[0] || wasTold(tid, n)) return;
      told[n++] = tid;
      os::sys(SYS_tgkill, os::getpid(), static_cast<int>(tid), kEveryThread);
    });
    for (uint32_t d = done.loadAcquire(); d + 1 < n; d = done.loadAcquire()) {
      os::futexWaitNs(&done, d, os::kForever);
    }
  }
  return true;
}

}  // namespace graft::shims
