// A P changes hands around a call that blocks, knowingly (blocking; lendP) or unseen (retake, by
// sysmon, and enterSlow, when the M notices) [OWN-A]. What happens to the mcache is INV-OWN-3 in
// owner.h.
#include "core/base/check.h"
#include "core/sched/sched.h"

namespace graft::sched {

// The M has no P any more: sysmon took it while the M was in user code.
M* Sched::enterSlow(M* m) {
  P* p;
  m->p = nullptr;
  {
    os::Lock lock(mu_);
    GRAFT_CHECK(m->unaware);  // INV-OWN-2: nobody but sysmon takes a P out of user code
    m->unaware = false;
    unaware_--;
    p = idleGet();
  }
  base::delayPoint();
  // From here on the old mcache is nobody's.
  heap::MCache* old = m->mcache;
  m->mcache = nullptr;
  if (old != nullptr && config_.hooks.giveCache != nullptr) config_.hooks.giveCache(old);
  if (p != nullptr) {
    acquireP(m, p);
    show(m->fs_now, m, m->g);
    return m;
  }
  switchToG0(m, leftToGlobal);
  return currentM();
}

// p leaves its M, which stays in user code; false: it has moved on, or the world is stopped.
bool Sched::takeFromUser(P* p, OwnerValue seen, base::Atomic<uint64_t>& count) {
  {
    os::Lock lock(mu_);
    if ((epoch_.loadRelaxed() & 1) != 0) return false;
    OwnerValue mine;
    if (!p->word.retake(seen, mine)) return false;
    ms_.at(seen.m() - 1).unaware = true;
    unaware_++;
  }
  count.fetchAddRelaxed(1);
  base::delayPoint();
  handOffP(p);
  return true;
}

// sysmon's: p's M has been in the stay that was seen for too long, or sleeps in the kernel.
bool Sched::retake(P* p, OwnerValue seen) { return takeFromUser(p, seen, retakes_); }

void Sched::lendP() {
  M* m = enter();
  m->p->word.leave(m->held);
  takeFromUser(m->p, m->held, handoffs_);
  if (__builtin_expect(m->stop.leave(noStep), 0)) leaveRequested(m);
}

long Sched::blocking(long (*call)(void*), void* arg) {
  M* m = enter();
  P* p = releaseP(m);
  show(m->fs_now, m, m->g);
  handoffs_.fetchAddRelaxed(1);
  handOffP(p);
  // Every callee-saved register of the callers is in this frame now, for who scans the stack.
  __builtin_unwind_init();
  m->stop_sp = __builtin_frame_address(0);
  {
    os::Lock lock(mu_);
    m->gated = true;
    gated_++;
  }
  long result = call(arg);
  base::delayPoint();
  returnFromCall(m);
  return result;
}

// The gate (HZ-UNAWARE): nobody comes back into a stopped world.
void Sched::returnFromCall(M* m) {
  P* p = nullptr;
  for (;;) {
    uint32_t e;
    {
      os::Lock lock(mu_);
      e = epoch_.loadRelaxed();
      if ((e & 1) == 0) {
        m->gated = false;
        gated_--;
        p = idleGet();
        break;
      }
    }
    os::futexWaitNs(&epoch_, e, os::kForever);
  }
  if (p == nullptr) {
    switchToG0(m, leftToGlobal);
    m = currentM();
  } else {
    acquireP(m, p);
    show(m->fs_now, m, m->g);
  }
  leave(m);
}

}  // namespace graft::sched
