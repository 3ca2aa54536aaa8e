// Waiting for several descriptors: the way into the lists, the sleep, and the way out of them by
// whichever end; see many_wait.h.
#include "shims/io/many_wait.h"

#include <errno.h>

#include <new>

namespace graft::shims {

ManyWait::~ManyWait() {
  if (!begun_) return;
  _pthread_cleanup_pop(&on_cancel_, 0);
  end();
}

void ManyWait::add(int fd, Direction direction) {
  if (s_.net().slot(fd) == nullptr) {
    beyond_ = true;
    return;
  }
  watches_[n_].fd = fd;
  watches_[n_].direction = direction;
  watches_[n_].moved = &moved_;
  n_++;
}

// In a signal handler, which a longjmp may leave, the M waits.
ManyWait::Then ManyWait::begin() {
  if (beyond_ || sched::currentG()->handlers != 0) return Then::kBlock;
  for (size_t i = 0; i < n_; i++) (new (&holds_[i]) FdHold(watches_[i].fd))->enlist();
  s_.watch(watches_, n_);
  begun_ = true;
  _pthread_cleanup_push(&on_cancel_, unwound, this);
  return Then::kLookAgain;
}

void ManyWait::end() {
  if (waiting_) s_.netWaitEnds();
  waiting_ = begun_ = false;
  if (!s_.on()) return;  // a child that a handler forked: nobody waits there
  s_.unwatch(watches_, n_);
  for (size_t i = 0; i < n_; i++) holds_[i].delist();
}

// What is no file any more, and what no event ever comes from, is waited for in vain, as natively.
bool ManyWait::arm() {
  for (size_t i = 0; i < n_; i++) {
    int got = s_.net().arm(holds_[i].fd(), holds_[i].number());
    if (got < 0 && got != -EPERM && got != -EBADF) return false;
  }
  return true;
}

ManyWait::Then ManyWait::wait() {
  if (!begun_) return begin();
  sched::G* g = sched::currentG();
  error_ = EINTR;
  if (g->handled != handled_) return Then::kGiveUp;
  waiting_ = true;
  s_.netWaitBegins();
  bool armed = arm();
  WaitResult r = WaitResult::kWoken;
  if (armed) {
    Deadline until;
    if (until_.tv_sec >= 0) until = {&until_, CLOCK_MONOTONIC};
    r = Waits(s_).wait(moved_, seen_, until);
  }
  if (!s_.on()) {  // see end()
    waiting_ = false;
    return Then::kGiveUp;
  }
  s_.netWaitEnds();
  waiting_ = false;
  if (!armed) return Then::kBlock;
  if (r == WaitResult::kTimedOut) {
    error_ = EAGAIN;
    return Then::kGiveUp;
  }
  if (r != WaitResult::kInterrupted) return Then::kLookAgain;
  pthread_testcancel();
  return g->handled != handled_ ? Then::kGiveUp : Then::kLookAgain;
}

}  // namespace graft::shims
