// The scheduler's state as one line every so many milliseconds, in the format of Go's
// GODEBUG=schedtrace=N, so that what reads Go's lines reads these. On sysmon's thread, which does
// not sleep through an idle time then; takes the scheduler's lock for the counters. The figures of
// one line are not from one instant. Source: schedtrace in Go 1.19's proc.go.
#include "core/base/format.h"
#include "core/os/message.h"
#include "core/sched/sysmon.h"

namespace graft::sched {

void Sysmon::trace(uint64_t now) {
  if (s_.config_.trace_ms == 0 || now < trace_at_) return;
  if (trace_from_ == 0) trace_from_ = now;
  trace_at_ = now + s_.config_.trace_ms * 1'000'000;
  Counts c = s_.counts();
  base::Line line;
  line.str("SCHED ").udec((now - trace_from_) / 1'000'000).str("ms: gomaxprocs=").udec(s_.procs_);
  line.str(" idleprocs=").dec(s_.wake_.idle()).str(" threads=").udec(c.ms + 1);  // and sysmon
  line.str(" spinningthreads=").dec(s_.wake_.spinning()).str(" idlethreads=").udec(c.parked_ms);
  line.str(" runqueue=").udec(s_.globq_.size());
  constexpr size_t kRoom = 900;  // a line holds 1000 bytes
  for (uint32_t i = 0; i < s_.procs_; i++) {
    line.str(i == 0 ? " [" : " ").udec(s_.ps_[i].runq.size());
    if (line.size() < kRoom) continue;
    os::say(line);
    line.clear();
  }
  os::say(line.str("]\n"));
}

// How long sysmon may sleep when it has nothing to watch.
uint64_t Sysmon::untilTrace(uint64_t now) const {
  if (s_.config_.trace_ms == 0) return os::kForever;
  return now < trace_at_ ? trace_at_ - now : 0;
}

}  // namespace graft::sched
