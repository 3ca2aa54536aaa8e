// Signals on their way to one G, and the thread that takes those of the process which no running G
// can take; see signals.h. The table is small: a sender finds a place, or waits for one.
//
// Locks: table_lock, a leaf, taken in user code, by the signal thread, on g0 (forgetSignals) and in
// handlers: never for longer than a walk over the table, and with signals blocked by whoever is a
// thread of the program.
#include <errno.h>

#include "core/os/signals.h"
#include "core/os/thread.h"
#include "shims/glibc/own_tid.h"
#include "shims/threads/real.h"
#include "shims/threads/signals.h"

namespace graft::shims {

using runtime::rt;

namespace {

constexpr size_t kPending = 256;
constexpr uint64_t kCancelAndSetxid = 3ull << 31;  // libc's own two
constexpr uint64_t kRetryNs = 2'000'000;

struct Pending {
  sched::G* g = nullptr;  // null: free
  int signal = 0;
  siginfo_t info{};
  bool process = false;  // anybody's, if g does not take it
};

os::Mutex table_lock;
constinit Pending table[kPending]{};
constinit base::Atomic<uint32_t> count{0};
constinit os::HelperThread signal_thread{};

// The table's lock is taken in handlers too.
class Quiet {
 public:
  Quiet() : lock_(table_lock) {}
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  os::HoldSignals hold_;
  os::Lock lock_;
};

struct KernelAction {
  void* handler;
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};

KernelAction actionOf(int signal) {
  KernelAction a{};
  os::sys(SYS_rt_sigaction, signal, 0, os::arg(&a), 8);
  return a;
}

bool put(sched::G* g, int signal, const siginfo_t& info, bool process) GRAFT_NO_LOCK_ANALYSIS {
  Quiet quiet;
  Pending* free = nullptr;
  for (Pending& p : table) {
    if (p.g == g && p.signal == signal && signal < 32) return true;  // one of a kind is enough
    if (p.g == nullptr && free == nullptr) free = &p;
  }
  if (free == nullptr) return false;
  *free = {g, signal, info, process};
  count.fetchAddAcqRel(1);
  g->signals.storeRelease(1);
  return true;
}

// The next one for g whose signal is in `among`.
bool take(sched::G* g, uint64_t among, Pending& out) GRAFT_NO_LOCK_ANALYSIS {
  Quiet quiet;
  bool more = false;
  Pending* found = nullptr;
  for (Pending& p : table) {
    if (p.g != g) continue;
    if (found == nullptr && (sched::signalBit(p.signal) & among) != 0) {
      found = &p;
    } else {
      more = true;
    }
  }
  if (!more) g->signals.storeRelease(0);
  if (found == nullptr) return false;
  out = *found;
  found->g = nullptr;
  count.fetchSubAcqRel(1);
  return true;
}

// g itself, in user code: has the kernel deliver what was sent to it, here and now.
void takeAll(sched::G* g, uint64_t among) {
  Pending p;
  while (take(g, among, p)) {
    os::sys(SYS_rt_tgsigqueueinfo, os::getpid(), os::gettid(), p.signal, os::arg(&p.info));
    if (sched::currentG() != g) return;  // cannot be
  }
}

bool waitsForSignals(const sched::G& g) {
  auto* t = static_cast<const Thread*>(g.user);
  return t != nullptr && t->in_sigwait.loadRelaxed() != 0;
}

void onSignals(sched::G* g) {
  uint64_t blocked = 0;
  os::sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, os::arg(&blocked), 8);
  takeAll(g, waitsForSignals(*g) ? ~uint64_t{0} : ~blocked);
}

void kicked(int, siginfo_t*, void* context) { rt.sched.onKick(context); }

void stoppedOrKicked(int, siginfo_t*, void* context) {
  if (!rt.world.onSignal(context) && rt.sched.on()) rt.sched.onKick(context);
}

bool lives(sched::G& g) {
  sched::GState s = g.state.look();
  return s != sched::GState::kFree && s != sched::GState::kDead;
}

bool opens(sched::G& g, int signal) {
  return lives(g) && (g.kernel.blocked.loadRelaxed() & sched::signalBit(signal)) == 0;
}

int kickFor(int signal) {
  return (actionOf(signal).flags & SA_RESTART) != 0 ? kKickRestart : kKick;
}

// --- The signal thread

uint64_t openSignals() {
  uint64_t open = 0;
  rt.sched.forEachG([&](sched::G& g) {
    if (lives(g)) open |= ~g.kernel.blocked.loadRelaxed();
  });
  constexpr int kNever[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  uint64_t never = kCancelAndSetxid | sched::signalBit(kEveryThread);
  for (int s : kNever) never |= sched::signalBit(s);
  return (open & ~never) | sched::signalBit(kKick);
}

bool ignoredByDefault(int signal) {
  return signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH || signal == SIGCONT;
}

// The default action is the whole process's.
void doDefault(int signal, siginfo_t& info) {
  if (ignoredByDefault(signal)) return;
  uint64_t bit = sched::signalBit(signal);
  os::sys(SYS_rt_tgsigqueueinfo, os::getpid(), os::gettid(), signal, os::arg(&info));
  os::sys(SYS_rt_sigprocmask, SIG_UNBLOCK, os::arg(&bit), 0, 8);
  os::sys(SYS_rt_sigprocmask, SIG_BLOCK, os::arg(&bit), 0, 8);
}

sched::G* chooseFor(int signal) {
  sched::G* chosen = nullptr;
  rt.sched.forEachG([&](sched::G& g) {
    if (chosen == nullptr && opens(g, signal)) chosen = &g;  // the main one comes first
  });
  return chosen;
}

void route(int signal, siginfo_t& info) {
  sched::G* g = chooseFor(signal);
  if (g == nullptr) {  // blocked by all since: somebody may wait for it
    sched::sendToProcess(signal, &info);
    return;
  }
  void* handler = actionOf(signal).handler;
  if (handler == reinterpret_cast<void*>(SIG_IGN)) return;
  if (handler == reinterpret_cast<void*>(SIG_DFL)) return doDefault(signal, info);
  if (put(g, signal, info, true)) rt.sched.nudge(g, kickFor(signal));
}

void nudgeAll() GRAFT_NO_LOCK_ANALYSIS {
  for (Pending& p : table) {
    sched::G* g;
    int signal;
    {
      os::Lock lock(table_lock);
      g = p.g;
      signal = p.signal;
    }
    if (g != nullptr && (opens(*g, signal) || waitsForSignals(*g)))
      rt.sched.nudge(g, kickFor(signal));
  }
}

void takeForProcess(void*) {
  for (;;) {
    uint64_t open = openSignals();
    siginfo_t info{};
    timespec retry{0, kRetryNs};
    bool waiting = count.loadAcquire() != 0;
    long got = os::sys(SYS_rt_sigtimedwait, os::arg(&open), os::arg(&info),
                       waiting ? os::arg(&retry) : 0, 8);
    if (got == kKick) continue;
    if (got > 0) route(static_cast<int>(got), info);
    if (got == -EAGAIN) nudgeAll();
  }
}

void lookAgain() {
  int tid = static_cast<int>(signal_thread.tid.loadAcquire());
  if (tid != 0) os::sys(SYS_tgkill, os::getpid(), tid, kKick);
}

}  // namespace

int changeMask(int how, const sigset_t* set, sigset_t* old) {
  uint64_t want = 0, before = 0, after = 0;
  if (set != nullptr) {
    base::copyBytes(&want, set, sizeof want);
    if (how == SIG_BLOCK || how == SIG_SETMASK) want &= ~kCancelAndSetxid;
    want &= ~signalsInUse();
  }
  long got =
      os::sys(SYS_rt_sigprocmask, how, set != nullptr ? os::arg(&want) : 0, os::arg(&before), 8);
  if (os::failed(got)) return static_cast<int>(-got);
  if (old != nullptr) {
    base::copyBytes(old, &before, sizeof before);
  }
  if (set == nullptr || !onG()) return 0;
  os::sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, os::arg(&after), 8);
  sched::G* g = sched::currentG();
  g->kernel.blocked.storeRelaxed(after);
  sched::currentM()->kernel.blocked.storeRelaxed(after);
  if ((before & ~after) == 0) return 0;
  if (g->signals.loadAcquire() != 0) onSignals(g);
  lookAgain();
  return 0;
}

int sendTo(Thread& t, int signal, siginfo_t* info) {
  if (signal < 0 || signal > 64) return EINVAL;
  uint32_t state = t.state.loadAcquire();
  if ((state & Thread::kGone) != 0) return ESRCH;
  if ((state & Thread::kEnded) != 0 || signal == 0) return 0;
  sched::G* g = t.g;
  if (g == nullptr) return 0;
  void* handler = actionOf(signal).handler;
  if (handler == reinterpret_cast<void*>(SIG_IGN)) return 0;
  if (handler == reinterpret_cast<void*>(SIG_DFL) && opens(*g, signal)) {
    if (!ignoredByDefault(signal)) {
      sched::sendToProcess(signal, info);
    }
    return 0;
  }
  if (!put(g, signal, *info, false)) return EAGAIN;
  if (g == sched::currentG()) {
    onSignals(g);
  } else {
    if (opens(*g, signal)) {
      rt.sched.nudge(g, kickFor(signal));
    } else {
      // Blocked as far as we know: a thread in sigsuspend and the like is in the kernel.
      rt.sched.nudgeRunning(g, kKick);
    }
    lookAgain();
  }
  return 0;
}

void wakeCancelled(Thread& t) {
  sched::G* g = t.g;
  if ((t.state.loadAcquire() & (Thread::kEnded | Thread::kGone)) != 0 || g == nullptr) return;
  if (glibc::cancelPending(t.block->fs_base)) rt.sched.poke(g);
}

bool cancelsAnywhere(const Thread& t) { return glibc::cancelsAnywhere(t.block->fs_base); }

sigset_t maskForKernel(const sigset_t* mask) {
  sigset_t open = *mask;
  constexpr int kOurs[] = {kKick, kKickRestart, kEveryThread};
  for (int s : kOurs) {
    if (isInUse(s)) sigdelset(&open, s);
  }
  return open;
}

int suspendWith(const sigset_t* mask) {
  sigset_t open = maskForKernel(mask);
  return realThreads().sigsuspend(&open);
}

void WaitMask::enter() {
  if (mask_ == nullptr || entered_) return;
  entered_ = true;
  _pthread_cleanup_push(&on_cancel_, unwound, this);
  sigset_t want = *mask_;
  changeMask(SIG_BLOCK, nullptr, &before_);
  graft_thread.masked_wait.storeRelaxed(1);
  changeMask(SIG_SETMASK, &want, nullptr);
}

void WaitMask::restore() {
  graft_thread.masked_wait.storeRelaxed(0);
  changeMask(SIG_SETMASK, &before_, nullptr);
}

WaitMask::~WaitMask() {
  if (!entered_) return;
  _pthread_cleanup_pop(&on_cancel_, 0);
  restore();
}

void inSigwait(bool now) {
  if (!onG()) return;
  graft_thread.in_sigwait.storeSeqCst(now ? 1 : 0);
  if (!now) return;
  sched::G* g = sched::currentG();
  if (g->signals.loadAcquire() != 0) takeAll(g, ~uint64_t{0});
}

void startSignals(sched::Config& config) {
  config.hooks.signals = onSignals;
  config.open_signals = sched::signalBit(kEveryThread);
  config.look_signal = kKickRestart;
  uint64_t open = kOurSignals;
  os::sys(SYS_rt_sigprocmask, SIG_UNBLOCK, os::arg(&open), 0, 8);
  struct sigaction kick{};
  kick.sa_sigaction = kicked;
  kick.sa_flags = SA_SIGINFO;
  realThreads().sigaction(kKick, &kick, nullptr);
  kick.sa_flags = SA_SIGINFO | SA_RESTART;
  if (rt.collector.on()) {
    config.stop_signal = kKickRestart;
    rt.world.helper = [](uint32_t tid) { return tid == signalThreadId(); };
    return;  // startStopSignal() has set it
  }
  realThreads().sigaction(kKickRestart, &kick, nullptr);
}

// On the alternate stack where a thread has one: the program may have made its stacks small.
void startStopSignal() {
  struct sigaction stop{};
  stop.sa_sigaction = stoppedOrKicked;
  stop.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  realThreads().sigaction(kKickRestart, &stop, nullptr);
  uint64_t open = sched::signalBit(kKickRestart);
  os::sys(SYS_rt_sigprocmask, SIG_UNBLOCK, os::arg(&open), 0, 8);
  rt.world.init(kKickRestart, reinterpret_cast<void*>(stoppedOrKicked));
}

bool signalsOnTheirWay() { return count.loadAcquire() != 0; }

uint32_t signalThreadId() { return signal_thread.tid.loadAcquire(); }

void startSignalThread() {
  signal_thread.startWithTls(takeForProcess, nullptr, glibc::staticTlsBelow(),
                             ~sched::signalBit(kEveryThread));
}

void forkChildSignals() {
  table_lock.reset();
  for (Pending& p : table) p.g = nullptr;
  count.storeRelaxed(0);
  signal_thread.forget();
}

void forgetSignals(sched::G* g) {
  os::Lock lock(table_lock);
  for (Pending& p : table) {
    if (p.g != g) continue;
    p.g = nullptr;
    count.fetchSubAcqRel(1);
    if (p.process) sched::sendToProcess(p.signal, &p.info);
  }
}

}  // namespace graft::shims
