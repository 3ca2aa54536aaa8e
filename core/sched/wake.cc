// Ms go to sleep and are woken, Ps are handed from one to the other [WAKE-A] [WAKE-B]; the counters
// are in wake.h. In runtime code, on any stack, or on sysmon's thread.
//
// A P that is between two owners has a word {sysmon, runtime}; the M that is meant to get it finds
// it in next_p. An M leaves its parked state itself, and not in a stopped world (INV-STW-2).
#include "core/sched/sched.h"

namespace graft::sched {

void Sched::wakep(bool barrier) {
  while (wake_.mustWake(barrier)) {
    P* p;
    {
      os::Lock lock(mu_);
      p = idleGet();
    }
    if (p != nullptr) {
      startM(p, true);
      return;
    }
    // The Ps went to others, or the world is stopped; if it was started meanwhile, its starter may
    // have seen us spinning and left the waking to us.
    wake_.gaveUp();
    if ((epoch_.loadAcquire() & 1) != 0) return;
    barrier = false;
  }
}

// Gives p to a sleeping M, or to a new one. The kernel may refuse: p is idle then, and sysmon tries
// again as long as work waits.
void Sched::startM(P* p, bool spinning) {
  M* m;
  bool sleeps;
  {
    os::Lock lock(mu_);
    m = idle_ms_;
    sleeps = m != nullptr;
    if (sleeps) idle_ms_ = m->idle_link;
    if (!sleeps) m = makeM();
    if (m != nullptr) {
      m->next_p = p;
      m->spinning = spinning;
    }
  }
  if (sleeps) {
    unparkM(m, 1);
    return;
  }
  if (m != nullptr && startThread(m)) return;
  {
    os::Lock lock(mu_);
    if (m != nullptr) {
      m->next_p = nullptr;
      m->idle_link = free_ms_;
      free_ms_ = m;
      parked_--;
      running_ms_--;
    }
    idlePut(p);
  }
  if (spinning) wake_.gaveUp();
}

void Sched::unparkM(M* m, uint32_t why) {
  m->wake_word.storeRelease(why);
  os::futexWakeOne(&m->wake_word);
}

// m, without a P, sleeps until it has one.
void Sched::stopM(M* m) {
  blockSignals(m);
  bool polls, dead;
  {
    os::Lock lock(mu_);
    m->parked = true;
    parked_++;
    polls = poller_ == nullptr && (firstTimer() != 0 || net_.isOpen());
    if (polls) {
      poller_ = m;
    } else {
      m->idle_link = idle_ms_;
      idle_ms_ = m;
    }
    dead = isDead();
    if (!polls && poller_ != nullptr && poller_naps_.loadRelaxed() != 0 &&
        wake_.idle() == static_cast<int32_t>(procs_)) {
      unparkM(poller_, 2);  // the last one awake: from now on the poller sleeps in the set
    }
  }
  if (dead && config_.hooks.deadlock != nullptr) config_.hooks.deadlock(*this);
  if (polls) pollTimers(m);
  waitForP(m);
}

void Sched::waitForP(M* m) {
  base::delayPoint();
  while (m->wake_word.loadAcquire() != 1) os::futexWaitNs(&m->wake_word, 0, os::kForever);
  m->wake_word.storeRelaxed(0);
  leaveParked(m);
  P* p = m->next_p;
  m->next_p = nullptr;
  acquireP(m, p);
}

void Sched::leaveParked(M* m) {
  for (;;) {
    uint32_t e;
    {
      os::Lock lock(mu_);
      e = epoch_.loadRelaxed();
      if ((e & 1) == 0) {
        m->parked = false;
        parked_--;
        return;
      }
    }
    os::futexWaitNs(&epoch_, e, os::kForever);
  }
}

// p is between owners.
void Sched::acquireP(M* m, P* p) {
  m->p = p;
  m->held = p->word.give(p->word.look(), m->index);
  m->mcache = p->mcache;
  if (!base::planted(base::Plant::kStaleCache)) p->mcache = nullptr;
  if (m->mcache == nullptr && config_.hooks.takeCache != nullptr) {
    m->mcache = config_.hooks.takeCache();
    if (base::planted(base::Plant::kStaleCache)) p->mcache = m->mcache;
  }
}

// The P and its mcache, out of m's hands and between owners.
P* Sched::releaseP(M* m) {
  P* p = m->p;
  p->mcache = m->mcache;
  m->mcache = nullptr;
  m->p = nullptr;
  p->word.give(m->held, OwnerValue::kSysmon);
  return p;
}

P* Sched::idleGet() {
  P* p = idle_ps_;
  if (p == nullptr || (epoch_.loadRelaxed() & 1) != 0) return nullptr;
  idle_ps_ = p->idle_link;
  p->word.takeIdle(OwnerValue::kSysmon);
  wake_.idleDec();  // [SYSMON-A]
  if (sysmon_waits_.loadRelaxed() != 0) {
    sysmon_word_.fetchAddRelease(1);
    os::futexWakeOne(&sysmon_word_);
  }
  return p;
}

void Sched::idlePut(P* p) {
  p->word.give(p->word.look(), 0);
  p->idle_link = idle_ps_;
  idle_ps_ = p;
  wake_.idleInc();
}

// p, between owners, goes to whoever can use it.
void Sched::handOffP(P* p) {
  if (!p->runq.empty() || !globq_.empty()) {
    startM(p, false);
    return;
  }
  if (wake_.spinning() + wake_.idle() == 0) {  // nobody looks for work, so this M must
    wake_.again();
    startM(p, true);
    return;
  }
  bool work;
  {
    os::Lock lock(mu_);
    work = !globq_.empty();
    if (!work) idlePut(p);
  }
  if (work) {
    startM(p, false);
  } else if (uint64_t first = p->timers.first()) {
    noteTimer(first);
  }
}

}  // namespace graft::sched
