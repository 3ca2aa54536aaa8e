// Nothing can run: every M sleeps in the scheduler, no G is queued, no timer is armed, no M is in a
// call that may return. What may come from outside is the embedder's business. Asked by each M that
// goes to sleep, with the scheduler's lock held, and by the embedder again after it has looked
// outside.
#include "core/sched/sched.h"

namespace graft::sched {

bool Sched::isDead() {
  if (parked_ != running_ms_ || gated_ != 0 || unaware_ != 0) return false;
  if (wake_.idle() != static_cast<int32_t>(procs_) || !globq_.empty()) return false;
  if (net_.waiters() != 0) return false;
  if ((epoch_.loadRelaxed() & 1) != 0 || late_count_.loadRelaxed() != 0) return false;
  for (uint32_t i = 0; i < procs_; i++) {
    if (!ps_[i].runq.empty() || ps_[i].timers.first() != 0) return false;
  }
  return true;
}

bool Sched::stillDead() {
  os::Lock lock(mu_);
  return isDead();
}

}  // namespace graft::sched
