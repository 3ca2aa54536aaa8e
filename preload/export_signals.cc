// The exported functions of signal.h that change where a signal goes: handlers, masks, alternate
// stacks, signals to one thread, and cancellation. Each is libc's own unless threads are, or may
// become, Gs (shims/threads/signals.h). Any thread of the program, and its handlers.
#include <errno.h>
#include <signal.h>

#include "shims/threads/real.h"
#include "shims/threads/signals.h"

#define GRAFT_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace graft;  // the exported names live in the global namespace
using shims::onG;
using shims::realThreads;
using shims::Thread;
using shims::threadOf;

namespace {

using Handler = void (*)(int);

// Bit per signal: siginterrupt() asked that its handlers end system calls.
constinit base::Atomic<uint64_t> interrupts{0};

Handler setSimple(int signal, Handler handler, int flags, bool masks_itself) {
  struct sigaction act{}, old{};
  if (handler == SIG_ERR || signal < 1 || signal > 64) {
    errno = EINVAL;
    return SIG_ERR;
  }
  act.sa_handler = handler;
  act.sa_flags = flags;
  if (masks_itself) sigaddset(&act.sa_mask, signal);
  return sigaction(signal, &act, &old) == 0 ? old.sa_handler : SIG_ERR;
}

// As BSD: the handler stays, blocks its own signal, and system calls go on after it.
Handler setBsd(int signal, Handler handler) {
  if (!shims::watchesSignals() && !shims::isInUse(signal)) {
    return realThreads().signal(signal, handler);
  }
  bool valid = signal >= 1 && signal <= 64;
  bool ends = valid && (interrupts.loadRelaxed() & sched::signalBit(signal)) != 0;
  return setSimple(signal, handler, ends ? 0 : SA_RESTART, true);
}

siginfo_t fromSelf(int signal, int code) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = code;
  info.si_pid = os::getpid();
  info.si_uid = static_cast<uid_t>(os::sys(SYS_getuid));
  return info;
}

}  // namespace

GRAFT_EXPORT int sigaction(int signal, const struct sigaction* act, struct sigaction* old) {
  return shims::setHandler(signal, act, old);
}
GRAFT_EXPORT Handler signal(int signal, Handler handler) { return setBsd(signal, handler); }
GRAFT_EXPORT Handler bsd_signal(int s, Handler handler) { return setBsd(s, handler); }
GRAFT_EXPORT Handler ssignal(int s, Handler handler) { return setBsd(s, handler); }
GRAFT_EXPORT Handler sysv_signal(int s, Handler handler) {
  if (!shims::watchesSignals() && !shims::isInUse(s)) return realThreads().sysv_signal(s, handler);
  return setSimple(s, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER), false);
}
GRAFT_EXPORT int siginterrupt(int signal, int ends) {
  if (!shims::watchesSignals()) return realThreads().siginterrupt(signal, ends);
  struct sigaction act{};
  if (sigaction(signal, nullptr, &act) != 0) return -1;
  uint64_t bit = sched::signalBit(signal);
  if (ends != 0) {
    interrupts.fetchOrRelaxed(bit);
    act.sa_flags &= ~SA_RESTART;
  } else {
    interrupts.fetchAndRelaxed(~bit);
    act.sa_flags |= SA_RESTART;
  }
  return sigaction(signal, &act, nullptr);
}
GRAFT_EXPORT Handler __sysv_signal(int s, Handler handler) { return sysv_signal(s, handler); }

GRAFT_EXPORT int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  return shims::changeMask(how, set, old);
}
GRAFT_EXPORT int sigprocmask(int how, const sigset_t* set, sigset_t* old) {
  int error = shims::changeMask(how, set, old);
  if (error == 0) return 0;
  errno = error;
  return -1;
}
GRAFT_EXPORT int sigaltstack(const stack_t* want, stack_t* old) {
  return shims::setAltStack(want, old);
}

GRAFT_EXPORT int pthread_kill(pthread_t t, int signal) {
  Thread& r = threadOf(t);
  if (!r.ours() || !runtime::rt.sched.on()) return realThreads().pthread_kill(t, signal);
  siginfo_t info = fromSelf(signal, SI_TKILL);
  return shims::sendTo(r, signal, &info);
}
GRAFT_EXPORT int pthread_sigqueue(pthread_t t, int signal, const sigval value) {
  Thread& r = threadOf(t);
  if (!r.ours() || !runtime::rt.sched.on()) return realThreads().pthread_sigqueue(t, signal, value);
  siginfo_t info = fromSelf(signal, SI_QUEUE);
  info.si_value = value;
  return shims::sendTo(r, signal, &info);
}

// libc marks the thread; its signal goes to a thread id that the kernel does not know, so ours
// follows. The main thread's id is known to the kernel, but its G may be on another thread.
GRAFT_EXPORT int pthread_cancel(pthread_t t) {
  constexpr int kCancel = 32;  // libc's SIGCANCEL
  Thread& r = threadOf(t);
  bool other = r.ours() && runtime::rt.sched.on() && t != pthread_self();
  if (other && (r.state.loadAcquire() & Thread::kEnded) != 0) return 0;
  if (other && (r.state.loadAcquire() & Thread::kGone) != 0) return ESRCH;
  int error = realThreads().pthread_cancel(t);
  if (!other || (error != 0 && error != ESRCH)) return error;
  if (error == ESRCH || shims::cancelsAnywhere(r)) {
    siginfo_t info = fromSelf(kCancel, SI_TKILL);
    shims::sendTo(r, kCancel, &info);
  } else {
    shims::wakeCancelled(r);
  }
  return 0;
}

GRAFT_EXPORT int sigsuspend(const sigset_t* mask) { return shims::suspendWith(mask); }
GRAFT_EXPORT int sigwait(const sigset_t* set, int* signal) {
  shims::inSigwait(true);
  int error = realThreads().sigwait(set, signal);
  shims::inSigwait(false);
  return error;
}
GRAFT_EXPORT int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
  shims::inSigwait(true);
  int signal = realThreads().sigwaitinfo(set, info);
  shims::inSigwait(false);
  return signal;
}
GRAFT_EXPORT int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* time) {
  shims::inSigwait(true);
  int signal = realThreads().sigtimedwait(set, info, time);
  shims::inSigwait(false);
  return signal;
}
