// When timers fire: each M runs its own P's timers as it schedules, spinning Ms those of the
// others, and when Ms go to sleep one of them, the poller, sleeps no longer than the first timer
// [TIMER-A]. All in runtime code; the timers' own lock is never held while one fires.
#include "core/os/clock.h"
#include "core/sched/sched.h"

namespace graft::sched {

// Asking the kernel for the time costs more than a switch; the counter says whether it can pay off.
constexpr uint64_t kCheckCycles = 40'000;
constexpr uint64_t kFirstNap = 50'000;

bool Sched::addTimer(M* m, Timer* t, uint64_t when, uint64_t ticket, Timer::Fire fire) {
  if (when == 0) when = 1;
  if (!m->p->timers.add(t, when, ticket, fire)) return false;
  base::fenceSeqCst();  // [TIMER-A]
  noteTimer(when);
  return true;
}

// A timer may be due before anybody would look: tells the poller, or makes one.
void Sched::noteTimer(uint64_t when) {
  uint64_t until = poll_until_.loadRelaxed();
  if (until > 1 && until <= when) return;
  if (until != 0) {
    os::Lock lock(mu_);
    if (poller_ != nullptr) {
      unparkM(poller_, 2);
      net_.interruptPoll();
      return;
    }
  }
  if (wake_.idle() != 0) wakep(false);
}

// Fires what is due in p's heap; true: something fired. always: without asking the counter first.
bool Sched::runTimers(M* m, P* p, bool always) {
  if (p->timers.first() == 0) return false;
  uint64_t cycles = os::cycles();
  if (!always && cycles - m->p->timers_checked < kCheckCycles) return false;
  m->p->timers_checked = cycles;
  uint64_t now = os::nowNs();
  if (p->timers.first() > now) return false;
  bool fired = false;
  TimerHeap::Entry e;
  while (p->timers.popDue(now, e)) {
    base::delayPoint();
    e.fire(m, e.timer, e.ticket);
    fired = true;
  }
  return fired;
}

uint64_t Sched::firstTimer() {
  uint64_t first = 0;
  for (uint32_t i = 0; i < procs_; i++) {
    uint64_t f = ps_[i].timers.first();
    if (f != 0 && (first == 0 || f < first)) first = f;
  }
  return first;
}

// m is the poller, on no list: sleeps until a timer is due or a descriptor ready, then takes an
// idle P and looks for work; or, when there is nothing to wait for or no idle P, it becomes an
// ordinary idle M.
void Sched::pollTimers(M* m) {
  uint64_t nap = kFirstNap;
  for (;;) {
    poll_until_.storeSeqCst(1);  // [TIMER-A]
    base::delayPoint();
    uint64_t first = firstTimer();
    uint64_t now = first == 0 ? 0 : os::nowNs();
    bool net = net_.isOpen();
    if (first > now || (first == 0 && net)) {
      poll_until_.storeRelease(first != 0 ? first : Netpoll::kForEver);
      uint64_t most = first != 0 ? first - now : Netpoll::kForEver;
      if (net) {
        sleepInNet(m, most, nap);
      } else {
        os::futexWaitNs(&m->wake_word, 0, most);
      }
      now = first == 0 ? 0 : os::nowNs();
    }
    os::Lock lock(mu_);
    bool kicked = m->wake_word.exchangeAcquire(0) != 0;
    bool due = first != 0 && first <= now, waits = first != 0 || net;
    if (globq_.empty() && (kicked || (waits && !due))) continue;
    poller_ = nullptr;
    poll_until_.storeSeqCst(0);
    P* p = due || !globq_.empty() ? idleGet() : nullptr;
    if (p == nullptr) {
      m->idle_link = idle_ms_;
      idle_ms_ = m;
      return;
    }
    m->next_p = p;
    m->spinning = true;
    wake_.again();
    m->wake_word.storeRelaxed(1);
    return;
  }
}

}  // namespace graft::sched
