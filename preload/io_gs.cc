// The functions that wait for descriptors, of a process whose threads are Gs; see sync_gs.h. All
// are forwards to shims/io.
#include "preload/sync_gs.h"
#include "shims/io/io.h"

extern "C" [[noreturn]] void __chk_fail();  // glibc's answer to a buffer that is too small

namespace graft::preload::gs {

namespace io = shims::io;

ssize_t read(int fd, void* buf, size_t n) { return io::read(fd, buf, n); }
ssize_t readv(int fd, const iovec* v, int count) { return io::readv(fd, v, count); }
ssize_t write(int fd, const void* buf, size_t n) { return io::write(fd, buf, n); }
ssize_t writev(int fd, const iovec* v, int count) { return io::writev(fd, v, count); }
ssize_t recv(int fd, void* buf, size_t n, int flags) { return io::recv(fd, buf, n, flags); }
ssize_t recvfrom(int fd, void* buf, size_t n, int flags, sockaddr* from, socklen_t* len) {
  return io::recvfrom(fd, buf, n, flags, from, len);
}
ssize_t recvmsg(int fd, msghdr* m, int flags) { return io::recvmsg(fd, m, flags); }
ssize_t send(int fd, const void* buf, size_t n, int flags) { return io::send(fd, buf, n, flags); }
ssize_t sendto(int fd, const void* buf, size_t n, int flags, const sockaddr* to, socklen_t len) {
  return io::sendto(fd, buf, n, flags, to, len);
}
ssize_t sendmsg(int fd, const msghdr* m, int flags) { return io::sendmsg(fd, m, flags); }
ssize_t preadv2(int fd, const iovec* v, int count, off_t at, int flags) {
  return io::preadv2(fd, v, count, at, flags);
}
ssize_t pwritev2(int fd, const iovec* v, int count, off_t at, int flags) {
  return io::pwritev2(fd, v, count, at, flags);
}
int recvmmsg(int fd, mmsghdr* v, unsigned n, int flags, timespec* limit) {
  return io::recvmmsg(fd, v, n, flags, limit);
}
int sendmmsg(int fd, mmsghdr* v, unsigned n, int flags) { return io::sendmmsg(fd, v, n, flags); }
int accept(int fd, sockaddr* from, socklen_t* len) { return io::accept(fd, from, len); }
int accept4(int fd, sockaddr* from, socklen_t* len, int flags) {
  return io::accept4(fd, from, len, flags);
}
int connect(int fd, const sockaddr* to, socklen_t len) { return io::connect(fd, to, len); }
int poll(pollfd* fds, nfds_t n, int timeout_ms) { return io::poll(fds, n, timeout_ms); }
int ppoll(pollfd* fds, nfds_t n, const timespec* limit, const sigset_t* mask) {
  return io::ppoll(fds, n, limit, mask);
}
int select(int n, fd_set* read, fd_set* write, fd_set* except, timeval* limit) {
  return io::select(n, read, write, except, limit);
}
int pselect(int n, fd_set* read, fd_set* write, fd_set* except, const timespec* limit,
            const sigset_t* mask) {
  return io::pselect(n, read, write, except, limit, mask);
}
int epoll_wait(int set, epoll_event* events, int most, int timeout_ms) {
  return io::epoll_wait(set, events, most, timeout_ms);
}
int epoll_pwait(int set, epoll_event* events, int most, int timeout_ms, const sigset_t* mask) {
  return io::epoll_pwait(set, events, most, timeout_ms, mask);
}
int epoll_pwait2(int set, epoll_event* events, int most, const timespec* limit,
                 const sigset_t* mask) {
  return io::epoll_pwait2(set, events, most, limit, mask);
}
int close(int fd) { return io::close(fd); }
int close_range(unsigned first, unsigned last, int flags) {
  return io::close_range(first, last, flags);
}
void closefrom(int first) { io::closefrom(first); }
int fclose(FILE* file) { return io::fclose(file); }
int dup2(int fd, int number) { return io::dup2(fd, number); }
int dup3(int fd, int number, int flags) { return io::dup3(fd, number, flags); }

int setsockopt(int fd, int level, int option, const void* value, socklen_t n) {
  return io::setsockopt(fd, level, option, value, n);
}
int graft_fcntl(int fd, int command, long argument) { return io::fcntl(fd, command, argument); }
int graft_ioctl(int fd, unsigned long request, long argument) {
  return io::ioctl(fd, request, argument);
}

ssize_t __read_chk(int fd, void* buf, size_t n, size_t room) {
  if (n > room) __chk_fail();
  return io::read(fd, buf, n);
}
ssize_t __recv_chk(int fd, void* buf, size_t n, size_t room, int flags) {
  if (n > room) __chk_fail();
  return io::recv(fd, buf, n, flags);
}
ssize_t __recvfrom_chk(int fd, void* buf, size_t n, size_t room, int flags, sockaddr* from,
                       socklen_t* len) {
  if (n > room) __chk_fail();
  return io::recvfrom(fd, buf, n, flags, from, len);
}
int __poll_chk(pollfd* fds, nfds_t n, int timeout_ms, size_t room) {
  if (room / sizeof *fds < n) __chk_fail();
  return io::poll(fds, n, timeout_ms);
}
int __ppoll_chk(pollfd* fds, nfds_t n, const timespec* limit, const sigset_t* mask, size_t room) {
  if (room / sizeof *fds < n) __chk_fail();
  return io::ppoll(fds, n, limit, mask);
}

}  // namespace graft::preload::gs
