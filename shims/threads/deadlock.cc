// See deadlock.h. A false alarm is worse than none, so everything that might still wake a thread
// counts as an event to come: a handler of the program's or a signal on its way, a timer of the
// kernel's, a kernel thread that graft did not make (libc's own, raw clones). Gs in the kernel,
// graft's timers and queued work were looked at before by Sched::isDead, and are again afterwards:
// a foreign thread may have woken a G and ended in between.
//
// On g0, no lock held: inline system calls only.
#include "shims/threads/deadlock.h"

#include <fcntl.h>
#include <sys/time.h>

#include "core/os/message.h"
#include "shims/threads/signals.h"

namespace graft::shims {

using runtime::rt;

namespace {

constinit base::Atomic<uint32_t> reported{0};

struct KernelAction {
  void* handler;
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};

// The program's: libc's two and ours do nothing by themselves.
bool handlesSignals() {
  for (int signal = 1; signal <= 64; signal++) {
    constexpr uint64_t kNone = 0, kIgnore = 1;
    if (signal == 32 || signal == 33 || (kOurSignals & sched::signalBit(signal)) != 0) continue;
    KernelAction a{};
    os::sys(SYS_rt_sigaction, signal, 0, os::arg(&a), 8);
    uint64_t handler = reinterpret_cast<uint64_t>(a.handler);
    if (handler != kNone && handler != kIgnore) return true;
  }
  return signalsOnTheirWay();
}

// Also those whose signal would end the process: that is no deadlock.
bool kernelTimers() {
  constexpr int kTimers[] = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
  for (int which : kTimers) {
    itimerval t{};
    os::sys(SYS_getitimer, which, os::arg(&t));
    if (t.it_value.tv_sec != 0 || t.it_value.tv_usec != 0) return true;
  }
  long fd = os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/timers"), O_RDONLY | O_CLOEXEC);
  if (os::failed(fd)) return false;  // a kernel without it
  char any;
  bool some = os::sys(SYS_read, fd, os::arg(&any), 1) > 0;
  os::sys(SYS_close, fd);
  return some;
}

bool ours(uint32_t tid) {
  bool found = tid == rt.scavenger.threadId() || tid == rt.control.threadId();
  forEachKernelThread([&](uint32_t t) { found |= t == tid; });
  return found;
}

struct Entry {  // linux_dirent64
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[1];
};

// Threads of the process that graft did not make; true also when that cannot be told.
bool foreignThreads() {
  long fd =
      os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/task"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (os::failed(fd)) return true;
  alignas(8) char buffer[2048];
  bool foreign = false;
  long n;
  while (!foreign && (n = os::sys(SYS_getdents64, fd, os::arg(buffer), sizeof buffer)) > 0) {
    for (long at = 0; at < n;) {
      auto* e = reinterpret_cast<Entry*>(buffer + at);
      at += e->size;
      uint32_t tid = 0;
      for (const char* c = e->name; *c >= '0' && *c <= '9'; c++) {
        tid = tid * 10 + static_cast<uint32_t>(*c - '0');
      }
      foreign |= tid != 0 && !ours(tid);
    }
  }
  os::sys(SYS_close, fd);
  return foreign || n < 0;
}

void describe(const sched::G& g, const Thread& t) {
  base::Line line;
  line.str("  G ").udec(g.id).str(" \"").str(t.name).str("\" ");
  bool queued = g.wait.bucket.loadRelaxed() != nullptr;
  if (queued) {
    line.str("waits at ").ptr(g.wait.addr);
  } else {
    line.str("waits");
  }
  line.str(", stack ").ptr(g.ctx.sp);
  if (g.stack.size != 0) line.str(" to ").ptr(static_cast<char*>(g.stack.low) + g.stack.size);
  if (g.locked_m != nullptr)
    line.str(", wired to kernel thread ").udec(g.locked_m->tid.loadRelaxed());
  os::say(line.nl());
}

void report() {
  base::Line line;
  line.str("graft: all threads are asleep and nothing can wake one (deadlock); ");
  line.str("process ").dec(os::getpid());
  if (rt.control.serving()) line.str(", see `graft stacks ").dec(os::getpid()).chr('`');
  os::say(line.str(":\n"));
  uint64_t most = 1000, left = 0;
  rt.sched.forEachG([&](sched::G& g) {
    sched::GState s = g.state.look();
    if (s == sched::GState::kFree || s == sched::GState::kDead || g.user == nullptr) return;
    if (most == 0) {
      left++;
    } else {
      most--;
      describe(g, *static_cast<Thread*>(g.user));
    }
  });
  if (left != 0) {
    line.clear();
    os::say(line.str("  and ").udec(left).str(" more\n"));
  }
}

}  // namespace

void onAllAsleep(sched::Sched& s) {
  base::Deadlock what = base::options.deadlock.get();
  if (what == base::Deadlock::kOff || reported.loadRelaxed() != 0) return;
  if (handlesSignals() || kernelTimers() || foreignThreads() || !s.stillDead()) return;
  uint32_t none = 0;
  if (!reported.casAcqRel(none, 1)) return;
  report();
  if (what == base::Deadlock::kAbort) os::die();
}

void forkChildDeadlock() { reported.storeRelaxed(0); }

}  // namespace graft::shims
