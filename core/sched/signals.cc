// Signals of the program on kernel threads that run one G after the other. While a G runs, its M
// has the G's mask and alternate stack; an M that goes to sleep blocks everything. A signal that
// comes while runtime code runs (FS may be another G's, locks may be held) is sent again to the
// process and blocked on this M until the M leaves the runtime: by then somebody else has taken it,
// or it is delivered here.
//
// execute, stopM: on g0. leaveRequested: on the G, in user code. postpone, onKick: in a handler.
#include <signal.h>

#include "core/sched/sched.h"

namespace graft::sched {

constexpr uint64_t kSynchronous = signalBit(SIGSEGV) | signalBit(SIGBUS) | signalBit(SIGFPE) |
                                  signalBit(SIGILL) | signalBit(SIGTRAP) | signalBit(SIGSYS);

uint64_t Sched::idleMask() const {
  uint64_t open = kSynchronous | config_.open_signals;
  if (config_.stop_signal != 0) open |= signalBit(config_.stop_signal);
  return ~open;
}

// Again, for somebody else. What the kernel itself or kill() wrote into `info` may be repeated by
// the process's first thread only; from others it goes without.
void sendToProcess(int signal, void* info) {
  long got = os::sys(SYS_rt_sigqueueinfo, os::getpid(), signal, os::arg(info));
  if (os::failed(got)) os::sys(SYS_kill, os::getpid(), signal);
}

void Sched::readKernelState(KernelState& out) {
  uint64_t blocked = 0;
  stack_t alt{};
  os::sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, os::arg(&blocked), 8);
  os::sys(SYS_sigaltstack, 0, os::arg(&alt));
  out.blocked.storeRelaxed(blocked);
  bool none = (alt.ss_flags & SS_DISABLE) != 0;
  out.alt_stack = none ? nullptr : alt.ss_sp;
  out.alt_size = none ? 0 : alt.ss_size;
  out.alt_flags = none ? 0 : alt.ss_flags & ~SS_ONSTACK;
}

void Sched::takeKernelState(M* m, const KernelState& want) {
  if (m->kernel.alt_stack != want.alt_stack || m->kernel.alt_size != want.alt_size) {
    stack_t alt{};
    alt.ss_sp = want.alt_stack;
    alt.ss_size = want.alt_size;
    alt.ss_flags = want.alt_stack == nullptr ? SS_DISABLE : want.alt_flags;
    os::sys(SYS_sigaltstack, os::arg(&alt), 0);
  }
  uint64_t blocked = want.blocked.loadRelaxed();
  bool differs = m->kernel.blocked.loadRelaxed() != blocked;
  m->kernel.take(want);  // before signals may come
  base::compilerBarrier();
  if (differs) os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&blocked), 0, 8);
}

void Sched::blockSignals(M* m) {
  uint64_t all = idleMask();
  if (config_.hooks.signals == nullptr || m->kernel.blocked.loadRelaxed() == all) return;
  m->kernel.blocked.storeRelaxed(all);
  os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&all), 0, 8);
}

// The G is about to leave its stack, and its kernel mask may not be what we think: a handler of its
// was entered, and perhaps left by longjmp.
void Sched::readMask(M* m, G* g) {
  uint64_t blocked = 0;
  os::sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, os::arg(&blocked), 8);
  g->kernel.blocked.storeRelaxed(blocked);
  m->kernel.blocked.storeRelaxed(blocked);
}

// On the way out of the runtime, in user code already: handlers may run here, and move the G.
void Sched::leaveRequested(M* m) {
  standStill(m, nullptr);
  if (config_.hooks.signals == nullptr) return;
  G* g = m->g;
  if (!m->kernel.same(g->kernel)) takeKernelState(m, g->kernel);
  if (g->signals.loadAcquire() != 0) lookAtSignals(g);
}

// What comes of it may leave by cancellation, through libc's own handler, and no mask be restored.
void Sched::lookAtSignals(G* g) {
  g->handlers++;
  config_.hooks.signals(g);
  g->handlers--;
}

bool Sched::postpone(int signal, void* info, uint64_t* frame_mask) {
  M* m = mOfThread();
  if (m == nullptr || !m->stop.inside() || m->gated) return false;
  m->stop.request();
  *frame_mask |= signalBit(signal);
  m->kernel.blocked.storeRelaxed(*frame_mask);
  if (static_cast<const siginfo_t*>(info)->si_code == SI_TKILL) {
    os::sys(SYS_rt_tgsigqueueinfo, os::getpid(), os::gettid(), signal, os::arg(info));
  } else {
    sendToProcess(signal, info);
  }
  return true;
}

void Sched::onKick(void* ucontext) {
  M* m = mOfThread();
  if (m == nullptr) return;
  if (m->stop.inside()) {
    m->stop.request();
    return;
  }
  if (m->g != nullptr) answer(m, ucontext);
  if (m->g != nullptr && m->g->signals.loadAcquire() != 0) {
    lookAtSignals(m->g);
  }
}

// g has something in `signals`: it is made to look. It may have moved meanwhile: the caller asks
// again until it has looked.
void Sched::nudge(G* g, int kick) {
  nudgeParked(g);
  nudgeRunning(g, kick);
}

void Sched::nudgeParked(G* g) {
  GState s = g->state.look();
  if (s != GState::kParking && s != GState::kParked) return;
  interrupt(g, g->wait.ticket.loadRelaxed());
}

void Sched::poke(G* g) {
  g->poked.storeSeqCst(1);
  base::fenceSeqCst();  // [POKE-A]
  nudgeParked(g);
}

void Sched::nudgeRunning(G* g, int kick) {
  M* m = g->m;
  if (g->state.look() != GState::kRunning || m == nullptr) return;
  os::sys(SYS_tgkill, os::getpid(), static_cast<int>(m->tid.loadRelaxed()), kick);
}

}  // namespace graft::sched
