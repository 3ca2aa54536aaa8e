// sysmon: the thread that sees what no shim saw. It holds no P, runs on a stack of its own and
// makes inline system calls only. It takes the P of an M that sleeps in the kernel, and of a G that
// has been in user code for 10 ms while others wait; the M runs on, unaware, until it next enters
// the runtime (ARCHITECTURE fact 4). It also starts Ms that the kernel refused earlier.
//
// Rhythm as in Go: 20 us, doubling after 50 quiet rounds up to 10 ms; it sleeps while every P is
// idle, unless it was asked for lines about the scheduler (schedtrace.cc). Source: Go's sysmon and
// retake; the look at /proc is ours.
#pragma once

#include "core/sched/sched.h"

namespace graft::sched {

class Sysmon {
 public:
  explicit Sysmon(Sched& s) : s_(s) {}
  [[noreturn]] void run();
  static void entry(void* sched);

 private:
  bool round(uint64_t now);
  bool check(P* p, uint64_t now);
  void sleepWhileIdle();
  void trace(uint64_t now);  // schedtrace.cc
  uint64_t untilTrace(uint64_t now) const;
  static bool asleep(M& m);
  void pollNet(uint64_t now);  // netready.cc

  Sched& s_;
  uint32_t polls_ = 0;  // that were made until
  uint64_t polls_at_ = 0;
  uint64_t trace_from_ = 0, trace_at_ = 0;  // of the first line and of the next, ns
};

}  // namespace graft::sched
