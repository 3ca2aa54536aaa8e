// The epoll set and the counters; see netpoll.h for who calls what. Inline system calls only, no
// lock but mu_ while the set or the table is made.
#include "core/sched/netpoll.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <time.h>

#include "core/os/mem.h"
#include "core/os/sys.h"

namespace graft::sched {
namespace {

constexpr long kHighFd = 512;
constexpr uint64_t kWakeup = ~uint64_t{0};  // an event's data: not a descriptor of the program's
constexpr uint64_t kSecond = 1'000'000'000;

int high(long fd) {
  if (os::failed(fd)) return static_cast<int>(fd);
  long up = os::sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHighFd);
  if (os::failed(up)) return static_cast<int>(fd);
  os::sys(SYS_close, fd);
  return static_cast<int>(up);
}

}  // namespace

Netpoll::Slot* Netpoll::map() {
  os::Lock lock(mu_);
  Slot* all = slots_.loadRelaxed();
  if (all != nullptr) return all;
  size_t bytes = kMostFds * sizeof(Slot);
  Addr at = os::reserve(bytes, 0);
  if (at == 0) return nullptr;
  if (!os::commit(at, bytes)) {
    os::release(at, bytes);
    return nullptr;
  }
  all = reinterpret_cast<Slot*>(at);
  slots_.storeRelease(all);
  return all;
}

// The slot exists: its owner has asked for it.
void Netpoll::link(Watch& w) {
  os::Lock lock(watchLock(w.fd));
  Slot* s = slot(w.fd);
  w.prev = nullptr;
  w.next = s->watches.loadRelaxed();
  if (w.next != nullptr) w.next->prev = &w;
  s->watches.storeRelaxed(&w);
}

void Netpoll::unlink(Watch& w) {
  os::Lock lock(watchLock(w.fd));
  if (w.next != nullptr) w.next->prev = w.prev;
  if (w.prev != nullptr) {
    w.prev->next = w.next;
  } else {
    slot(w.fd)->watches.storeRelaxed(w.next);
  }
}

bool Netpoll::open() {
  os::Lock lock(mu_);
  if (epoll_.loadRelaxed() > 0) return true;
  int set = high(os::sys(SYS_epoll_create1, EPOLL_CLOEXEC));
  if (set < 0) return false;
  int wakeup = high(os::sys(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u64 = kWakeup;
  if (wakeup < 0 || os::failed(os::sys(SYS_epoll_ctl, set, EPOLL_CTL_ADD, wakeup, os::arg(&e)))) {
    if (wakeup >= 0) os::sys(SYS_close, wakeup);
    os::sys(SYS_close, set);
    return false;
  }
  wakeup_.storeRelease(wakeup);
  epoll_.storeRelease(set);
  return true;
}

int Netpoll::arm(int fd, int number) {
  if (!isOpen() && !open()) return -EPERM;
  int below = armed_below_.loadRelaxed();
  while (number >= below && !armed_below_.casRelaxed(below, number + 1)) {
  }
  epoll_event e{};
  e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
  e.data.u64 = static_cast<uint64_t>(number);
  long got = os::sys(SYS_epoll_ctl, epoll_.loadRelaxed(), EPOLL_CTL_ADD, fd, os::arg(&e));
  return got == -EEXIST ? 1 : static_cast<int>(got);
}

void Netpoll::disarm(int fd) { os::sys(SYS_epoll_ctl, epoll_.loadRelaxed(), EPOLL_CTL_DEL, fd, 0); }

bool Netpoll::poll(uint64_t timeout_ns, bool interruptible, Events& out) {
  long set = epoll_.loadRelaxed();
  timespec t{};
  if (timeout_ns != kForEver) {
    t.tv_sec = static_cast<time_t>(timeout_ns / kSecond);
    t.tv_nsec = static_cast<long>(timeout_ns % kSecond);
  }
  long got;
  if (timeout_ns == 0) {
    got = os::sys(SYS_epoll_wait, set, os::arg(out.of), Events::kMost, 0);
  } else {
    long limit = timeout_ns == kForEver ? 0 : os::arg(&t);
    got = os::sys(SYS_epoll_pwait2, set, os::arg(out.of), Events::kMost, limit, 0, 0);
    if (got == -ENOSYS) {
      long ms = timeout_ns == kForEver ? -1 : static_cast<long>(timeout_ns / 1'000'000 + 1);
      got = os::sys(SYS_epoll_wait, set, os::arg(out.of), Events::kMost, ms);
    }
  }
  polls_.storeRelaxed(polls_.loadRelaxed() + 1);
  out.n = 0;
  for (long i = 0; i < got; i++) {
    if (out.of[i].data.u64 == kWakeup) {
      uint64_t count;
      if (interruptible) os::sys(SYS_read, wakeup_.loadRelaxed(), os::arg(&count), sizeof count);
    } else {
      out.of[out.n++] = out.of[i];
    }
  }
  return got >= 0 || got == -EINTR;
}

void Netpoll::reopen() {
  {
    os::Lock lock(mu_);
    epoll_.storeRelaxed(0);
  }
  open();
}

void Netpoll::interruptPoll() {
  int fd = wakeup_.loadAcquire();
  uint64_t one = 1;
  if (fd > 0) os::sys(SYS_write, fd, os::arg(&one), sizeof one);
}

// The set is the parent's as well. The descriptors stay, as others of ours do: the program may have
// closed them and use their numbers.
void Netpoll::forkChild() {
  if (Slot* all = slots_.loadRelaxed()) {
    os::release(reinterpret_cast<Addr>(all), kMostFds * sizeof(Slot));
  }
}

}  // namespace graft::sched
