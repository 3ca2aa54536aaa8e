// Storms over streams whose every byte is known: `gs_storm WHAT [SECONDS]`. Beside them, signals
// rain on the threads, waiting threads are cancelled, processes are forked, descriptors are closed
// and replaced under those who wait for them, or all of that at once. No byte may be lost or come
// twice, nobody may hang.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "threaded.h"

enum { kStreams = 9, kVictims = 16, kWaiters = 48, kClients = 8, kToCancel = 24 };
static double end;
static int idle[2];  // nothing ever comes from it
static struct sockaddr_in server;

// --- The streams

struct Stream {
  int in, out;
  unsigned seed;
  long sent;
  pthread_t sender, receiver;
};
static struct Stream streams[kStreams];

static unsigned char byteAt(unsigned seed, long at) {
  return (unsigned char)((unsigned long)at * 2654435761u >> 13 ^ seed);
}

// Until fd is likely to be ready for it, one way or the other; signals may end the wait.
static void waitFor(int fd, int write, unsigned way) {
  struct pollfd p[3] = {{idle[0], POLLIN, 0}, {fd, write ? POLLOUT : POLLIN, 0}, {-1, 0, 0}};
  struct timespec limit = {0, 3000000};
  fd_set set, none;
  FD_ZERO(&set);
  FD_ZERO(&none);
  FD_SET(fd, &set);
  FD_SET(idle[0], &none);
  sigset_t open;
  sigemptyset(&open);
  int got, top = (fd > idle[0] ? fd : idle[0]) + 1;
  switch (way % 7) {
    case 0: return;
    case 1: got = poll(p, 3, -1); break;
    case 2: got = poll(p + 1, 1, 2); break;
    case 3: got = ppoll(p, 2, &limit, &open); break;
    case 4:
      got = pselect(top, write ? &none : &set, write ? &set : &none, NULL, &limit, &open);
      break;
    case 5: got = poll(p, 2, 3); break;
    default: got = select(top, write ? NULL : &set, write ? &set : NULL, NULL, NULL);
  }
  CHECK(got >= 0 || errno == EINTR);
  CHECK(got <= 0 || (p[0].revents | p[2].revents) == 0);
}

static void* sender(void* arg) {
  struct Stream* s = arg;
  unsigned char buffer[20000];
  uint64_t random = s->seed + 1;
  while (now() < end) {
    size_t n = 1 + nextRandom(&random) % sizeof buffer;
    for (size_t i = 0; i < n; i++) buffer[i] = byteAt(s->seed, s->sent + (long)i);
    waitFor(s->out, 1, (unsigned)(random >> 20));
    struct iovec v[2] = {{buffer, n / 3}, {buffer + n / 3, n - n / 3}};
    ssize_t sent = random >> 60 < 8 ? write(s->out, buffer, n) : writev(s->out, v, 2);
    CHECK(sent > 0 || errno == EINTR);
    if (sent > 0) s->sent += sent;
  }
  CHECK(close(s->out) == 0);
  return NULL;
}

static void* receiver(void* arg) {
  struct Stream* s = arg;
  unsigned char buffer[15000];
  uint64_t random = s->seed + 7;
  for (long at = 0;;) {
    size_t n = 1 + nextRandom(&random) % sizeof buffer;
    waitFor(s->in, 0, (unsigned)(random >> 20));
    struct iovec v[2] = {{buffer, n / 2}, {buffer + n / 2, n - n / 2}};
    ssize_t got = random >> 60 < 8 ? read(s->in, buffer, n) : readv(s->in, v, 2);
    if (got < 0 && errno == EINTR) continue;
    CHECK(got >= 0);
    if (got == 0) return (void*)at;
    for (ssize_t i = 0; i < got; i++) CHECK(buffer[i] == byteAt(s->seed, at + i));
    at += got;
  }
}

static int listenTo(void) {
  int l = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t n = sizeof server;
  server = (struct sockaddr_in){0};
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(l, (struct sockaddr*)&server, n) == 0 && listen(l, 64) == 0);
  CHECK(getsockname(l, (struct sockaddr*)&server, &n) == 0);
  return l;
}

static void openPair(int kind, int pair[2]) {
  if (kind % 3 == 0) CHECK(pipe(pair) == 0);
  if (kind % 3 == 1) CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  if (kind % 3 != 2) return;
  int l = listenTo();
  pair[0] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(pair[0], (struct sockaddr*)&server, sizeof server) == 0);
  pair[1] = accept(l, NULL, NULL);
  CHECK(pair[1] >= 0);
  close(l);
}

// --- Signals

static void* sendSignals(void* arg) {
  uint64_t random = 5;
  while (now() < end) {
    struct Stream* s = &streams[nextRandom(&random) % kStreams];
    int signal = random >> 40 & 1 ? SIGUSR1 : SIGUSR2;
    int got = pthread_kill(random >> 41 & 1 ? s->sender : s->receiver, signal);
    CHECK(got == 0 || got == ESRCH);  // it may have ended, and is joined later than this thread
    if (random >> 58 == 0) usleep(200);
  }
  return arg;
}

// --- Cancellation

static void countDown(void* arg) { __atomic_fetch_sub((int*)arg, 1, __ATOMIC_RELAXED); }
static int waiting;
static void* waitIdly(void* arg) {
  unsigned way = (unsigned)(uintptr_t)arg;
  __atomic_fetch_add(&waiting, 1, __ATOMIC_RELAXED);
  pthread_cleanup_push(countDown, &waiting);
  char c;
  struct pollfd p[2] = {{idle[0], POLLIN, 0}, {streams[way % kStreams].in, POLLPRI, 0}};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(idle[0], &set);
  struct iovec piece = {&c, 1};
  struct mmsghdr m = {.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}};
  for (;;) {
    switch (way % 6) {
      case 0: poll(p, 2, -1); break;
      case 1: select(idle[0] + 1, &set, NULL, NULL, NULL); break;
      case 2: CHECK(read(idle[0], &c, 1) < 0); break;
      case 3: poll(p, 1, 1000); break;
      case 4: recvmmsg(idle[0], &m, 1, 0, NULL); break;
      default: poll(NULL, 0, 1000);
    }
  }
  pthread_cleanup_pop(1);
  return NULL;
}
static void* cancelMany(void* arg) {
  uint64_t random = 9;
  while (now() < end) {
    pthread_t t[kToCancel];
    for (int i = 0; i < kToCancel; i++)
      t[i] = start(waitIdly, (void*)(uintptr_t)(nextRandom(&random) % 600));
    if (random >> 60 < 8) usleep((unsigned)(random >> 50 & 2047));
    for (int i = 0; i < kToCancel; i++) CHECK(pthread_cancel(t[i]) == 0);
    for (int i = 0; i < kToCancel; i++) CHECK(join(t[i]) == PTHREAD_CANCELED);
    CHECK(__atomic_load_n(&waiting, __ATOMIC_RELAXED) == 0);
  }
  return arg;
}

// --- Processes

static void* echo(void* arg) {
  int* p = arg;
  char c;
  for (int i = 0; i < 30; i++) {
    struct pollfd two[2] = {{idle[0], POLLIN, 0}, {p[0], POLLIN, 0}};
    while (poll(two, 2, -1) < 0) CHECK(errno == EINTR);
    ssize_t n;
    while ((n = read(p[0], &c, 1)) < 0) CHECK(errno == EINTR);
    while ((n = write(p[3], &c, 1)) < 0) CHECK(errno == EINTR);
    CHECK(n == 1);
  }
  return NULL;
}
static void* forkMany(void* arg) {
  while (now() < end) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      int p[4];
      CHECK(pipe(p) == 0 && pipe(p + 2) == 0);
      pthread_t t = start(echo, p);
      char c = 1;
      for (int i = 0; i < 30; i++) {
        while (write(p[1], &c, 1) < 0) CHECK(errno == EINTR);
        while (read(p[2], &c, 1) < 0) CHECK(errno == EINTR);
      }
      join(t);
      _exit(7);
    }
    int status;
    while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  return arg;
}

// --- Descriptors that go and come under those who wait for them

static int victims[kVictims], peers[kVictims];  // numbers

static void* waitForVictims(void* arg) {
  uint64_t random = (uintptr_t)arg + 100;
  while (now() < end) {
    struct pollfd p[4];
    fd_set set;
    FD_ZERO(&set);
    for (int i = 0; i < 4; i++) {
      int fd = victims[nextRandom(&random) % kVictims];
      p[i] = (struct pollfd){fd, POLLIN, 0};
      FD_SET(fd, &set);
    }
    struct timeval limit = {0, 2000};
    char c[64];
    int got;
    switch (random >> 40 & 3) {
      case 0: got = poll(p, 4, (int)(random >> 50 & 7)); break;
      case 1: got = poll(p, 1, (int)(random >> 50 & 7)); break;
      case 2: got = select(1000, &set, NULL, NULL, &limit); break;
      default: got = (int)recv(p[0].fd, c, sizeof c, 0);  // somebody always writes or closes
    }
    CHECK(got >= 0 || errno == EINTR || errno == EBADF || errno == ECONNRESET);
  }
  return NULL;
}

static void* replaceVictims(void* arg) {
  uint64_t random = 77;
  while (now() < end) {
    int i = (int)(nextRandom(&random) % kVictims), pair[2];
    unsigned what = random >> 40 & 3;
    if (what == 0) {
      CHECK(write(peers[i], "some bytes", 10) == 10 || errno == EINTR);
      continue;
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    if (what == 1) CHECK(shutdown(peers[i], SHUT_RDWR) == 0);
    while (dup2(pair[0], victims[i]) < 0) CHECK(errno == EINTR || errno == EBUSY);
    while (dup2(pair[1], peers[i]) < 0) CHECK(errno == EINTR || errno == EBUSY);
    close(pair[0]);
    close(pair[1]);
  }
  for (int i = 0; i < kVictims; i++) shutdown(peers[i], SHUT_RDWR);
  usleep(20000);
  return arg;
}

// --- Connections that come and go

static void* acceptMany(void* arg) {
  for (;;) {
    int fd = accept(*(int*)arg, NULL, NULL);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0) return NULL;
    char c;
    if (recv(fd, &c, 1, 0) == 1)
      CHECK(send(fd, &c, 1, MSG_NOSIGNAL) == 1 || errno == EPIPE || errno == EINTR ||
            errno == ECONNRESET);
    close(fd);
  }
}
static void* connectMany(void* arg) {
  while (now() < end) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct linger none = {1, 0};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
    if (connect(fd, arg, sizeof server) == 0) {
      char c = 'c';
      CHECK(send(fd, &c, 1, MSG_NOSIGNAL) == 1);
      struct pollfd p[2] = {{idle[0], POLLIN, 0}, {fd, POLLIN, 0}};
      if (poll(p, 2, 1000) > 0) CHECK(recv(fd, &c, 1, MSG_DONTWAIT) == 1 && c == 'c');
    }
    close(fd);
  }
  return NULL;
}

static pthread_t others[kWaiters + kClients + 8];
static size_t n_others;
static void also(void* (*fn)(void*), void* arg) { others[n_others++] = start(fn, arg); }

static void storm(const char* what) {
  int all = strcmp(what, "all") == 0;
  int l = listenTo();
  struct sockaddr_in to = server;
  if (all || strcmp(what, "signals") == 0) {
    struct itimerval every = {{0, 700}, {0, 700}};
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    also(sendSignals, NULL);
  }
  if (all || strcmp(what, "cancels") == 0) also(cancelMany, NULL);
  if (all || strcmp(what, "forks") == 0) also(forkMany, NULL);
  if (all || strcmp(what, "closes") == 0) {
    for (int i = 0; i < kVictims; i++) {
      int pair[2];
      CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
      victims[i] = pair[0];
      peers[i] = pair[1];
    }
    for (uintptr_t i = 0; i < kWaiters; i++) also(waitForVictims, (void*)i);
    also(replaceVictims, NULL);
  }
  pthread_t a = start(acceptMany, &l), b = start(acceptMany, &l);
  for (int i = 0; i < kClients; i++) also(connectMany, &to);
  for (size_t i = 0; i < n_others; i++) join(others[i]);
  shutdown(l, SHUT_RDWR);
  join(a);
  join(b);
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  const char* what = argc > 1 ? argv[1] : "all";
  end = now() + (argc > 2 ? atof(argv[2]) : 5);
  join(start(nothing, NULL));
  handle(SIGUSR1, SA_RESTART);
  handle(SIGUSR2, 0);
  handle(SIGALRM, SA_RESTART);
  signal(SIGPIPE, SIG_IGN);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, idle) == 0);
  for (int i = 0; i < kStreams; i++) {
    int pair[2];
    openPair(i, pair);
    streams[i] = (struct Stream){pair[0], pair[1], (unsigned)i * 77, 0, 0, 0};
    streams[i].receiver = start(receiver, &streams[i]);
    streams[i].sender = start(sender, &streams[i]);
  }
  storm(what);
  for (int i = 0; i < kStreams; i++) {
    join(streams[i].sender);
    CHECK((long)join(streams[i].receiver) == streams[i].sent && streams[i].sent > 0);
  }
  puts("every byte arrived once");
  return 0;
}
