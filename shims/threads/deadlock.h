// The report that every thread of the program sleeps and nothing can wake one (GRAFT_DEADLOCK). On
// g0 of the last M to go to sleep.
#pragma once

#include "core/sched/sched.h"

namespace graft::shims {

void onAllAsleep(sched::Sched& s);
void forkChildDeadlock();

}  // namespace graft::shims
