// System calls that wait for a descriptor, made by Gs: first tried without waiting, then the G
// parks until the netpoller says that it may be worth another try (SCHED.md groups 13 and 15). The
// descriptor's flags are never changed, since other processes may share them: sockets are asked
// with MSG_DONTWAIT, pipes and the like with RWF_NOWAIT, the others with poll. What cannot be tried
// or waited for in this way (files, terminals, connect, more descriptors at once than ManyWait
// takes) goes to libc's own function: the M sleeps, and its P is given to others.
//
// Same results, errno and partial transfers as natively. Any thread of the program in user code,
// its signal handlers too; threads that are no Gs and vfork's children go to libc's function.
#pragma once

#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "shims/sync/waits.h"

namespace graft::shims::io {

ssize_t read(int fd, void* buf, size_t n);
ssize_t readv(int fd, const iovec* v, int count);
ssize_t write(int fd, const void* buf, size_t n);
ssize_t writev(int fd, const iovec* v, int count);
ssize_t recv(int fd, void* buf, size_t n, int flags);
ssize_t recvfrom(int fd, void* buf, size_t n, int flags, sockaddr* from, socklen_t* len);
ssize_t recvmsg(int fd, msghdr* m, int flags);
ssize_t send(int fd, const void* buf, size_t n, int flags);
ssize_t sendto(int fd, const void* buf, size_t n, int flags, const sockaddr* to, socklen_t len);
ssize_t sendmsg(int fd, const msghdr* m, int flags);
ssize_t preadv2(int fd, const iovec* v, int count, off_t at, int flags);
ssize_t pwritev2(int fd, const iovec* v, int count, off_t at, int flags);
int recvmmsg(int fd, mmsghdr* v, unsigned n, int flags, timespec* limit);
int sendmmsg(int fd, mmsghdr* v, unsigned n, int flags);
int accept(int fd, sockaddr* from, socklen_t* len);
int accept4(int fd, sockaddr* from, socklen_t* len, int flags);
int connect(int fd, const sockaddr* to, socklen_t len);
int poll(pollfd* fds, nfds_t n, int timeout_ms);
int ppoll(pollfd* fds, nfds_t n, const timespec* limit, const sigset_t* mask);
int select(int n, fd_set* read, fd_set* write, fd_set* except, timeval* limit);
int pselect(int n, fd_set* read, fd_set* write, fd_set* except, const timespec* limit,
            const sigset_t* mask);
int epoll_wait(int set, epoll_event* events, int most, int timeout_ms);
int epoll_pwait(int set, epoll_event* events, int most, int timeout_ms, const sigset_t* mask);
int epoll_pwait2(int set, epoll_event* events, int most, const timespec* limit,
                 const sigset_t* mask);
int close(int fd);
int close_range(unsigned first, unsigned last, int flags);
void closefrom(int first);
int fclose(FILE* file);
int dup2(int fd, int number);
int dup3(int fd, int number, int flags);
// The variadic argument as it is in its register.
int fcntl(int fd, int command, long argument);
int ioctl(int fd, unsigned long request, long argument);
int setsockopt(int fd, int level, int option, const void* value, socklen_t n);

}  // namespace graft::shims::io
