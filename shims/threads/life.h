// Between the files of this folder: the counting of threads, and what the scheduler says when a G
// has left its stack for good.
#pragma once

#include "shims/threads/threads.h"

namespace graft::shims {

// On g0; makes no libc call.
void onDead(sched::Sched& s, sched::M* m, sched::G* g);
// Child of fork: one thread lives.
void resetLife();

}  // namespace graft::shims
