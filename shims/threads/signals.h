// The program's signals while its threads are Gs.
//
//   process-directed   the kernel gives it to an M that runs a G which has it unblocked; when there
//                      is none, graft's signal thread takes it (sigtimedwait) and passes it on to a
//                      G, the main one first
//   to one thread      pthread_kill, tgkill: kept in a table until that G takes it
//   handler            ours is installed with the kernel; it calls the program's unless runtime
//   code
//                      was interrupted (Sched::postpone)
//
// A G takes what was sent to it by sending it again to the kernel thread that it runs on, so
// queues, masks, siginfo and SA_RESTART stay the kernel's business. A G that waits in the parking
// lot or sleeps is woken for it, and its wait ends as one that a signal interrupted.
//
// With GRAFT_THREADS=1:1 nothing of this is in use, but for the signal by which the collector stops
// threads (GRAFT_GC): the program may neither block it nor give it a handler. Any thread of the
// program in user code.
#pragma once

#include <signal.h>

#include "shims/threads/threads.h"

namespace graft::shims {

// Ours: they make a kernel thread look at what was sent to its G. The first ends a system call as a
// handler without SA_RESTART does; the second also answers who looks at a running G (look.h). The
// program cannot block them.
inline constexpr int kKick = 44, kKickRestart = 45;
inline constexpr int kEveryThread = 46;  // credentials.cc
inline constexpr uint64_t kOurSignals =
    sched::signalBit(kKick) | sched::signalBit(kKickRestart) | sched::signalBit(kEveryThread);

// Whether handlers go through ours: decided once, by the option.
bool watchesSignals();
// Of kOurSignals, those in use: with kernel threads only what stops them for the collector.
inline uint64_t signalsInUse() {
  if (watchesSignals()) return kOurSignals;
  return runtime::rt.collector.on() ? sched::signalBit(kKickRestart) : 0;
}
inline bool isInUse(int signal) {
  return signal >= 1 && signal <= 64 && (signalsInUse() & sched::signalBit(signal)) != 0;
}
// Process start, where the collector is on: it may stop threads from now on.
void startStopSignal();

int setHandler(int signal, const struct sigaction* act, struct sigaction* old);
int changeMask(int how, const sigset_t* set, sigset_t* old);  // 0 or an error number
int setAltStack(const stack_t* want, stack_t* old);  // as sigaltstack
int sendTo(Thread& t, int signal, siginfo_t* info);  // 0 or an error number
// t was asked to end, at a cancellation point: it is woken if it waits at one.
void wakeCancelled(Thread& t);
// Its cancellation is asynchronous, as during a call of libc's that may be cancelled.
bool cancelsAnywhere(const Thread& t);
int suspendWith(const sigset_t* mask);  // as sigsuspend
sigset_t maskForKernel(const sigset_t* mask);  // with our signals open
// The mask of a G for the time of a wait that parks, as ppoll's. A handler that runs while it is in
// force makes the G's next wait in the scheduler end at once, however close to it the signal came.
class WaitMask {
 public:
  explicit WaitMask(const sigset_t* mask) : mask_(mask) {}
  ~WaitMask();
  WaitMask(const WaitMask&) = delete;
  WaitMask& operator=(const WaitMask&) = delete;
  void enter();  // null, or entered already: nothing

 private:
  static void unwound(void* self) { static_cast<WaitMask*>(self)->restore(); }
  void restore();

  const sigset_t* mask_;
  bool entered_ = false;
  sigset_t before_{};
  _pthread_cleanup_buffer on_cancel_{};
};
// Around a call of the kernel's that takes blocked signals of the calling thread.
void inSigwait(bool now);

// For the scheduler: hooks, the two signals that make an M look, and the signal thread.
void startSignals(sched::Config& config);
void startSignalThread();
uint32_t signalThreadId();
void forkChildSignals();
bool signalsOnTheirWay();  // to one G, not yet taken
// Every one of graft's that shares the process's state; glibc's are its own business.
template <class F>
void forEachKernelThread(F f) {
  runtime::rt.sched.forEachThread(f);
  f(signalThreadId());
}
// The G is gone: what was sent to it is dropped. On g0.
void forgetSignals(sched::G* g);

}  // namespace graft::shims
