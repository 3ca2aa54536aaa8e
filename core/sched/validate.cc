// Walks what the scheduler's lock guards and compares it with the counters that everybody relies
// on; for tests and crash reports. Any thread, no lock held; in a running world as well, because
// each of these holds whenever nobody is inside the lock.
#include "core/sched/sched.h"

namespace graft::sched {

bool Sched::valid() {
  for (uint32_t i = 0; i < procs_; i++) {
    if (!ps_[i].timers.valid()) return false;  // INV-TIMER-2
  }
  os::Lock lock(mu_);
  int32_t idle = 0;
  for (P* p = idle_ps_; p != nullptr; p = p->idle_link) {
    if (p->word.look().hold() != Hold::kIdle) return false;  // INV-OWN-2
    idle++;
  }
  if (idle != wake_.idle()) return false;
  uint32_t parked = 0, gated = 0, unaware = 0, made = static_cast<uint32_t>(ms_.made());
  for (uint32_t i = 0; i < made; i++) {
    parked += ms_.at(i).parked;
    gated += ms_.at(i).gated;
    unaware += ms_.at(i).unaware;
  }
  for (M* m = free_ms_; m != nullptr; m = m->idle_link) {
    parked--;
    made--;
  }
  if (parked != parked_ || gated != gated_ || unaware != unaware_) return false;
  for (M* m = idle_ms_; m != nullptr; m = m->idle_link) {
    if (!m->parked || m == poller_ || m->next_p != nullptr) return false;
  }
  return made == running_ms_ && globq_.valid();
}

}  // namespace graft::sched
