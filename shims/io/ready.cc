// poll, select and epoll_wait: a look that does not wait, then the G parks until an event of any of
// the descriptors, then another look; see io.h. What the program's arrays hold is copied before the
// first wait, as the kernel does. More descriptors than ManyWait takes: the M waits.
#include <errno.h>
#include <time.h>

#include "core/base/bits.h"
#include "shims/io/call.h"
#include "shims/io/io.h"
#include "shims/io/many_wait.h"
#include "shims/threads/signals.h"

namespace graft::shims::io {
namespace {

using sched::Netpoll;

constexpr long kSecond = 1'000'000'000;

// How long a call waits at most.
class Limit {
 public:
  // Null: for ever. What makes libc's function fail, or not wait, is not ours().
  explicit Limit(const timespec* length) {
    if (length == nullptr) return;
    ends_ = true;
    at_ = *length;
    ours_ = at_.tv_sec >= 0 && at_.tv_nsec >= 0 && at_.tv_nsec < kSecond &&
            (at_.tv_sec != 0 || at_.tv_nsec != 0);
  }
  bool ours() const { return ours_; }
  // From now on. Once.
  template <class Wait>
  void beginFor(Wait& wait) {
    if (!ends_) return;
    timespec length = at_;
    at_ = now();
    long ns = at_.tv_nsec + length.tv_nsec;
    if (__builtin_add_overflow(at_.tv_sec, length.tv_sec + ns / kSecond, &at_.tv_sec))
      at_.tv_sec = static_cast<time_t>(~uint64_t{0} >> 1);
    at_.tv_nsec = ns % kSecond;
    wait.setDeadline(at_);
  }
  timespec left() const {
    timespec t = now();
    t = {at_.tv_sec - t.tv_sec, at_.tv_nsec - t.tv_nsec};
    if (t.tv_nsec < 0) t = {t.tv_sec - 1, t.tv_nsec + kSecond};
    return t.tv_sec < 0 ? timespec{} : t;
  }

 private:
  static timespec now() {
    timespec t{};
    os::sys(SYS_clock_gettime, CLOCK_MONOTONIC, os::arg(&t));
    return t;
  }
  bool ours_ = true, ends_ = false;
  timespec at_{};  // until beginFor(): how long
};

// look() as of a call that returns 0 when its time is up; mask: null, or in force from the moment
// when the call would wait.
template <class Wait, class Look>
long untilReady(Wait& wait, const sigset_t* mask, Look look) {
  WaitMask scope(mask);
  for (;;) {
    wait.look();
    long got = look();
    if (got == -EINTR && !wait.interrupted()) continue;  // a kick of ours
    if (got != 0) return got;
    if (wait.begun()) {
      scope.enter();
    } else if (mask != nullptr && wait.begin() == FdWait::Then::kLookAgain) {
      continue;  // first its cleanup, then the mask's
    }
    switch (wait.wait()) {
      case FdWait::Then::kLookAgain: break;
      case FdWait::Then::kGiveUp: return wait.error() == EAGAIN ? 0 : -wait.error();
      case FdWait::Then::kBlock: lendP(); return kMustBlock;
    }
  }
}

long pollOne(pollfd* fds, Limit& limit, const sigset_t* mask) {
  pollfd p = *fds;
  FdWait wait(rt.sched, p.fd, Netpoll::kAny, FdWait::Kind::kPoll);
  limit.beginFor(wait);
  long got = untilReady(wait, mask, [&] {
    p.fd = wait.fd();
    return os::sys(SYS_poll, os::arg(&p), 1, 0);
  });
  if (got != kMustBlock) fds->revents = p.revents;
  return got;
}

Netpoll::Direction directionOf(bool read, bool write) {
  return read && write ? Netpoll::kAny : write ? Netpoll::kWrite : Netpoll::kRead;
}

[[gnu::noinline]] long pollMany(pollfd* fds, size_t n, Limit& limit, const sigset_t* mask) {
  pollfd all[ManyWait::kMost];
  ManyWait wait(rt.sched);
  limit.beginFor(wait);
  for (size_t i = 0; i < n; i++) {
    all[i] = fds[i];
    constexpr short kWrite = POLLOUT | POLLWRNORM | POLLWRBAND;
    if (all[i].fd >= 0)
      wait.add(all[i].fd,
               directionOf((all[i].events & ~kWrite) != 0, (all[i].events & kWrite) != 0));
  }
  long got = untilReady(wait, mask,
                        [&] { return os::sys(SYS_poll, os::arg(all), static_cast<long>(n), 0); });
  for (size_t i = 0; got != kMustBlock && i < n; i++) fds[i].revents = all[i].revents;
  return got;
}

long pollAny(pollfd* fds, nfds_t n, Limit& limit, const sigset_t* mask) {
  if (!mayPark() || !limit.ours()) return kMustBlock;
  pthread_testcancel();
  // The first look is the kernel's at the program's own array, which may be anywhere.
  long got = n == 0 ? 0 : os::sys(SYS_poll, os::arg(fds), static_cast<long>(n), 0);
  if (got != 0 && got != -EINTR) return got;
  if (n == 1 && fds->fd >= 0) return pollOne(fds, limit, mask);
  if (n <= ManyWait::kMost) return pollMany(fds, n, limit, mask);
  lendP();
  return kMustBlock;
}

// The three sets of select.
struct Sets {
  static constexpr int kMost = 1024, kWords = kMost / 64;
  uint64_t bits[3][kWords];

  void copyFrom(fd_set* const from[3], size_t words) {
    for (int s = 0; s < 3; s++) {
      if (from[s] != nullptr) base::copyBytes(bits[s], from[s], words * 8);
    }
  }
  void copyTo(fd_set* const to[3], size_t words) const {
    for (int s = 0; s < 3; s++) {
      if (to[s] != nullptr) base::copyBytes(to[s], bits[s], words * 8);
    }
  }
  bool has(int set, int fd) const { return (bits[set][fd / 64] >> (fd % 64) & 1) != 0; }
};

// False: more than it takes.
bool addAll(ManyWait& wait, const Sets& sets, int n) {
  size_t added = 0;
  for (int fd = 0; fd < n; fd++) {
    bool read = sets.has(0, fd) || sets.has(2, fd), write = sets.has(1, fd);
    if (!read && !write) continue;
    if (added++ == ManyWait::kMost) return false;
    wait.add(fd, directionOf(read, write));
  }
  return true;
}

[[gnu::noinline]] long selectMany(int n, fd_set* const sets[3], Limit& limit,
                                  const sigset_t* mask) {
  if (!mayPark() || !limit.ours() || n < 0 || n > Sets::kMost) return kMustBlock;
  pthread_testcancel();
  size_t words = static_cast<size_t>(n + 63) / 64;
  Sets asked{}, found{};
  asked.copyFrom(sets, words);
  ManyWait wait(rt.sched);
  limit.beginFor(wait);
  if (!addAll(wait, asked, n)) {
    lendP();
    return kMustBlock;
  }
  auto set = [&](int s) { return sets[s] != nullptr ? os::arg(found.bits[s]) : 0; };
  long got = untilReady(wait, mask, [&] {
    found = asked;
    timespec none{};
    return os::sys(SYS_pselect6, n, set(0), set(1), set(2), os::arg(&none), 0);
  });
  if (!os::failed(got)) found.copyTo(sets, words);
  return got;
}

long epollAny(int set, epoll_event* events, int most, Limit& limit, const sigset_t* mask) {
  if (!mayPark() || !limit.ours()) return kMustBlock;
  pthread_testcancel();
  FdWait wait(rt.sched, set, Netpoll::kRead, FdWait::Kind::kPoll);
  limit.beginFor(wait);
  return untilReady(wait, mask,
                    [&] { return os::sys(SYS_epoll_wait, wait.fd(), os::arg(events), most, 0); });
}

// Negative: for ever.
Limit inMilliseconds(int ms) {
  timespec length{ms / 1000, long{ms % 1000} * 1'000'000};
  return Limit(ms >= 0 ? &length : nullptr);
}

// A mask for libc's own function.
class OpenMask {
 public:
  explicit OpenMask(const sigset_t* mask) : is_(mask != nullptr) {
    if (is_) mask_ = maskForKernel(mask);
  }
  operator const sigset_t*() const { return is_ ? &mask_ : nullptr; }

 private:
  bool is_;
  sigset_t mask_;
};

}  // namespace

int poll(pollfd* fds, nfds_t n, int timeout_ms) {
  Limit until = inMilliseconds(timeout_ms);
  long got = pollAny(fds, n, until, nullptr);
  return got == kMustBlock ? real().poll(fds, n, timeout_ms) : result<int>(got);
}

int ppoll(pollfd* fds, nfds_t n, const timespec* limit, const sigset_t* mask) {
  Limit until(limit);
  long got = pollAny(fds, n, until, mask);
  return got == kMustBlock ? real().ppoll(fds, n, limit, OpenMask(mask)) : result<int>(got);
}

// Linux, and so libc, leaves in *limit what was left of it.
int select(int n, fd_set* read, fd_set* write, fd_set* except, timeval* limit) {
  timespec length{};
  if (limit != nullptr) length = {limit->tv_sec, limit->tv_usec * 1000};
  Limit until(limit != nullptr ? &length : nullptr);
  fd_set* const sets[] = {read, write, except};
  long got = selectMany(n, sets, until, nullptr);
  if (got == kMustBlock) return real().select(n, read, write, except, limit);
  if (limit != nullptr) {
    timespec left = until.left();
    *limit = {left.tv_sec, left.tv_nsec / 1000};
  }
  return result<int>(got);
}

int pselect(int n, fd_set* read, fd_set* write, fd_set* except, const timespec* limit,
            const sigset_t* mask) {
  fd_set* const sets[] = {read, write, except};
  Limit until(limit);
  long got = selectMany(n, sets, until, mask);
  if (got == kMustBlock) return real().pselect(n, read, write, except, limit, OpenMask(mask));
  return result<int>(got);
}

int epoll_wait(int set, epoll_event* events, int most, int timeout_ms) {
  Limit until = inMilliseconds(timeout_ms);
  long got = epollAny(set, events, most, until, nullptr);
  return got == kMustBlock ? real().epoll_wait(set, events, most, timeout_ms) : result<int>(got);
}

int epoll_pwait2(int set, epoll_event* events, int most, const timespec* limit,
                 const sigset_t* mask) {
  Limit until(limit);
  long got = epollAny(set, events, most, until, mask);
  if (got == kMustBlock) return real().epoll_pwait2(set, events, most, limit, OpenMask(mask));
  return result<int>(got);
}

int epoll_pwait(int set, epoll_event* events, int most, int timeout_ms, const sigset_t* mask) {
  Limit until = inMilliseconds(timeout_ms);
  long got = epollAny(set, events, most, until, mask);
  if (got == kMustBlock) return real().epoll_pwait(set, events, most, timeout_ms, OpenMask(mask));
  return result<int>(got);
}

}  // namespace graft::shims::io
