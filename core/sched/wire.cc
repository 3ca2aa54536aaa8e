// Wiring: a G that needs what only a kernel thread has runs on one M alone, and that M runs nothing
// else (Go's LockOSThread); the calls nest. While the G waits, its M sleeps without a P; whoever
// finds the G on a queue gives its own P to that M. lockThread, unlockThread: on the G; the others
// on g0.
#include "core/sched/sched.h"

namespace graft::sched {

void Sched::lockThread() {
  M* m = enter();
  if (m->g->wired++ == 0) {
    m->g->locked_m = m;
    m->locked_g = m->g;
  }
  leave(m);
}

void Sched::unlockThread() {
  M* m = enter();
  if (m->g->wired != 0 && --m->g->wired == 0) {
    m->g->locked_m = nullptr;
    m->locked_g = nullptr;
  }
  leave(m);
}

void Sched::ownThread() {
  lockThread();
  currentM()->changed = true;
  changed_.storeRelease(1);
}

// An M that was changed, or was made by one.
void Sched::likeTheProcess(M* m) {
  int priority = 0;
  os::sys(SYS_sched_setscheduler, 0, 0, os::arg(&priority));
  os::sys(SYS_sched_setaffinity, 0, sizeof cpus_, os::arg(cpus_));
  m->changed = false;
}

// The wired G does not run: its M waits until somebody brings a P.
void Sched::stopLockedM(M* m) {
  blockSignals(m);
  if (m->p != nullptr) handOffP(releaseP(m));
  bool dead;
  {
    os::Lock lock(mu_);
    m->parked = true;
    parked_++;
    dead = isDead();
  }
  if (dead && config_.hooks.deadlock != nullptr) config_.hooks.deadlock(*this);
  waitForP(m);
}

void Sched::startLockedM(M* m, G* g) {
  M* wired = g->locked_m;
  wired->next_p = releaseP(m);
  unparkM(wired, 1);
}

}  // namespace graft::sched
