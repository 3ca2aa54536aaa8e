// Signals held back for a while: what is done meanwhile is not interrupted by a handler, which
// might call back into what it has interrupted, or fork. Any thread; one call of the kernel at each
// end.
#pragma once

#include <signal.h>
#include <stdint.h>

#include "core/os/sys.h"

namespace graft::os {

class HoldSignals {
 public:
  // But for those in open: bit n - 1 is signal n.
  explicit HoldSignals(uint64_t open = 0) {
    uint64_t held = ~open;
    sys(SYS_rt_sigprocmask, SIG_BLOCK, arg(&held), arg(&before_), 8);
  }
  ~HoldSignals() { sys(SYS_rt_sigprocmask, SIG_SETMASK, arg(&before_), 0, 8); }
  HoldSignals(const HoldSignals&) = delete;
  HoldSignals& operator=(const HoldSignals&) = delete;

 private:
  uint64_t before_ = 0;
};

}  // namespace graft::os
