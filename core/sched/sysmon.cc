// The rounds of sysmon; see sysmon.h. The state of an M comes from /proc/self/task/TID/stat, which
// is kept open per M: one pread per look, and only for an M that has not entered the runtime since
// the last round.
#include "core/sched/sysmon.h"

#include <fcntl.h>

#include "core/base/format.h"
#include "core/os/clock.h"

namespace graft::sched {
namespace {

constexpr uint64_t kSlice = 10'000'000;  // Go's forcePreemptNS
constexpr uint64_t kMinDelay = 20'000;
constexpr uint64_t kMaxDelay = 10'000'000;
constexpr uint32_t kQuietRounds = 50;
constexpr int kPatience = 200;  // looks, a few microseconds
constexpr long kHighFd = 512;

int openStat(uint32_t tid) {
  char path[48] = "/proc/self/task/";
  char digits[12];
  size_t at = 16, n = 0;
  for (; tid != 0; tid /= 10) digits[n++] = static_cast<char>('0' + tid % 10);
  while (n > 0) path[at++] = digits[--n];
  for (const char* tail = "/stat"; *tail != 0; tail++) path[at++] = *tail;
  path[at] = 0;
  long fd = os::sys(SYS_openat, AT_FDCWD, os::arg(path), O_RDONLY | O_CLOEXEC);
  if (os::failed(fd)) return -1;
  long high = os::sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHighFd);
  if (os::failed(high)) return static_cast<int>(fd);
  os::sys(SYS_close, fd);
  return static_cast<int>(high);
}

}  // namespace

void Sysmon::entry(void* sched) { Sysmon(*static_cast<Sched*>(sched)).run(); }

void Sysmon::run() {
  uint64_t delay = kMinDelay;
  uint32_t quiet = 0;
  for (;;) {
    os::sleepNs(delay);
    sleepWhileIdle();
    trace(os::nowNs());
    bool did = round(os::nowNs());
    quiet = did ? 0 : quiet + 1;
    if (quiet == 0) {
      delay = kMinDelay;
    } else if (quiet > kQuietRounds) {
      delay = delay * 2 > kMaxDelay ? kMaxDelay : delay * 2;
    }
  }
}

// No P is in use: nothing to watch until somebody takes one, or the next line is due.
void Sysmon::sleepWhileIdle() {
  int32_t all = static_cast<int32_t>(s_.procs_);
  if (s_.wake_.idle() != all) return;
  uint32_t seen = s_.sysmon_word_.loadAcquire();
  s_.sysmon_waits_.storeSeqCst(1);  // [SYSMON-A]
  if (s_.wake_.idle() == all && s_.late_count_.loadAcquire() == 0)
    os::futexWaitNs(&s_.sysmon_word_, seen, untilTrace(os::nowNs()));
  s_.sysmon_waits_.storeRelaxed(0);
}

bool Sysmon::round(uint64_t now) {
  bool did = s_.late_count_.loadAcquire() != 0;
  if (did) s_.wakeLate();
  pollNet(now);
  for (uint32_t i = 0; i < s_.procs_; i++) did |= check(&s_.ps_[i], now);
  // Work beside an idle P that nobody was woken for: an M that the kernel refused, or a late timer.
  uint64_t first = s_.firstTimer();
  bool work = !s_.globq_.empty() || (first != 0 && first < now);
  for (uint32_t i = 0; i < s_.procs_ && !work; i++) {
    work = s_.ps_[i].word.look().hold() == Hold::kIdle && !s_.ps_[i].runq.empty();
  }
  if (work) s_.wakep(true);
  return did;
}

bool Sysmon::check(P* p, uint64_t now) {
  OwnerValue v = p->word.look();
  uint32_t slice = p->tick.loadRelaxed();
  if (slice != p->slice || v.hold() == Hold::kIdle) {
    p->slice = slice;
    p->slice_at = now;
  }
  uint64_t first = p->timers.first();
  bool others = !p->runq.empty() || !s_.globq_.empty() || (first != 0 && first <= now);
  // Entering the runtime begins no new slice: a G that computes and posts must not keep its P. It
  // may be in there just now; it soon comes out.
  if (now - p->slice_at >= kSlice && others) {
    for (int i = 0; i < kPatience && v.hold() != Hold::kUser; i++) {
      base::cpuRelax();
      v = p->word.look();
    }
    return v.hold() == Hold::kUser && s_.retake(p, v);
  }
  if (v.hold() != Hold::kUser) return false;
  if (v != p->seen) {
    p->seen = v;
    p->seen_at = now;
    return false;
  }
  // A sleeping M's P is of use to somebody: those who wait, or those who will.
  bool long_stay = now - p->seen_at >= kSlice;
  bool wanted = others || long_stay || s_.wake_.idle() + s_.wake_.spinning() == 0;
  return wanted && asleep(s_.ms_.at(v.m() - 1)) && s_.retake(p, v);
}

bool Sysmon::asleep(M& m) {
  if (m.stat_fd < 0) m.stat_fd = openStat(m.tid.loadRelaxed());
  char text[128];
  long n = os::sys(SYS_pread64, m.stat_fd, os::arg(text), sizeof text, 0);
  if (n <= 0) {
    m.stat_fd = -1;  // the program closed it: it is not ours to close any more
    return false;
  }
  // "tid (name) state ...": the name may hold parentheses.
  long at = n - 1;
  while (at > 0 && text[at] != ')') at--;
  return at + 2 < n && (text[at + 2] == 'S' || text[at + 2] == 'D');
}

}  // namespace graft::sched
