// A G that waits for one of several descriptors: as FdWait, but any event of any of them moves one
// word of its own (Netpoll's watches). It knows nothing of what the program asks about them: who
// uses it looks at all after each wake, by number, as the kernel's poll does. In user code of a G;
// no lock held over a wait.
#pragma once

#include "shims/io/fd_wait.h"

namespace graft::shims {

class ManyWait {
 public:
  static constexpr size_t kMost = 64;  // on the stack of whoever waits
  using Direction = sched::Netpoll::Direction;
  using Then = FdWait::Then;

  explicit ManyWait(sched::Sched& s) : s_(s) {}
  ~ManyWait();
  ManyWait(const ManyWait&) = delete;
  ManyWait& operator=(const ManyWait&) = delete;

  void add(int fd, Direction direction);  // up to kMost
  void setDeadline(const timespec& at) { until_ = at; }  // CLOCK_MONOTONIC
  // Before each look at the descriptors.
  void look() { seen_ = moved_.loadAcquire(); }
  // After a look that found nothing; the answers are FdWait's.
  Then wait();
  bool begun() const { return begun_; }
  bool interrupted() const { return sched::currentG()->handled != handled_; }
  Then begin();  // wait() does it, too
  int error() const { return error_; }

 private:
  bool arm();
  void end();
  static void unwound(void* self) { static_cast<ManyWait*>(self)->end(); }

  sched::Sched& s_;
  Word moved_{0};
  uint32_t seen_ = 0;
  const uint32_t handled_ = sched::currentG()->handled;  // handlers that had run
  bool begun_ = false, waiting_ = false, beyond_ = false;
  int error_ = 0;
  size_t n_ = 0;
  timespec until_{-1, 0};  // negative: for ever
  _pthread_cleanup_buffer on_cancel_{};
  sched::Watch watches_[kMost];
  union {  // begun: the first n_ are there
    char none_;
    FdHold holds_[kMost];
  };
};

}  // namespace graft::shims
