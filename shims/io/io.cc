// See io.h. Which way a descriptor is tried is remembered per number, as a hint that its answers
// correct: ENOTSOCK, EOPNOTSUPP. One hint could do harm, for RWF_NOWAIT cuts a read of a regular
// file short where its pages are not in memory: a short read is only believed after a look at what
// the descriptor is.
#include "shims/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "shims/io/call.h"
#include "shims/io/fd_wait.h"

namespace graft::shims::io {
namespace {

using sched::Netpoll;
using Kind = FdWait::Kind;

constexpr uint32_t kUnknown = 0, kSocket = 1, kNoWait = 2, kDirect = 3;
constexpr unsigned long kRwfNoWait = 8;  // RWF_NOWAIT

uint32_t kindOf(int fd) {
  Netpoll::Slot* slot = rt.sched.net().slot(fd);
  if (slot == nullptr) return kDirect;
  uint32_t kind = slot->facts.loadRelaxed() & fact::kKind;
  if (kind != kUnknown) return kind;
  struct stat st;
  if (os::failed(os::sys(SYS_fstat, fd, os::arg(&st)))) return kDirect;
  switch (st.st_mode & S_IFMT) {
    case S_IFSOCK: kind = kSocket; break;
    case S_IFIFO:
    case 0: kind = kNoWait; break;  // eventfd, timerfd and their like
    default: kind = kDirect;
  }
  slot->facts.storeRelaxed(kind);
  return kind;
}

void setKind(int fd, uint32_t kind) {
  if (Netpoll::Slot* slot = rt.sched.net().slot(fd)) slot->facts.storeRelaxed(kind);
}

bool hasFact(int fd, uint32_t fact) {
  Netpoll::Slot* slot = rt.sched.net().slot(fd);
  return slot != nullptr && (slot->facts.loadRelaxed() & fact) != 0;
}
void addFact(int fd, uint32_t fact) {
  if (Netpoll::Slot* slot = rt.sched.net().slot(fd)) slot->facts.fetchOrRelaxed(fact);
}

bool isRegular(int fd) {
  struct stat st;
  return !os::failed(os::sys(SYS_fstat, fd, os::arg(&st))) && S_ISREG(st.st_mode);
}

// look(fd) is a call that does not wait; asked again whenever it may have changed its answer.
template <class Look>
long untilAble(int fd, FdWait::Direction direction, Kind kind, Look look) {
  pthread_testcancel();
  FdWait wait(rt.sched, fd, direction, kind);
  for (;;) {
    wait.look();
    long got = look(wait.fd());
    if (got != -EAGAIN) return got;
    switch (wait.wait()) {
      case FdWait::Then::kLookAgain: break;
      case FdWait::Then::kGiveUp: return -wait.error();
      case FdWait::Then::kBlock: return kMustBlock;
    }
  }
}

size_t total(const iovec* v, size_t count) {
  size_t n = 0;
  for (size_t i = 0; i < count; i++) n += v[i].iov_len;
  return n;
}

// Sends piece by piece until all is gone, as a call that waits does; send(fd, done) sends some of
// what is left after `done` bytes. total() is asked when the kernel has taken some of it: before
// that the program's arrays may be anything.
template <class Send, class Total>
long sendAll(int fd, Kind kind, Send send, Total total) {
  size_t done = 0;
  long got = untilAble(fd, Netpoll::kWrite, kind, [&](int at) -> long {
    for (;;) {
      long sent = send(at, done);
      if (os::failed(sent)) return sent;
      done += static_cast<size_t>(sent);
      if (sent == 0 || done >= total()) return static_cast<long>(done);
    }
  });
  bool stopped = os::failed(got) || got == kMustBlock;
  return done != 0 && stopped ? static_cast<long>(done) : got;
}

// The part of v that begins after `done` bytes: whole pieces follow the first, cut one.
struct Rest {
  iovec first;
  size_t index;
};
Rest restOf(const iovec* v, size_t count, size_t done) {
  size_t i = 0;
  while (i < count && done >= v[i].iov_len) done -= v[i++].iov_len;
  if (i == count) return {{nullptr, 0}, count};
  return {{static_cast<char*>(v[i].iov_base) + done, v[i].iov_len - done}, i};
}

bool waits(int flags) { return (flags & (MSG_DONTWAIT | MSG_WAITALL | MSG_ERRQUEUE)) == 0; }

long doRecvMsg(int fd, msghdr* m, int flags) {
  return untilAble(fd, Netpoll::kRead, Kind::kSocketTransfer, [&](int at) {
    return os::sys(SYS_recvmsg, at, os::arg(m), flags | MSG_DONTWAIT);
  });
}

long doRecvFrom(int fd, void* buf, size_t n, int flags, sockaddr* from, socklen_t* len) {
  return untilAble(fd, Netpoll::kRead, Kind::kSocketTransfer, [&](int at) {
    return os::sys(SYS_recvfrom, at, os::arg(buf), static_cast<long>(n), flags | MSG_DONTWAIT,
                   os::arg(from), os::arg(len));
  });
}

// Where a call would return what it had sent before the other end went, it raises no SIGPIPE.
int flagsOf(int flags, size_t done) {
  return flags | MSG_DONTWAIT | (done != 0 ? MSG_NOSIGNAL : 0);
}

long sendRest(int at, const iovec* v, size_t count, size_t done, int flags) {
  Rest rest = restOf(v, count, done);
  return os::sys(SYS_sendto, at, os::arg(rest.first.iov_base),
                 static_cast<long>(rest.first.iov_len), flagsOf(flags, done), 0, 0);
}

// A datagram goes at once or not at all, so `done` is 0 whenever it is asked.
long doSendTo(int fd, const void* buf, size_t n, int flags, const sockaddr* to, socklen_t len) {
  return sendAll(
      fd, Kind::kSocketTransfer,
      [&](int at, size_t done) {
        return os::sys(SYS_sendto, at, os::arg(static_cast<const char*>(buf) + done),
                       static_cast<long>(n - done), flagsOf(flags, done), os::arg(to), len);
      },
      [&] { return n; });
}

// Control data and the address go with the first piece.
long doSendMsg(int fd, const msghdr* m, int flags) {
  return sendAll(
      fd, Kind::kSocketTransfer,
      [&](int at, size_t done) {
        if (done == 0) return os::sys(SYS_sendmsg, at, os::arg(m), flags | MSG_DONTWAIT);
        return sendRest(at, m->msg_iov, m->msg_iovlen, done, flags);
      },
      [&] { return total(m->msg_iov, m->msg_iovlen); });
}

constexpr unsigned kMostMessages = IOV_MAX;  // of one call

// Waits for each of them, unless one is enough.
long doRecvMany(int fd, mmsghdr* v, unsigned n, int flags) {
  if (n > kMostMessages) n = kMostMessages;
  for (unsigned done = 0;;) {
    long got = untilAble(fd, Netpoll::kRead, Kind::kSocketTransfer, [&](int at) {
      return os::sys(SYS_recvmmsg, at, os::arg(v + done), n - done, flags | MSG_DONTWAIT, 0);
    });
    if (os::failed(got) || got == kMustBlock) return done != 0 ? done : got;
    done += static_cast<unsigned>(got);
    if (got == 0 || done == n || (flags & MSG_WAITFORONE) != 0) return done;
  }
}

// A stream takes part of a message: the others follow when all of it is gone.
bool finish(int fd, mmsghdr& m, int flags) {
  const msghdr& h = m.msg_hdr;
  size_t sent = m.msg_len, all = total(h.msg_iov, h.msg_iovlen);
  if (sent >= all) return true;
  long more = sendAll(
      fd, Kind::kSocketTransfer,
      [&](int at, size_t done) {
        return sendRest(at, h.msg_iov, h.msg_iovlen, sent + done, flags);
      },
      [&] { return all - sent; });
  if (more > 0) m.msg_len += static_cast<unsigned>(more);
  return m.msg_len == all;
}

long doSendMany(int fd, mmsghdr* v, unsigned n, int flags) {
  if (n > kMostMessages) n = kMostMessages;
  for (unsigned done = 0;;) {
    long got = untilAble(fd, Netpoll::kWrite, Kind::kSocketTransfer, [&](int at) {
      return os::sys(SYS_sendmmsg, at, os::arg(v + done), n - done, flags | MSG_DONTWAIT);
    });
    if (os::failed(got) || got == kMustBlock) return done != 0 ? done : got;
    done += static_cast<unsigned>(got);
    if (got == 0 || !finish(fd, v[done - 1], flags) || done == n) return done;
  }
}

// The offset -1 is the file's own. Sockets too take these two calls.
long tryRead(int fd, const iovec* v, int count, Kind kind) {
  return untilAble(fd, Netpoll::kRead, kind, [&](int at) {
    return os::sys(SYS_preadv2, at, os::arg(v), count, -1, -1, kRwfNoWait);
  });
}

long tryWrite(int fd, const iovec* v, int count, Kind kind) {
  size_t n = static_cast<size_t>(count);
  return sendAll(
      fd, kind,
      [&](int at, size_t done) {
        if (done == 0) return os::sys(SYS_pwritev2, at, os::arg(v), count, -1, -1, kRwfNoWait);
        if (kind == Kind::kSocketTransfer) return sendRest(at, v, n, done, 0);
        Rest rest = restOf(v, n, done);
        return os::sys(SYS_pwritev2, at, os::arg(&rest.first), 1, -1, -1, kRwfNoWait);
      },
      [&] { return total(v, n); });
}

ssize_t directRead(int fd, const iovec* v, int count) {
  return count == 1 ? real().read(fd, v->iov_base, v->iov_len) : real().readv(fd, v, count);
}
ssize_t directWrite(int fd, const iovec* v, int count) {
  return count == 1 ? real().write(fd, v->iov_base, v->iov_len) : real().writev(fd, v, count);
}

ssize_t readAny(int fd, const iovec* v, int count) {
  if (!mayPark() || count < 1 || count > IOV_MAX) return directRead(fd, v, count);
  uint32_t kind = kindOf(fd);
  if (kind == kDirect) return directRead(fd, v, count);
  long got = tryRead(fd, v, count, kind == kSocket ? Kind::kSocketTransfer : Kind::kTransfer);
  if (got == -EOPNOTSUPP) setKind(fd, kDirect);
  if (got == -EOPNOTSUPP || got == kMustBlock) return directRead(fd, v, count);
  size_t n = static_cast<size_t>(count);
  bool cut = kind != kSocket && got > 0 && static_cast<size_t>(got) < total(v, n);
  if (!cut || !isRegular(fd)) return result<ssize_t>(got);
  setKind(fd, kDirect);
  Rest rest = restOf(v, n, static_cast<size_t>(got));
  ssize_t more = real().read(fd, rest.first.iov_base, rest.first.iov_len);
  return more > 0 ? got + more : got;
}

ssize_t writeAny(int fd, const iovec* v, int count) {
  if (!mayPark() || count < 1 || count > IOV_MAX) return directWrite(fd, v, count);
  uint32_t kind = kindOf(fd);
  if (kind == kDirect || hasFact(fd, fact::kWritesDirect)) return directWrite(fd, v, count);
  long got = tryWrite(fd, v, count, kind == kSocket ? Kind::kSocketTransfer : Kind::kTransfer);
  if (got == -EOPNOTSUPP) addFact(fd, fact::kWritesDirect);  // an eventfd's reads can be tried
  if (got == -EOPNOTSUPP || got == kMustBlock) return directWrite(fd, v, count);
  return result<ssize_t>(got);
}

}  // namespace

ssize_t read(int fd, void* buf, size_t n) {
  iovec one{buf, n};
  return readAny(fd, &one, 1);
}
ssize_t readv(int fd, const iovec* v, int count) { return readAny(fd, v, count); }
ssize_t write(int fd, const void* buf, size_t n) {
  iovec one{const_cast<void*>(buf), n};
  return writeAny(fd, &one, 1);
}
ssize_t writev(int fd, const iovec* v, int count) { return writeAny(fd, v, count); }

// Another offset is a file's: those calls do not wait for anybody.
ssize_t preadv2(int fd, const iovec* v, int count, off_t at, int flags) {
  return at == -1 && flags == 0 ? readAny(fd, v, count) : real().preadv2(fd, v, count, at, flags);
}
ssize_t pwritev2(int fd, const iovec* v, int count, off_t at, int flags) {
  return at == -1 && flags == 0 ? writeAny(fd, v, count) : real().pwritev2(fd, v, count, at, flags);
}

ssize_t recv(int fd, void* buf, size_t n, int flags) {
  return io::recvfrom(fd, buf, n, flags, nullptr, nullptr);
}

ssize_t recvfrom(int fd, void* buf, size_t n, int flags, sockaddr* from, socklen_t* len) {
  if (mayPark() && waits(flags)) {
    long got = doRecvFrom(fd, buf, n, flags, from, len);
    if (got != kMustBlock) return result<ssize_t>(got);
  }
  return real().recvfrom(fd, buf, n, flags, from, len);
}

ssize_t recvmsg(int fd, msghdr* m, int flags) {
  if (mayPark() && waits(flags)) {
    long got = doRecvMsg(fd, m, flags);
    if (got != kMustBlock) return result<ssize_t>(got);
  }
  return real().recvmsg(fd, m, flags);
}

ssize_t send(int fd, const void* buf, size_t n, int flags) {
  return io::sendto(fd, buf, n, flags, nullptr, 0);
}

ssize_t sendto(int fd, const void* buf, size_t n, int flags, const sockaddr* to, socklen_t len) {
  if (mayPark() && waits(flags)) {
    long got = doSendTo(fd, buf, n, flags, to, len);
    if (got != kMustBlock) return result<ssize_t>(got);
  }
  return real().sendto(fd, buf, n, flags, to, len);
}

ssize_t sendmsg(int fd, const msghdr* m, int flags) {
  if (mayPark() && waits(flags)) {
    long got = doSendMsg(fd, m, flags);
    if (got != kMustBlock) return result<ssize_t>(got);
  }
  return real().sendmsg(fd, m, flags);
}

// A limit is looked at when a message has come: before that, the call may sleep for ever.
int recvmmsg(int fd, mmsghdr* v, unsigned n, int flags, timespec* limit) {
  if (mayPark() && waits(flags) && limit == nullptr) {
    long got = doRecvMany(fd, v, n, flags);
    if (got != kMustBlock) return result<int>(got);
  }
  return real().recvmmsg(fd, v, n, flags, limit);
}

int sendmmsg(int fd, mmsghdr* v, unsigned n, int flags) {
  if (mayPark() && waits(flags)) {
    long got = doSendMany(fd, v, n, flags);
    if (got != kMustBlock) return result<int>(got);
  }
  return real().sendmmsg(fd, v, n, flags);
}

int accept(int fd, sockaddr* from, socklen_t* len) { return io::accept4(fd, from, len, 0); }

// An option of a socket's own; -1: it is none.
int optionOf(int fd, int option) {
  int value = 0;
  socklen_t n = sizeof value;
  long got = os::sys(SYS_getsockopt, fd, SOL_SOCKET, option, os::arg(&value), os::arg(&n));
  return os::failed(got) ? -1 : value;
}

bool listens(int fd) { return optionOf(fd, SO_ACCEPTCONN) > 0; }

// There is no call that tries: a connection that somebody else takes between the look and the call
// makes the M sleep. What does not listen is told so by the call.
int accept4(int fd, sockaddr* from, socklen_t* len, int flags) {
  if (mayPark()) {
    long got = untilAble(fd, Netpoll::kRead, Kind::kSocketTransfer, [&](int at) -> long {
      pollfd p{at, POLLIN, 0};
      if (os::sys(SYS_poll, os::arg(&p), 1, 0) == 0 && listens(at)) return -EAGAIN;
      return os::sys(SYS_accept4, at, os::arg(from), os::arg(len), flags);
    });
    if (got != kMustBlock) return result<int>(got);
  }
  return real().accept4(fd, from, len, flags);
}

// Whether a connection takes a round trip or more. Local sockets answer at once, but for a listener
// whose queue is full: sysmon finds that one.
bool connectsSlowly(int fd) {
  constexpr uint64_t kSlow = uint64_t{1} << AF_INET | uint64_t{1} << AF_INET6;
  int family = optionOf(fd, SO_DOMAIN);
  return family >= 0 && family < 64 && (kSlow >> family & 1) != 0 &&
         optionOf(fd, SO_TYPE) == SOCK_STREAM &&
         (os::sys(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK) == 0;
}

// It cannot be tried without O_NONBLOCK, which is the open file's: it sleeps on its M.
int connect(int fd, const sockaddr* to, socklen_t len) {
  if (mayPark() && connectsSlowly(fd)) lendP();
  return real().connect(fd, to, len);
}

int close(int fd) {
  if (rt.sched.on() && !inVforkChild()) {
    if (rt.sched.net().owns(fd)) return result<int>(-EBADF);
    fdCloses(rt.sched, fd);
  }
  return real().close(fd);
}

// Around graft's own, and after those who wait have been given theirs.
int close_range(unsigned first, unsigned last, int flags) {
  constexpr int kOnlyAtExec = 4;  // CLOSE_RANGE_CLOEXEC
  if (!rt.sched.on() || inVforkChild() || (flags & kOnlyAtExec) != 0 || first > last)
    return real().close_range(first, last, flags);
  fdRangeCloses(rt.sched, first, last);
  int lost = 0;
  for (unsigned at = first;;) {
    unsigned ours = rt.sched.net().firstOwn(at, last), theirs = firstOfWaiters(at, last);
    if (theirs < ours) ours = theirs;
    if (ours > at && real().close_range(at, ours == ~0u ? last : ours - 1, flags) != 0) lost = -1;
    if (ours == ~0u || ours == last) return lost;
    at = ours + 1;
  }
}
void closefrom(int first) { io::close_range(first < 0 ? 0 : static_cast<unsigned>(first), ~0u, 0); }

int fclose(FILE* file) {
  if (rt.sched.on() && !inVforkChild()) fdCloses(rt.sched, fileno(file));
  return real().fclose(file);
}

int dup2(int fd, int number) {
  if (rt.sched.on() && !inVforkChild() && fd != number) {
    if (rt.sched.net().owns(number)) return result<int>(-EBUSY);
    fdCloses(rt.sched, number);
  }
  return real().dup2(fd, number);
}

int dup3(int fd, int number, int flags) {
  if (rt.sched.on() && !inVforkChild() && fd != number) {
    if (rt.sched.net().owns(number)) return result<int>(-EBUSY);
    fdCloses(rt.sched, number);
  }
  return real().dup3(fd, number, flags);
}

int fcntl(int fd, int command, long argument) {
  int got = real().fcntl(fd, command, argument);
  if (command == F_SETFL && rt.sched.on()) descriptorsChange();
  return got;
}

int ioctl(int fd, unsigned long request, long argument) {
  int got = real().ioctl(fd, request, argument);
  if (request == FIONBIO && rt.sched.on()) descriptorsChange();
  return got;
}

int setsockopt(int fd, int level, int option, const void* value, socklen_t n) {
  int got = real().setsockopt(fd, level, option, value, n);
  bool limit = option == SO_RCVTIMEO || option == SO_SNDTIMEO || option == SO_RCVTIMEO_NEW ||
               option == SO_SNDTIMEO_NEW;
  if (level == SOL_SOCKET && limit && rt.sched.on()) descriptorsChange();
  return got;
}

}  // namespace graft::shims::io
