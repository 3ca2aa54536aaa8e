// Waiting for one of several things, and for connections, as threaded programs do it: `gs_wait WHAT
// [SECONDS]` does one thing and prints what every implementation must print. Each must end the same
// way on kernel threads and on Gs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "threaded.h"

// --- Connections

static struct sockaddr_in server;

static int listenTo(int backlog) {
  int l = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t n = sizeof server;
  server = (struct sockaddr_in){0};
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(l, (struct sockaddr*)&server, n) == 0 && listen(l, backlog) == 0);
  CHECK(getsockname(l, (struct sockaddr*)&server, &n) == 0);
  return l;
}
static int tryConnect(int fd) { return connect(fd, (struct sockaddr*)&server, sizeof server); }

// Its queue is full: a connection has to wait until somebody accepts one.
static int fullListener(int* first) {
  int l = listenTo(0);
  *first = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(tryConnect(*first) == 0);
  return l;
}

static void* connectOne(void* arg) {
  int fd = *(int*)arg;
  errno = 0;
  int got = tryConnect(fd);
  return (void*)(intptr_t)(got == 0 ? 1 : -errno);
}

static void* pingPong(void* arg) {
  int* p = arg;
  char c;
  for (int i = 0; i < 300; i++) CHECK(read(p[0], &c, 1) == 1 && write(p[3], &c, 1) == 1);
  return NULL;
}
static void playPingPong(void) {
  int p[4];
  CHECK(pipe(p) == 0 && pipe(p + 2) == 0);
  pthread_t t = start(pingPong, p);
  char c = 1;
  for (int i = 0; i < 300; i++) CHECK(write(p[1], &c, 1) == 1 && read(p[2], &c, 1) == 1);
  join(t);
  for (int i = 0; i < 4; i++) close(p[i]);
}

static void connecting(void) {
  int first, l = fullListener(&first), many[8];
  pthread_t t[8];
  for (int i = 0; i < 8; i++) {
    many[i] = socket(AF_INET, SOCK_STREAM, 0);
    t[i] = start(connectOne, &many[i]);
  }
  usleep(50000);
  playPingPong();  // those who wait are in nobody's way
  void* result;
  CHECK(pthread_tryjoin_np(t[7], &result) == EBUSY);
  // One gives up by a signal, one is cancelled, and the others get through.
  handle(SIGUSR1, 0);
  CHECK(pthread_kill(t[0], SIGUSR1) == 0);
  printf("without SA_RESTART: %d\n", (int)(intptr_t)join(t[0]) == -EINTR);
  printf("again: %d\n", tryConnect(-1) == -1 && errno == EBADF);
  handle(SIGUSR1, SA_RESTART);
  for (int i = 1; i < 8; i++) CHECK(pthread_kill(t[i], SIGUSR1) == 0);
  CHECK(pthread_cancel(t[1]) == 0);
  printf("cancelled: %d\n", join(t[1]) == PTHREAD_CANCELED);
  close(many[0]);
  close(many[1]);
  struct timeval limit = {0, 150000};
  int timed = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(setsockopt(timed, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  double began = now();
  printf("limit: %d", tryConnect(timed) == -1 && errno == EINPROGRESS);
  printf(" after about it: %d\n", now() - began > 0.1 && now() - began < 2);
  close(timed);
  close(first);
  CHECK(listen(l, 100) == 0);
  for (int i = 2; i < 8; i++) {
    CHECK((intptr_t)join(t[i]) == 1);
    CHECK(fcntl(many[i], F_GETFL) == O_RDWR && send(many[i], "c", 1, 0) == 1);
  }
  printf("connected: %d", accept(l, NULL, NULL) >= 0);
  printf(" %d\n", tryConnect(many[2]) == -1 && errno == EISCONN);
  close(l);
  int s = socket(AF_INET, SOCK_STREAM, 0);
  printf("refused: %d", tryConnect(s) == -1 && errno == ECONNREFUSED);
  printf(" %d\n", connect(1, (struct sockaddr*)&server, sizeof server) == -1 && errno == ENOTSOCK);
  int f = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  l = listenTo(0);
  printf("O_NONBLOCK: %d\n", tryConnect(f) == -1 && errno == EINPROGRESS);
}

// --- Several descriptors at once

enum { kMany = 40 };
static int fds[2], many[kMany][2];
static void openMany(void) {
  for (int i = 0; i < kMany; i++) {
    CHECK((i % 2 == 0 ? pipe(many[i]) : socketpair(AF_UNIX, SOCK_STREAM, 0, many[i])) == 0);
  }
}

// Bytes arrive on random ones, each followed by a pause or not.
static void* feedMany(void* arg) {
  uint64_t random = 11;
  for (int i = 0; i < 3000; i++) {
    uint64_t r = nextRandom(&random);
    char c = (char)(r >> 20);
    CHECK(write(many[r % kMany][1], &c, 1) == 1);
    if (r >> 50 == 0) usleep(100);
  }
  return arg;
}

static int waitByPoll(int fds[], int n, int which) {
  struct pollfd p[kMany + 1];
  for (int i = 0; i < n; i++) p[i] = (struct pollfd){fds[i], POLLIN, 9};
  p[n] = (struct pollfd){-1, POLLIN, 9};
  int got = which == 0 ? poll(p, (nfds_t)n + 1, -1) : ppoll(p, (nfds_t)n + 1, NULL, NULL);
  CHECK(got > 0 && p[n].revents == 0);
  for (int i = 0; i < n; i++) {
    CHECK((p[i].revents & ~(POLLIN | POLLHUP)) == 0);
    if (p[i].revents != 0) return i;
  }
  CHECK(0);
}
static int waitBySelect(int fds[], int n) {
  fd_set set;
  FD_ZERO(&set);
  int top = 0;
  for (int i = 0; i < n; i++) {
    FD_SET(fds[i], &set);
    if (fds[i] > top) top = fds[i];
  }
  CHECK(select(top + 1, &set, NULL, NULL, NULL) > 0);
  for (int i = 0; i < n; i++) {
    if (FD_ISSET(fds[i], &set)) return i;
  }
  CHECK(0);
}

static void feeding(void) {
  openMany();
  int fds[kMany];
  for (int i = 0; i < kMany; i++) fds[i] = many[i][0];
  for (int how = 0; how < 3; how++) {
    pthread_t t = start(feedMany, NULL);
    uint64_t random = 11, sum = 0, expected = 0;
    for (int i = 0; i < 3000; i++) expected += (unsigned char)(nextRandom(&random) >> 20);
    for (int got = 0; got < 3000;) {
      int at = how < 2 ? waitByPoll(fds, kMany, how) : waitBySelect(fds, kMany);
      unsigned char b[64];
      ssize_t n = read(fds[at], b, sizeof b);
      CHECK(n > 0);
      for (ssize_t i = 0; i < n; i++) sum += b[i];
      got += (int)n;
    }
    join(t);
    printf("all bytes came: %d\n", sum == expected);
  }
}

static int about(double began, double s) {
  return now() - began > s * 0.95 && now() - began < s + 2;
}

static void answers(void) {
  openMany();
  struct pollfd p[80];
  double t = now();
  printf("nothing: %d", poll(NULL, 0, 60));
  printf(" %d\n", about(t, 0.06));
  struct timespec limit = {0, 60000000};
  t = now();
  printf("nothing: %d", pselect(0, NULL, NULL, NULL, &limit, NULL));
  printf(" %d, kept: %d\n", about(t, 0.06), limit.tv_nsec == 60000000);
  p[0] = (struct pollfd){many[0][0], POLLIN, 5};
  p[1] = (struct pollfd){many[1][0], POLLIN | POLLPRI, 5};
  t = now();
  printf("in vain: %d", poll(p, 2, 60));
  printf(" %d %d %d\n", about(t, 0.06), p[0].revents, p[1].revents);
  p[2] = (struct pollfd){many[2][1], POLLOUT, 0};
  p[3] = (struct pollfd){999, POLLIN, 0};
  printf("ready: %d", poll(p, 4, -1));
  printf(" %d %d %d %d\n", p[0].revents, p[1].revents, p[2].revents, p[3].revents);
  int file = open("/proc/self/exe", O_RDONLY);
  p[0].fd = file;
  printf("file: %d", poll(p, 2, -1));
  printf(" %d\n", p[0].revents);
  p[0].events = POLLPRI;
  printf("never: %d\n", poll(p, 2, 50));
  struct pollfd* volatile nowhere = (struct pollfd*)16;
  printf("EFAULT: %d", poll(nowhere, 2, -1) == -1 && errno == EFAULT);
  limit.tv_nsec = 2000000000;
  printf(" EINVAL: %d", ppoll(p, 2, &limit, NULL) == -1 && errno == EINVAL);
  for (int i = 0; i < 80; i++) p[i] = (struct pollfd){many[i % kMany][0], POLLIN, 0};
  t = now();
  printf(" 80: %d", poll(p, 80, 60));
  CHECK(write(many[7][1], "x", 1) == 1);
  printf(" %d", about(t, 0.06));
  printf(" %d %d %d\n", poll(p, 80, -1), p[7].revents, p[47].revents);
  // select
  fd_set r, w, e;
  FD_ZERO(&r);
  FD_ZERO(&w);
  FD_ZERO(&e);
  FD_SET(many[0][0], &r);
  FD_SET(many[1][0], &e);
  struct timeval left = {3, 500000};
  FD_SET(many[7][0], &r);
  printf("select: %d", select(900, &r, &w, &e, &left));
  printf(" %d %d %d, left: %d\n", FD_ISSET(many[0][0], &r), FD_ISSET(many[1][0], &e),
         FD_ISSET(many[7][0], &r), left.tv_sec == 3 && left.tv_usec > 0);
  left = (struct timeval){0, 60000};
  FD_CLR(many[7][0], &r);
  FD_SET(many[0][0], &r);
  t = now();
  printf("in vain: %d", select(900, &r, NULL, NULL, &left));
  printf(" %d, left: %d %d, %d\n", about(t, 0.06), (int)left.tv_sec, (int)left.tv_usec,
         FD_ISSET(many[0][0], &r));
  // Below an open one: the kernel passes over numbers that its table has no place for.
  CHECK(dup2(many[0][0], 250) == 250);
  FD_SET(200, &r);
  printf("EBADF: %d", select(201, &r, NULL, NULL, NULL) == -1 && errno == EBADF);
  printf(" EINVAL: %d\n", select(-1, &r, NULL, NULL, NULL) == -1 && errno == EINVAL);
}

// --- A wait that lets a signal through loses none

static volatile int turns;
static void* letThrough(void* arg) {
  sigset_t blocked, open;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &blocked, &open) == 0);
  sigdelset(&open, SIGUSR1);
  int set = epoll_create1(0);
  struct pollfd p = {fds[0], POLLIN, 0};
  struct epoll_event event = {EPOLLIN, {.u64 = 0}};
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event) == 0);
  for (int i = 0; i < *(int*)arg; i++) {
    fd_set r;
    FD_ZERO(&r);
    FD_SET(fds[0], &r);
    struct pollfd two[2] = {p, p};
    int got;
    switch (i % 5) {
      case 0: got = ppoll(&p, 1, NULL, &open); break;
      case 1: got = pselect(fds[0] + 1, &r, NULL, NULL, NULL, &open); break;
      case 2: got = epoll_pwait(set, &event, 1, -1, &open); break;
      case 3: got = epoll_pwait2(set, &event, 1, NULL, &open); break;
      default: got = ppoll(two, 2, NULL, &open);
    }
    CHECK(got == -1 && errno == EINTR);
    sigset_t mask;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGUSR1));
    CHECK(handled == i + 1);
    __atomic_store_n(&turns, i + 1, __ATOMIC_RELEASE);
  }
  return NULL;
}

static void masked(void) {
  handle(SIGUSR1, SA_RESTART);
  CHECK(pipe(fds) == 0);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &blocked, NULL) == 0);
  for (int way = 0; way < 2; way++) {
    int n = 2000;
    handled = turns = 0;
    pthread_t t = start(letThrough, &n);
    uint64_t random = 3;
    for (int i = 0; i < n; i++) {
      for (uint64_t spin = nextRandom(&random) % 20000; spin > 0; spin--) __asm__ volatile("");
      CHECK((way == 0 ? pthread_kill(t, SIGUSR1) : kill(getpid(), SIGUSR1)) == 0);
      while (__atomic_load_n(&turns, __ATOMIC_ACQUIRE) != i + 1) sched_yield();
    }
    join(t);
    puts("every signal ended a wait");
  }
  struct pollfd p = {fds[0], POLLIN, 0};
  CHECK(write(fds[1], "x", 1) == 1 && raise(SIGUSR1) == 0);
  sigset_t open;
  sigemptyset(&open);
  printf("ready comes first: %d", ppoll(&p, 1, NULL, &open));
  printf(" %d\n", handled == 2000);
}

// --- A number is closed or replaced under those who wait for it

static void* pollTwo(void* arg) {
  int* two = arg;
  struct pollfd p[2] = {{two[0], POLLIN, 0}, {two[1], POLLIN, 0}};
  int got = poll(p, 2, -1);
  return (void*)(intptr_t)(got * 10000 + p[0].revents * 100 + p[1].revents);
}

static void replacing(void) {
  for (int way = 0; way < 4; way++) {
    int first[2], second[2], wake[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, first) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, second) == 0);
    CHECK(pipe(wake) == 0);
    int two[2] = {first[0], wake[0]};
    pthread_t t = start(pollTwo, two), u = start(pollTwo, two);
    usleep(150000);
    if (way % 2 == 0) {
      close(first[0]);
    } else {
      CHECK(dup2(second[0], first[0]) == first[0]);
    }
    usleep(50000);
    void* result;
    printf("still waiting: %d", pthread_tryjoin_np(t, &result) == EBUSY);
    if (way >= 2) CHECK(write(second[1], "s", 1) == 1);
    CHECK(way == 0 ? send(first[1], "f", 1, 0) == 1 : write(wake[1], "w", 1) == 1);
    int a = (int)(intptr_t)join(t), b = (int)(intptr_t)join(u);
    printf(" %d %d\n", a, b);
    close(first[1]);
    for (int i = 0; i < 2; i++) {
      close(second[i]);
      close(wake[i]);
    }
    if (way % 2 != 0) close(first[0]);
  }
}

// --- Interrupted and cancelled

static void* waitSomehow(void* arg) {
  fd_set r;
  FD_ZERO(&r);
  FD_SET(fds[0], &r);
  FD_SET(many[0][0], &r);
  struct pollfd p[2] = {{fds[0], POLLIN, 0}, {many[0][0], POLLIN, 0}};
  struct timespec limit = {100, 0};
  errno = 0;
  int got;
  switch ((intptr_t)arg) {
    case 0: got = poll(p, 2, 100000); break;
    case 1: got = ppoll(p, 2, &limit, NULL); break;
    case 2: got = select(fds[0] + 1, &r, NULL, NULL, NULL); break;
    case 3: got = pselect(fds[0] + 1, &r, NULL, NULL, &limit, NULL); break;
    default: got = poll(NULL, 0, -1);
  }
  return (void*)(intptr_t)(got < 0 ? -errno : got);
}

static void ending(void) {
  openMany();
  CHECK(pipe(fds) == 0);
  handle(SIGUSR1, SA_RESTART);  // which is of no avail to these
  for (intptr_t i = 0; i < 5; i++) {
    pthread_t t = start(waitSomehow, (void*)i);
    void* result;
    do {
      usleep(20000);
      CHECK(pthread_kill(t, SIGUSR1) == 0);
    } while (pthread_tryjoin_np(t, &result) != 0);
    CHECK((int)(intptr_t)result == -EINTR);
  }
  for (intptr_t i = 0; i < 300; i++) {
    pthread_t t = start(waitSomehow, (void*)(i % 5));
    if (i % 2 == 0) usleep(1000);
    CHECK(pthread_cancel(t) == 0 && join(t) == PTHREAD_CANCELED);
  }
  pthread_t t = start(waitSomehow, (void*)2), u = start(waitSomehow, (void*)0);
  CHECK(write(fds[1], "x", 1) == 1);
  CHECK((intptr_t)join(t) == 1 && (intptr_t)join(u) == 1);
  puts("each ended as it should");
}

// --- A handler leaves a wait by longjmp: nothing of it may stay behind

static __thread sigjmp_buf back;
static volatile int may_jump, left_by_jump;
static void jumpBack(int signal) {
  (void)signal;
  siglongjmp(back, 1);
}
static __attribute__((noinline)) void overwriteStack(void) {
  volatile char c[20000];
  for (size_t i = 0; i < sizeof c; i++) c[i] = 0x41;
}
static void* jumpOut(void* arg) {
  if (sigsetjmp(back, 1) == 0) {
    may_jump = 1;
    waitSomehow(arg);
  }
  overwriteStack();
  left_by_jump = 1;
  for (int i = 0; i < 5; i++) {
    usleep(10000);
    overwriteStack();
  }
  return NULL;
}
static void jumping(void) {
  signal(SIGUSR1, jumpBack);
  for (intptr_t i = 0; i < 4; i++) {
    int s[2], m[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, m) == 0);
    fds[0] = s[0];
    many[0][0] = m[0];
    may_jump = left_by_jump = 0;
    pthread_t t = start(jumpOut, (void*)i);
    while (!may_jump) usleep(1000);
    usleep(50000);
    CHECK(pthread_kill(t, SIGUSR1) == 0);
    while (!left_by_jump) usleep(1000);
    char c = 1;
    for (int k = 0; k < 10; k++) {
      struct pollfd p[2] = {{s[0], POLLIN, 0}, {m[0], POLLIN, 0}};
      CHECK(write(s[1], &c, 1) == 1 && write(m[1], &c, 1) == 1 && poll(p, 2, -1) > 0);
      CHECK(read(s[0], &c, 1) == 1 && read(m[0], &c, 1) == 1);
    }
    close(s[0]);  // nobody holds on to it any more
    CHECK(recv(s[1], &c, 1, MSG_DONTWAIT) == 0);
    join(t);
  }
  puts("nothing was left");
}

// --- As many waiting threads as a busy server has

enum { kCrowd = 400 };
static int crowd[kCrowd][2];
static void* oneOfCrowd(void* arg) {
  intptr_t i = (intptr_t)arg;
  int fd = crowd[i][0];
  for (int k = 0; k < 20; k++) {
    struct pollfd p[2] = {{many[0][0], POLLIN, 0}, {fd, POLLIN, 0}};
    CHECK(poll(p, 2, 60000) == 1 && p[1].revents == POLLIN);
    char c;
    CHECK(read(fd, &c, 1) == 1 && c == (char)(i + k));
    CHECK(write(fd, &c, 1) == 1);
  }
  struct pollfd p[2] = {{many[0][0], POLLIN, 0}, {fd, POLLIN, 0}};
  CHECK(poll(p, 2, -1) == 1 && p[0].revents == POLLIN);  // the one that all wait for
  return arg;
}
static void crowded(void) {
  pthread_t t[kCrowd];
  CHECK(pipe(many[0]) == 0);
  for (intptr_t i = 0; i < kCrowd; i++) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, crowd[i]) == 0);
    t[i] = start(oneOfCrowd, (void*)i);
  }
  for (int k = 0; k < 20; k++) {
    for (int i = 0; i < kCrowd; i++) {
      char c = (char)(i + k);
      CHECK(write(crowd[i][1], &c, 1) == 1);
    }
    for (int i = 0; i < kCrowd; i++) {
      char c;
      CHECK(read(crowd[i][1], &c, 1) == 1 && c == (char)(i + k));
    }
  }
  CHECK(write(many[0][1], "x", 1) == 1);
  for (int i = 0; i < kCrowd; i++) join(t[i]);
  puts("all were served");
}

// --- Several messages in one call, and the calls with an offset of which -1 is none

enum { kMessages = 12, kBig = 90000 };
static unsigned char big[kMessages][kBig];

static void* receiveMany(void* arg) {
  struct mmsghdr v[kMessages] = {0};
  struct iovec piece[kMessages];
  static unsigned char in[kMessages][8];
  for (int i = 0; i < kMessages; i++) {
    piece[i] = (struct iovec){in[i], 8};
    v[i].msg_hdr.msg_iov = &piece[i];
    v[i].msg_hdr.msg_iovlen = 1;
  }
  int got = recvmmsg(fds[0], v, kMessages, (int)(intptr_t)arg, NULL);
  if (got < 0) return (void*)(intptr_t)-errno;
  for (int i = 0; i < got; i++) CHECK(v[i].msg_len == 1 && in[i][0] == 'a' + i);
  return (void*)(intptr_t)got;
}

static void* sendBig(void* arg) {
  struct mmsghdr v[kMessages] = {0};
  struct iovec piece[kMessages][2];
  for (int i = 0; i < kMessages; i++) {
    for (int k = 0; k < kBig; k++) big[i][k] = (unsigned char)((i * kBig + k) * 2654435761u >> 11);
    piece[i][0] = (struct iovec){big[i], 1000};
    piece[i][1] = (struct iovec){big[i] + 1000, kBig - 1000};
    v[i].msg_hdr.msg_iov = piece[i];
    v[i].msg_hdr.msg_iovlen = 2;
  }
  CHECK(sendmmsg(fds[1], v, kMessages, 0) == kMessages);
  for (int i = 0; i < kMessages; i++) CHECK(v[i].msg_len == kBig);
  return arg;
}

static void* readPieces(void* arg) {
  char a[3], b[4];
  struct iovec v[2] = {{a, 3}, {b, 4}};
  ssize_t n = preadv2(fds[0], v, 2, -1, 0);
  return (void*)(intptr_t)(n == 5 && memcmp(a, "abc", 3) == 0 && memcmp(b, "de", 2) == 0);
  (void)arg;
}

static void messages(void) {
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
  handle(SIGUSR1, 0);
  for (int way = 0; way < 3; way++) {
    pthread_t t = start(receiveMany, (void*)(intptr_t)(way == 0 ? MSG_WAITFORONE : 0));
    usleep(50000);
    for (char c = 'a'; c < (way == 1 ? 'a' + kMessages : 'a' + 1); c++) {
      CHECK(send(fds[1], &c, 1, 0) == 1);
      usleep(10000);
    }
    if (way == 2) CHECK(pthread_kill(t, SIGUSR1) == 0);
    printf("messages: %d\n", (int)(intptr_t)join(t));
  }
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  pthread_t t = start(sendBig, NULL);
  long at = 0;
  while (at < (long)kMessages * kBig) {
    unsigned char in[7000];
    ssize_t n = recv(fds[0], in, sizeof in, 0);
    CHECK(n > 0);
    for (ssize_t i = 0; i < n; i++) {
      CHECK(in[i] == (unsigned char)((unsigned)(at + i) * 2654435761u >> 11));
    }
    at += n;
    if (at % 3 == 0) usleep(500);
  }
  join(t);
  puts("the big ones came");
  CHECK(pipe(fds) == 0);
  t = start(readPieces, NULL);
  usleep(50000);
  struct iovec v[2] = {{"ab", 2}, {"cde", 3}};
  printf("pieces: %zd", pwritev2(fds[1], v, 2, -1, 0));
  printf(" %d\n", (int)(intptr_t)join(t));
  printf("errors: %d", preadv2(fds[0], v, 2, 0, 0) == -1 && errno == ESPIPE);
  printf(" %d", recvmmsg(fds[0], NULL, 1, 0, NULL) == -1 && errno == ENOTSOCK);
  printf(" %d\n", sendmmsg(-1, NULL, 1, 0) == -1 && errno == EBADF);
}

static const struct {
  const char* name;
  void (*run)(void);
} all[] = {{"connecting", connecting}, {"feeding", feeding},     {"answers", answers},
           {"masked", masked},         {"replacing", replacing}, {"ending", ending},
           {"messages", messages},     {"jumping", jumping},     {"crowded", crowded}};

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  join(start(nothing, NULL));
  for (size_t i = 0; argc > 1 && i < sizeof all / sizeof *all; i++) {
    if (strcmp(argv[1], all[i].name) == 0) {
      all[i].run();
      return 0;
    }
  }
  return 2;
}
