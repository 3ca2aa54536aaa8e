// A G's wait for a descriptor: what is asked of the descriptor first, the list of waiters, and what
// ends a wait; see fd_wait.h. In user code of a G, no lock held over a wait.
#include "shims/io/fd_wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <new>

#include "core/os/sys.h"

namespace graft::shims {
namespace {

constexpr size_t kGroups = 64;
constexpr long kHighFd = 512;
constexpr long kSecond = 1'000'000'000;

struct alignas(64) Group {
  os::Mutex mu;
  FdHold* head = nullptr;
};
constinit Group groups[kGroups]{};

constinit base::Atomic<uint32_t> changes{0};
uint32_t changesNow() { return changes.loadAcquire() & (~0u >> fact::kChangesShift); }

Group& groupOf(int fd) { return groups[static_cast<unsigned>(fd) % kGroups]; }

}  // namespace

void FdHold::enlist() {
  Group& group = groupOf(number_);
  os::Lock lock(group.mu);
  prev_ = nullptr;
  next_ = group.head;
  if (next_ != nullptr) next_->prev_ = this;
  group.head = this;
}

void FdHold::delist() {
  Group& group = groupOf(number_);
  int own;
  bool last;
  {
    os::Lock lock(group.mu);
    (prev_ != nullptr ? prev_->next_ : group.head) = next_;
    if (next_ != nullptr) next_->prev_ = prev_;
    own = fd();
    last = own != number_;
    for (FdHold* w = group.head; last && w != nullptr; w = w->next_) last = w->fd() != own;
  }
  if (last) os::sys(SYS_close, own);
}

FdWait::FdWait(sched::Sched& s, int fd, Direction direction, Kind kind)
    : s_(s), slot_(s.net().slot(fd)), hold_(fd), direction_(direction), kind_(kind) {}

FdWait::~FdWait() {
  if (begun_) {
    _pthread_cleanup_pop(&on_cancel_, 0);
    hold_.delist();
  }
}

// libgraft has no landing pads: this is its destructor when the thread is cancelled.
void FdWait::unwound(void* self) {
  auto* w = static_cast<FdWait*>(self);
  if (w->waiting_) w->s_.netWaitEnds();
  w->hold_.delist();
}

void FdWait::setDeadline(const timespec& at) {
  deadline_ = at;
  has_deadline_ = true;
}

// The socket's own time limit. False: none.
bool FdWait::readTimeout() {
  timeval limit{};
  socklen_t n = sizeof limit;
  int option = direction_ == sched::Netpoll::kWrite ? SO_SNDTIMEO : SO_RCVTIMEO;
  long got = os::sys(SYS_getsockopt, fd(), SOL_SOCKET, option, os::arg(&limit), os::arg(&n));
  if (os::failed(got) || (limit.tv_sec == 0 && limit.tv_usec == 0)) return false;
  timespec now{};
  os::sys(SYS_clock_gettime, CLOCK_MONOTONIC, os::arg(&now));
  long ns = now.tv_nsec + limit.tv_usec * 1000;
  if (__builtin_add_overflow(now.tv_sec, limit.tv_sec + ns / kSecond, &now.tv_sec)) return false;
  now.tv_nsec = ns % kSecond;
  setDeadline(now);
  return true;
}

// Once per call: what a wait needs to know.
FdWait::Then FdWait::begin() {
  if (slot_ == nullptr || sched::currentG()->handlers != 0) return Then::kBlock;
  if (kind_ != Kind::kPoll) {
    known_ = fd() > 2 && knows(fact::kWaits);
    if (!known_ && !mayWait()) return Then::kGiveUp;
    if (knows(fact::kLimited) && !has_deadline_) readTimeout();
  }
  hold_.enlist();
  begun_ = true;
  _pthread_cleanup_push(&on_cancel_, unwound, this);
  return Then::kLookAgain;
}

// Asks the descriptor itself whether a call may wait, and whether not for ever. The answer is kept
// with the number, and holds while that is the same file (arm() says so) and nobody changes any
// (descriptorsChange): but for what another process does to a file that it shares, and such are the
// first three.
bool FdWait::knows(uint32_t fact) const {
  uint32_t facts = slot_->facts.loadRelaxed();
  return (facts & fact) != 0 && facts >> fact::kChangesShift == changesNow();
}

bool FdWait::mayWait() {
  uint32_t as_of = changesNow();
  long flags = os::sys(SYS_fcntl, fd(), F_GETFL);
  if (os::failed(flags) || (flags & O_NONBLOCK) != 0) {
    error_ = os::failed(flags) ? static_cast<int>(-flags) : EAGAIN;
    return false;
  }
  uint32_t facts = slot_->facts.loadRelaxed() & (fact::kKind | fact::kWritesDirect);
  facts |= fact::kWaits | as_of << fact::kChangesShift;
  if (kind_ == Kind::kSocketTransfer && (limitOf(SO_RCVTIMEO) || limitOf(SO_SNDTIMEO)))
    facts |= fact::kLimited;
  slot_->facts.storeRelaxed(facts);
  return true;
}

bool FdWait::limitOf(int option) const {
  timeval limit{};
  socklen_t n = sizeof limit;
  long got = os::sys(SYS_getsockopt, fd(), SOL_SOCKET, option, os::arg(&limit), os::arg(&n));
  return !os::failed(got) && (limit.tv_sec != 0 || limit.tv_usec != 0);
}

bool FdWait::isDatagram() const {
  int type = 0;
  socklen_t n = sizeof type;
  long got = os::sys(SYS_getsockopt, fd(), SOL_SOCKET, SO_TYPE, os::arg(&type), os::arg(&n));
  return !os::failed(got) && type != SOCK_STREAM;
}

FdWait::Then FdWait::wait() {
  // The queue of a datagram's receiver is full, which no event of the sender's tells of: each try
  // itself makes its socket writable again.
  constexpr int kFutile = 3;
  if (direction_ == sched::Netpoll::kWrite && kind_ == Kind::kSocketTransfer &&
      ++wakes_ > kFutile && isDatagram()) {
    return Then::kBlock;
  }
  if (!begun_) {
    Then then = begin();
    if (then != Then::kLookAgain) return then;
  }
  sched::G* g = sched::currentG();
  bool poll = kind_ == Kind::kPoll;
  uint32_t handled = poll ? handled_ : g->handled, interrupting = g->interrupting;
  if (handled != g->handled) {
    error_ = EINTR;
    return Then::kGiveUp;
  }
  waiting_ = true;
  s_.netWaitBegins();
  int armed = s_.net().arm(fd(), hold_.number());
  if (armed == 0 && known_) {  // it was known of another file
    known_ = false;
    if (!mayWait()) {
      s_.net().disarm(fd());
      s_.netWaitEnds();
      waiting_ = false;
      return Then::kGiveUp;
    }
    if (knows(fact::kLimited) && !has_deadline_) readTimeout();
  }
  WaitResult r = WaitResult::kWoken;
  if (armed >= 0) {
    Deadline until;
    if (has_deadline_) until = {&deadline_, CLOCK_MONOTONIC};
    r = Waits(s_).wait(slot_->moved[direction_], seen_, until);
  }
  s_.netWaitEnds();
  waiting_ = false;
  if (armed < 0) return Then::kBlock;
  if (r == WaitResult::kTimedOut) {
    error_ = EAGAIN;
    return Then::kGiveUp;
  }
  if (r != WaitResult::kInterrupted) return Then::kLookAgain;
  pthread_testcancel();
  bool always = poll || has_deadline_;
  bool ended = always ? g->handled != handled : g->interrupting != interrupting;
  if (!ended) return Then::kLookAgain;
  error_ = EINTR;
  return Then::kGiveUp;
}

void fdCloses(sched::Sched& s, int fd) {
  if (fd < 0) return;
  if (sched::Netpoll::Slot* slot = s.net().slot(fd)) slot->facts.storeRelaxed(0);
  Group& group = groupOf(fd);
  os::Lock lock(group.mu);
  long own = -1;
  for (FdHold* w = group.head; w != nullptr; w = w->next_) {
    if (w->fd() != fd || w->number_ != fd) continue;
    if (own < 0) own = os::sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHighFd);
    if (os::failed(own)) return;  // no number is left: they find the old one closed
    w->fd_.storeRelaxed(static_cast<int>(own));
  }
}

void fdRangeCloses(sched::Sched& s, unsigned first, unsigned last) {
  unsigned end = static_cast<unsigned>(s.net().armedBelow());
  for (unsigned fd = first; fd < end && fd <= last; fd++) fdCloses(s, static_cast<int>(fd));
}

unsigned firstOfWaiters(unsigned first, unsigned last) {
  unsigned lowest = ~0u;
  for (Group& group : groups) {
    os::Lock lock(group.mu);
    for (FdHold* w = group.head; w != nullptr; w = w->next_) {
      unsigned own = static_cast<unsigned>(w->fd());
      if (w->fd() != w->number_ && own >= first && own <= last && own < lowest) lowest = own;
    }
  }
  return lowest;
}

void descriptorsChange() { changes.fetchAddAcqRel(1); }

void forkChildIo() {
  for (Group& group : groups) new (&group) Group();
}

}  // namespace graft::shims
