// Birth, end, joining and detaching of threads that are Gs; see threads.h.
//
//   creator: block, record, spawn      G: run, finish, leave      g0: kEnded
//   joiner:  kJoining, sleep on state until kEnded, kGone, release the block
//   detach:  kDetached; whoever comes second, detach or end, releases the block
//
// A thread that is gone keeps kGone in its record until its slot is used again, and every question
// about it is answered with ESRCH.
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>

#include "shims/glibc/own_tid.h"
#include "shims/sync/sync.h"
#include "shims/threads/ids.h"
#include "shims/threads/life.h"
#include "shims/threads/signals.h"

namespace graft::shims {

using runtime::rt;

namespace {

constexpr int kPatience = 20;  // yields before a thread cannot be created
constexpr uint32_t kTids = 0x10000000;

constinit base::Atomic<uint32_t> next_tid{0};
constinit base::Atomic<uint32_t> live{1};

struct Wanted {
  glibc::ThreadSpec spec;
  bool detached = false;
  bool masked = false;  // pthread_attr_setsigmask_np
  uint64_t blocked = 0;
};
constinit Wanted defaults{};

void read(const pthread_attr_t& attr, Wanted& out) {
  void* low = nullptr;
  size_t size = 0;
  int detach = PTHREAD_CREATE_JOINABLE;
  pthread_attr_getstack(&attr, &low, &size);
  pthread_attr_getguardsize(&attr, &out.spec.guard_size);
  pthread_attr_getdetachstate(&attr, &detach);
  // Without a stack of the program's own glibc reports one that ends at address 0.
  bool user_stack = reinterpret_cast<uintptr_t>(low) + size != 0;
  out.spec.user_stack = user_stack ? low : nullptr;
  out.spec.stack_size = size != 0 ? size : defaults.spec.stack_size;
  sigset_t mask;
  out.masked = pthread_attr_getsigmask_np(&attr, &mask) == 0;
  if (out.masked) base::copyBytes(&out.blocked, &mask, sizeof out.blocked);
  out.detached = detach == PTHREAD_CREATE_DETACHED;
}

void run(void* thread) {
  Thread& t = *static_cast<Thread*>(thread);
  glibc::run(t.block);
  endThread(t);
}

void releaseBlock(Thread& t) {
  glibc::ThreadBlock* b = t.block;
  t.state.storeRelease(Thread::kGone);
  glibc::release(b);
}

}  // namespace

void readDefaultAttr() {
  pthread_attr_t attr;
  if (pthread_getattr_default_np(&attr) != 0) return;
  read(attr, defaults);
  pthread_attr_destroy(&attr);
}

namespace {

int createPlain(pthread_t* out, const Wanted& w) {
  glibc::ThreadBlock* b;
  int error = glibc::create(w.spec, &b);
  // Threads that are done, or soon will be, may still sit on memory: let them go on.
  for (int i = 0; error == EAGAIN && i < kPatience; i++) {
    rt.sched.yield();
    error = glibc::create(w.spec, &b);
  }
  if (error != 0) return error;
  Thread& t = threadOf(b->fs_base);
  t.block = b;
  t.tid = w.spec.tid;
  t.state.storeRelaxed(w.detached ? Thread::kDetached : 0);
  base::copyBytes(t.name, graft_thread.name, sizeof t.name);
  sched::Spawn what;
  what.entry = run;
  what.arg = what.user = &t;
  if (w.masked) what.blocked = &w.blocked;
  what.out = &t.g;
  what.stack = {reinterpret_cast<void*>(b->stack_low), b->stack_high - b->stack_low, b->fs_base, b};
  live.fetchAddRelaxed(1);
  *out = b->thread();
  if (rt.sched.spawn(what) != nullptr) return 0;
  live.fetchSubRelaxed(1);
  glibc::finish(b);
  releaseBlock(t);
  return EAGAIN;
}

// A thread with a kernel thread of its own: the creator waits until the kernel has agreed.
struct WiredStart {
  const pthread_attr_t* attr;
  cpu_set_t creators;
  void* (*fn)(void*);
  void* arg;
  int error;
  Word done{0};

  static void* run(void* self) {
    auto* s = static_cast<WiredStart*>(self);
    auto* fn = s->fn;
    void* arg = s->arg;
    int error = s->error = applyAttr(s->attr, s->creators);
    if (error != 0) pthread_detach(pthread_self());
    s->done.storeSeqCst(1);
    Waits(rt.sched).wake(&s->done, 1);
    return error == 0 ? fn(arg) : nullptr;
  }
};

int createWired(pthread_t* out, const pthread_attr_t* attr, const Wanted& w) {
  WiredStart start{attr, {}, w.spec.fn, w.spec.arg, 0};
  os::sys(SYS_sched_getaffinity, 0, sizeof start.creators, os::arg(&start.creators));
  Wanted through = w;
  through.spec.fn = WiredStart::run;
  through.spec.arg = &start;
  if (int error = createPlain(out, through)) return error;
  Waits waits(rt.sched);
  while (start.done.loadAcquire() == 0) waits.wait(start.done, 0);
  return start.error;
}

}  // namespace

int createThread(pthread_t* out, const pthread_attr_t* attr, void* (*fn)(void*), void* arg) {
  Wanted w = defaults;
  bool wires = rt.sched.ownsThread();
  if (attr != nullptr) {
    read(*attr, w);
    if (int error = checkAttr(attr, wires)) return error;
  }
  w.spec.fn = fn;
  w.spec.arg = arg;
  w.spec.tid = kFirstTid + next_tid.fetchAddRelaxed(1) % kTids;
  if (!wires) return createPlain(out, w);
  pthread_attr_t none;
  pthread_attr_init(&none);
  int error = createWired(out, attr != nullptr ? attr : &none, w);
  pthread_attr_destroy(&none);
  return error;
}

void endThread(Thread& t) {
  if (sched::currentG() != nullptr && sched::currentG()->wired != 0) endRobust();
  if (live.fetchSubAcqRel(1) == 1) exit(0);  // as nptl: the last thread ends the process
  if (t.block->kind == glibc::BlockKind::kThread) glibc::finish(t.block);
  rt.sched.exitG();
}

void onDead(sched::Sched& s, sched::M* m, sched::G* g) {
  Thread& t = *static_cast<Thread*>(g->user);
  if (g->signals.loadRelaxed() != 0) forgetSignals(g);
  uint32_t was = t.state.fetchOrAcqRel(Thread::kEnded);
  if ((was & Thread::kDetached) != 0) return releaseBlock(t);
  if ((was & Thread::kJoining) == 0) return;
  s.wakeOnG0(m, &t.state, 1);
  if (kernel_waiters.loadRelaxed() != 0) {
    os::sys(SYS_futex, os::arg(&t.state), FUTEX_WAKE_PRIVATE, 1 << 30);
  }
}

void resetLife() { live.storeRelaxed(1); }

int joinThread(Thread& t, void** result, Join how, const Deadline& until) {
  Thread& self = graft_thread;
  uint32_t s = t.state.loadAcquire();
  if ((s & Thread::kGone) != 0) return ESRCH;
  if ((s & (Thread::kDetached | Thread::kJoining)) != 0) return EINVAL;
  if (how == Join::kTry && (s & Thread::kEnded) == 0) return EBUSY;
  uintptr_t me = os::threadPointer(), other = t.block->fs_base;
  bool circle = t.joins.loadRelaxed() == me && !glibc::cancelAsked(other);
  if (other == me || circle) return EDEADLK;
  if (until.at != nullptr && (!clockSupported(until.clock) || !until.valid())) return EINVAL;
  for (;;) {
    pthread_testcancel();
    s = t.state.loadAcquire();
    do {
      if ((s & (Thread::kDetached | Thread::kJoining)) != 0) return EINVAL;
    } while (!t.state.casAcqRel(s, s | Thread::kJoining));
    self.joins.storeRelaxed(other);
    Waits waits(rt.sched);
    WaitResult r = WaitResult::kWoken;
    while (((s = t.state.loadAcquire()) & Thread::kEnded) == 0) {
      r = waits.wait(t.state, s, until);
      if (r == WaitResult::kTimedOut || r == WaitResult::kInterrupted) break;
    }
    self.joins.storeRelaxed(0);
    if ((t.state.loadAcquire() & Thread::kEnded) != 0) break;
    t.state.fetchAndAcqRel(~Thread::kJoining);
    if (r == WaitResult::kTimedOut) return ETIMEDOUT;
  }
  if (result != nullptr) *result = t.block->result;
  releaseBlock(t);
  return 0;
}

int detachThread(Thread& t) {
  uint32_t s = t.state.loadAcquire();
  if ((s & Thread::kGone) != 0) return ESRCH;
  do {
    if ((s & (Thread::kDetached | Thread::kJoining)) != 0) return EINVAL;
  } while (!t.state.casAcqRel(s, s | Thread::kDetached));
  if ((s & Thread::kEnded) != 0) releaseBlock(t);
  return 0;
}

int describeThread(Thread& t, pthread_attr_t* out) {
  if ((t.state.loadRelaxed() & Thread::kGone) != 0) return ESRCH;
  if (int error = pthread_attr_init(out)) return error;
  glibc::ThreadBlock* b = t.block;
  bool detached = (t.state.loadRelaxed() & Thread::kDetached) != 0;
  pthread_attr_setstack(out, reinterpret_cast<void*>(b->attr_low), b->attr_size);
  pthread_attr_setguardsize(out, b->guard_size);
  pthread_attr_setdetachstate(out, detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
  int policy;
  sched_param param;
  if (getScheduling(t, &policy, &param) == 0) {
    pthread_attr_setschedpolicy(out, policy);
    pthread_attr_setschedparam(out, &param);
  }
  cpu_set_t cpus;
  if (getAffinity(t, sizeof cpus, &cpus) == 0) pthread_attr_setaffinity_np(out, sizeof cpus, &cpus);
  return 0;
}

}  // namespace graft::shims
