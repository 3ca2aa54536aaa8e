// How the benches of this folder time what runs in process: nanoseconds per operation, the best of
// five rounds, because a busy machine only adds. Any thread, also a G.
#pragma once

#include <stdint.h>

#include "core/os/clock.h"

namespace graft::bench {

template <class F>
double perOp(uint32_t n, F f) {
  double best = 1e18;
  for (int round = 0; round < 5; round++) {
    uint64_t begin = os::nowNs();
    f();
    double ns = static_cast<double>(os::nowNs() - begin) / n;
    if (ns < best) best = ns;
  }
  return best;
}

}  // namespace graft::bench
