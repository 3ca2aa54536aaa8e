// Stopping the world, M by M: the handshake of stop.h [STW-A] [STW-B]. An M counts as stopped when
// it is parked or gated under the scheduler's lock, or has acknowledged from its handler or from
// its way out of the runtime (HZ-UNAWARE: so do Ms that lost their P without knowing).
//
// stopWorld, startWorld: a G in user code, or a thread that is no M. onStopSignal: handler of the
// stop signal, on whatever stack it interrupted. No lock is held while anybody waits.
#include <signal.h>

#include "core/os/clock.h"
#include "core/sched/sched.h"

namespace graft::sched {

void Sched::standStill(M* m, void* context) {
  __builtin_unwind_init();
  m->stop_context = context;
  m->stop_sp = __builtin_frame_address(0);
  // While the world stands still no handler of the program's runs here either.
  uint64_t all = ~uint64_t{0}, before = 0;
  bool stops = stopping();
  if (stops) os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&all), os::arg(&before), 8);
  m->stop.standStill(epoch_, [this](uint32_t was) {
    acks_.fetchAddRelease(1);
    os::futexWakeOne(&acks_);
    os::futexWaitNs(&epoch_, was, os::kForever);
  });
  if (stops) os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&before), 0, 8);
  m->stop_context = nullptr;
}

// In a handler: the thread may be on g0, where FS says nothing about the M.
M* Sched::mOfThread() {
  uint32_t tid = static_cast<uint32_t>(os::gettid());
  M* m = currentM();
  if (ms_.holds(m) && m->tid.loadRelaxed() == tid) return m;
  for (size_t i = 0; i < ms_.made(); i++) {
    if (ms_.at(i).tid.loadRelaxed() == tid) return &ms_.at(i);
  }
  return nullptr;
}

void Sched::onStopSignal(void* ucontext) {
  M* m = mOfThread();
  if (m == nullptr) return;
  if (m->g != nullptr && m->g->norun != 0) {
    m->stop.request();
  } else if (m->stop.handle()) {
    standStill(m, ucontext);
  }
}

// HZ-NORUN: between the two, code outside libgraft runs on our behalf; the M is not stopped there.
void Sched::norunBegin() {
  currentG()->norun++;
  base::compilerBarrier();
}

void Sched::norunEnd() {
  base::compilerBarrier();
  G* g = currentG();
  if (--g->norun != 0) return;
  base::compilerBarrier();
  M* m = currentM();
  if (m->stop.requested() && !m->stop.inside()) leaveRequested(m);
}

// One stopper at a time; the others go on answering meanwhile.
bool Sched::becomeStopper() {
  uint32_t none = 0;
  return stopper_.casAcquire(none, 1);
}

bool Sched::stoppedOrSignalled(M& m, uint32_t epoch, bool signal) {
  if (m.stop.stopped(epoch)) return true;
  {
    os::Lock lock(mu_);
    if (m.parked || m.gated) return true;
  }
  if (signal) {
    os::sys(SYS_tgkill, os::getpid(), static_cast<int>(m.tid.loadRelaxed()), config_.stop_signal);
  }
  return false;
}

bool Sched::stopWorld(uint64_t timeout_ns) {
  uint64_t deadline = os::nowNs() + timeout_ns;
  while (!becomeStopper()) {
    if (os::nowNs() > deadline) return false;
    if (currentM() != nullptr) {
      yield();
    } else {
      base::cpuRelax();
    }
  }
  M* self = currentM();
  if (self != nullptr) self = enter();
  uint32_t epoch;
  {
    os::Lock lock(mu_);
    epoch = epoch_.loadRelaxed() + 1;
    epoch_.storeRelease(epoch);  // [STW-B]
  }
  size_t n = ms_.made();  // no M that is made later leaves its parked state
  for (size_t i = 0; i < n; i++) {
    if (&ms_.at(i) != self) stoppedOrSignalled(ms_.at(i), epoch, true);
  }
  for (size_t i = 0; i < n; i++) {
    M& m = ms_.at(i);
    if (&m == self) continue;
    for (;;) {
      uint32_t seen = acks_.loadAcquire();
      if (stoppedOrSignalled(m, epoch, false)) break;
      if (os::nowNs() > deadline) {
        startWorld();
        return false;
      }
      os::futexWaitNs(&acks_, seen, 1'000'000);
    }
  }
  return true;
}

void Sched::startWorld() {
  {
    os::Lock lock(mu_);
    epoch_.storeRelease(epoch_.loadRelaxed() + 1);
  }
  os::futexWakeAll(&epoch_);
  stopper_.storeRelease(0);
  M* self = currentM();
  // Work that came while no P could be had; whoever is woken wakes the next.
  wakep(true);
  if (self != nullptr && self->stop.inside()) leave(self);
}

}  // namespace graft::sched
