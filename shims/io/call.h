// What the calls in this folder share: when a call may park, libc's own functions, results.
// Private.
#pragma once

#include <errno.h>

#include "core/runtime/runtime.h"
#include "shims/threads/real.h"
#include "shims/threads/threads.h"

namespace graft::shims::io {

using runtime::rt;

// What an inner call answers when libc's function must be called, which may sleep: no errno.
inline constexpr long kMustBlock = -4096;

inline const RealThreads& real() { return realThreads(); }

template <class T>
T result(long got) {
  if (!os::failed(got)) return static_cast<T>(got);
  errno = static_cast<int>(-got);
  return static_cast<T>(-1);
}

inline bool inVforkChild() { return onG() && sched::currentG()->vforked != 0; }
inline bool mayPark() { return onG() && sched::currentG()->vforked == 0; }

// Before a call that will sleep on its M: whoever waits for the P has it now. If nobody does,
// sysmon takes it when somebody may.
inline void lendP() {
  if (mayPark() && !rt.sched.nobodyWaits()) rt.sched.lendP();
}

}  // namespace graft::shims::io
