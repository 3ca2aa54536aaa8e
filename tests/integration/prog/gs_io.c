// Blocking calls on descriptors as a threaded program makes them: `gs_io WHAT [SECONDS]` does one
// thing and prints what every implementation must print. Each must end the same way on kernel
// threads and on Gs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "threaded.h"

// --- Streams whose every byte is known, while signals arrive

enum { kStreams = 12 };
struct Stream {
  int in, out;
  unsigned seed;
  int kind;
  double end;
  long bytes;
};

static unsigned char byteAt(unsigned seed, long at) {
  return (unsigned char)((unsigned long)at * 2654435761u >> 13 ^ seed);
}

static void* sender(void* arg) {
  struct Stream* s = arg;
  unsigned char buffer[40000];
  uint64_t random = s->seed + 1;
  long at = 0;
  while (now() < s->end) {
    size_t n = 1 + nextRandom(&random) % sizeof buffer;
    for (size_t i = 0; i < n; i++) buffer[i] = byteAt(s->seed, at + (long)i);
    ssize_t sent;
    struct iovec v[2] = {{buffer, n / 3}, {buffer + n / 3, n - n / 3}};
    if (s->kind % 3 == 1) {
      sent = writev(s->out, v, 2);
    } else if (s->kind % 3 == 2 && s->kind > 2) {
      struct msghdr m = {0};
      m.msg_iov = v;
      m.msg_iovlen = 2;
      sent = sendmsg(s->out, &m, 0);
    } else {
      sent = write(s->out, buffer, n);
    }
    CHECK(sent > 0);  // less than n where a signal came in the middle
    at += sent;
  }
  s->bytes = at;
  CHECK(close(s->out) == 0);
  return NULL;
}

static void* receiver(void* arg) {
  struct Stream* s = arg;
  unsigned char buffer[30000];
  uint64_t random = s->seed + 7;
  long at = 0;
  for (;;) {
    size_t n = 1 + nextRandom(&random) % sizeof buffer;
    struct iovec v[2] = {{buffer, n / 2}, {buffer + n / 2, n - n / 2}};
    ssize_t got;
    if (s->kind % 3 == 1) {
      got = readv(s->in, v, 2);
    } else if (s->kind > 2 && s->kind % 3 == 2) {
      got = recv(s->in, buffer, n, s->kind == 5 ? MSG_WAITALL : 0);
    } else {
      struct pollfd p = {s->in, POLLIN, 0};
      if (s->kind % 2 == 0) CHECK(poll(&p, 1, -1) == 1 || errno == EINTR);
      got = read(s->in, buffer, n);
    }
    CHECK(got >= 0);
    if (got == 0) break;
    for (ssize_t i = 0; i < got; i++) CHECK(buffer[i] == byteAt(s->seed, at + i));
    at += got;
  }
  CHECK(close(s->in) == 0);
  return (void*)at;
}

static void tcpPair(int pair[2]) {
  int l = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {0};
  socklen_t n = sizeof a;
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(l, (struct sockaddr*)&a, n) == 0 && listen(l, 8) == 0);
  CHECK(getsockname(l, (struct sockaddr*)&a, &n) == 0);
  pair[0] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(pair[0], (struct sockaddr*)&a, n) == 0);
  pair[1] = accept(l, NULL, NULL);
  CHECK(pair[1] >= 0);
  close(l);
}

static void streams(double seconds) {
  handle(SIGALRM, SA_RESTART);
  struct itimerval every = {{0, 500}, {0, 500}};
  CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
  static struct Stream all[kStreams];
  pthread_t out[kStreams], in[kStreams];
  for (int i = 0; i < kStreams; i++) {
    int p[2];
    if (i % 6 < 3) {
      CHECK(pipe(p) == 0);
    } else if (i < 6) {
      int pair[2];
      CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
      p[0] = pair[0];
      p[1] = pair[1];
    } else {
      tcpPair(p);
    }
    all[i] = (struct Stream){p[0], p[1], (unsigned)i * 77, i % 6, now() + seconds, 0};
    in[i] = start(receiver, &all[i]);
    out[i] = start(sender, &all[i]);
  }
  for (int i = 0; i < kStreams; i++) {
    join(out[i]);
    long got = (long)join(in[i]);
    CHECK(got == all[i].bytes && got > 0);
  }
  every.it_value.tv_usec = every.it_interval.tv_usec = 0;
  setitimer(ITIMER_REAL, &every, NULL);
  CHECK(handled > 0);
  puts("every byte arrived once");
}

// --- Interrupted, restarted, timed, not blocking

static int fds[2];
static void* readOne(void* arg) {
  char c = 0;
  errno = 0;
  ssize_t n = read(fds[0], &c, 1);
  return (void*)(intptr_t)(n == 1 ? (int)c : -errno);
  (void)arg;
}

static void interrupted(void) {
  int kinds[2][2];
  CHECK(pipe(kinds[0]) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, kinds[1]) == 0);
  for (int k = 0; k < 2; k++) {
    fds[0] = kinds[k][0];
    fds[1] = kinds[k][1];
    handle(SIGUSR1, 0);
    pthread_t t = start(readOne, NULL);
    void* result;
    do {  // it may not be in the call yet
      usleep(20000);
      CHECK(pthread_kill(t, SIGUSR1) == 0);
    } while (pthread_tryjoin_np(t, &result) != 0);
    printf("without SA_RESTART: %d\n", (int)(intptr_t)result == -EINTR);
    handle(SIGUSR1, SA_RESTART);
    t = start(readOne, NULL);
    usleep(50000);
    CHECK(pthread_kill(t, SIGUSR1) == 0);
    usleep(50000);
    CHECK(write(fds[1], "A", 1) == 1);
    printf("with: %d\n", (int)(intptr_t)join(t));
  }
}

static void timed(void) {
  int s[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
  struct timeval limit = {0, 120000};
  CHECK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  char c;
  double t = now();
  ssize_t n = recv(s[0], &c, 1, 0);
  printf("recv with a limit: %d, after about it: %d\n", n == -1 && errno == EAGAIN,
         now() - t > 0.1 && now() - t < 2);
  limit.tv_usec = 0;
  CHECK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  CHECK(fcntl(s[0], F_SETFL, O_NONBLOCK) == 0);
  printf("O_NONBLOCK: %d\n", recv(s[0], &c, 1, 0) == -1 && errno == EAGAIN);
  CHECK(fcntl(s[0], F_SETFL, 0) == 0);
  int on = 1;
  CHECK(ioctl(s[0], FIONBIO, &on) == 0);
  printf("FIONBIO: %d\n", read(s[0], &c, 1) == -1 && errno == EAGAIN);
  on = 0;
  CHECK(ioctl(s[0], FIONBIO, &on) == 0);
  printf("MSG_DONTWAIT: %d\n", recv(s[0], &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
  struct pollfd p = {s[0], POLLIN, 0};
  t = now();
  printf("poll: %d", poll(&p, 1, 100));
  printf(" after about its time: %d\n", now() - t > 0.09 && now() - t < 2);
  int set = epoll_create1(0);
  struct epoll_event e = {EPOLLIN, {.u64 = 5}}, got;
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, s[0], &e) == 0);
  t = now();
  printf("epoll_wait: %d", epoll_wait(set, &got, 1, 100));
  printf(" after about its time: %d\n", now() - t > 0.09 && now() - t < 2);
  CHECK(write(s[1], "xy", 2) == 2);
  printf("epoll_wait: %d", epoll_wait(set, &got, 1, -1));
  printf(" data %d, poll: %d", (int)got.data.u64, poll(&p, 1, -1));
  printf(" revents %d\n", p.revents);
  int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec when = {{0, 0}, {0, 50000000}};
  CHECK(timerfd_settime(timer, 0, &when, NULL) == 0);
  uint64_t count = 0;
  printf("timerfd: %zd", read(timer, &count, sizeof count));
  printf(" %d\n", (int)count);
  printf("bad: %d", read(-1, &c, 1) == -1 && errno == EBADF);
  printf(" %d", send(1, &c, 1, 0) == -1 && errno == ENOTSOCK);
  printf(" %d\n", accept(s[0], NULL, NULL) == -1 && errno == EINVAL);
  signal(SIGPIPE, SIG_IGN);
  close(s[1]);
  printf("gone: %d %d\n", (int)read(s[0], &c, 1), (int)read(s[0], &c, 1));
  printf("EPIPE: %d\n", write(s[0], &c, 1) == -1 && errno == EPIPE);
}

// --- A number is closed or replaced under a reader: it goes on with its file

static void* receiveText(void* arg) {
  char* text = calloc(1, 32);
  ssize_t n = recv(*(int*)arg, text, 31, 0);
  return n < 0 ? (void*)0 : text;
}

static void replaced(void) {
  for (int way = 0; way < 5; way++) {
    int first[2], second[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, first) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, second) == 0);
    int number = first[0];
    pthread_t t = start(receiveText, &number), u = start(receiveText, &number);
    usleep(200000);
    if (way == 0) {
      close(first[0]);
      CHECK(dup(second[0]) == number);
    } else if (way == 1) {
      CHECK(dup2(second[0], number) == number);
    } else if (way == 2) {
      close(first[0]);
    } else if (way == 3) {
      CHECK(close_range((unsigned)number, (unsigned)number, 0) == 0);
    } else {
      CHECK(fclose(fdopen(number, "r")) == 0);
    }
    CHECK(write(second[1], "of the second", 13) == 13);
    CHECK(write(first[1], "of the first", 12) == 12);
    usleep(20000);
    CHECK(write(first[1], "of the first", 12) == 12);
    char *a = join(t), *b = join(u);
    printf("%s, %s\n", a != NULL ? a : "?", b != NULL ? b : "?");
    char text[32] = {0};
    if (way < 2) CHECK(read(number, text, 31) == 13);
    printf("and then: %s\n", text);
    if (way < 2) close(number);
    close(first[1]);
    close(second[0]);
    close(second[1]);
  }
}

// --- Cancelled in a call

static int cleaned;
static void clean(void* arg) {
  (void)arg;
  cleaned++;
}
static void* toBeCancelled(void* arg) {
  pthread_cleanup_push(clean, NULL);
  char c;
  switch ((intptr_t)arg) {
    case 0: CHECK(read(fds[0], &c, 1) == 1); break;
    case 1: CHECK(recv(fds[0], &c, 1, 0) == 1); break;
    case 2: {
      struct pollfd p = {fds[0], POLLIN, 0};
      CHECK(poll(&p, 1, -1) == 1);
      break;
    }
    default: CHECK(accept(fds[0], NULL, NULL) >= 0);
  }
  pthread_cleanup_pop(0);
  return NULL;
}

static void cancelled(void) {
  for (intptr_t i = 0; i < 200; i++) {
    int s[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    fds[0] = s[0];
    int l = -1;
    if (i % 4 == 3) {
      l = fds[0] = socket(AF_INET, SOCK_STREAM, 0);
      CHECK(listen(l, 3) == 0);
    }
    pthread_t t = start(toBeCancelled, (void*)(i % 4));
    if (i % 2 == 0) usleep(2000);
    CHECK(pthread_cancel(t) == 0);
    CHECK(join(t) == PTHREAD_CANCELED);
    close(s[0]);
    close(s[1]);
    if (l >= 0) close(l);
  }
  printf("cleaned up: %d\n", cleaned > 10);
}

// --- Processes

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

static void processes(void) {
  CHECK(pipe(fds) == 0);
  pthread_t t = start(readOne, NULL);
  playPingPong();
  for (int i = 0; i < 10; i++) {
    pid_t child = i % 2 == 0 ? fork() : vfork();
    CHECK(child >= 0);
    if (child == 0 && i % 2 != 0) {
      close(fds[0]);
      dup2(1, 77);
      execlp("true", "true", NULL);
      _exit(9);
    }
    if (child == 0) {
      playPingPong();
      _exit(7);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == (i % 2 == 0 ? 7 : 0));
    playPingPong();
  }
  CHECK(write(fds[1], "Z", 1) == 1);
  printf("reader got %c\n", (int)(intptr_t)join(t));
}

// A daemon's loop over all numbers, which must not take the netpoller's.
static void closeAll(void) {
  join(start(nothing, NULL));
  playPingPong();
  for (int i = 3; i < 3000; i++) close(i);
  playPingPong();
  CHECK(close_range(3, 4000, 0) == 0);
  playPingPong();
  for (int i = 500; i < 530; i++) dup2(1, i);
  playPingPong();
  puts("goes on");
}

// --- Servers: accept, many connections that come and go

static void* serveOne(void* arg) {
  int fd = (int)(intptr_t)arg;
  char buffer[512];
  ssize_t n;
  while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0) CHECK(send(fd, buffer, (size_t)n, 0) == n);
  close(fd);
  return NULL;
}
static struct sockaddr_in server;
static void* acceptOne(void* arg) {
  (void)arg;
  return (void*)(intptr_t)accept(fds[0], NULL, NULL);
}
static void* sendMany(void* arg) {
  for (int i = 0; i < 400; i++) {
    char c = (char)i;
    CHECK(send(fds[1], &c, 1, 0) == 1);
  }
  return arg;
}
static void* serve(void* arg) {
  int l = *(int*)arg;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  for (;;) {
    int fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return NULL;
    pthread_t t;
    CHECK(pthread_create(&t, &attr, serveOne, (void*)(intptr_t)fd) == 0);
  }
}
static void* client(void* arg) {
  double* end = arg;
  long trips = 0;
  uint64_t random = (uint64_t)(uintptr_t)&trips;
  while (now() < *end) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr*)&server, sizeof server) == 0);
    for (int i = 0; i < 20; i++) {
      unsigned char out[300], in[300];
      size_t n = 1 + nextRandom(&random) % sizeof out, got = 0;
      fill(out, n, (unsigned)trips);
      CHECK(send(fd, out, n, 0) == (ssize_t)n);
      while (got < n) {
        ssize_t r = recv(fd, in + got, n - got, 0);
        CHECK(r > 0);
        got += (size_t)r;
      }
      CHECK(isFilled(in, n, (unsigned)trips));
      trips++;
    }
    close(fd);
  }
  return (void*)trips;
}
static void servers(double seconds) {
  int l = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t n = sizeof server;
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(l, (struct sockaddr*)&server, n) == 0 && listen(l, 100) == 0);
  CHECK(getsockname(l, (struct sockaddr*)&server, &n) == 0);
  pthread_t a = start(serve, &l), b = start(serve, &l), clients[24];
  double end = now() + seconds;
  for (int i = 0; i < 24; i++) clients[i] = start(client, &end);
  long trips = 0;
  for (int i = 0; i < 24; i++) trips += (long)join(clients[i]);
  shutdown(l, SHUT_RDWR);
  join(a);
  join(b);
  printf("served: %d\n", trips > 1000);
}

// --- What is answered at once, and what must not be read before the kernel has looked at it

static void odd(void) {
  int pair[2], p[2], u = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(p) == 0);
  printf("accept on no listener: %d", accept(pair[0], NULL, NULL) < 0 && errno == EINVAL);
  printf(" %d", accept(u, NULL, NULL) < 0 && errno == EOPNOTSUPP);
  printf(" %d\n", accept(p[0], NULL, NULL) < 0 && errno == ENOTSOCK);
  struct iovec* volatile nowhere = (struct iovec*)16;  // volatile: gcc knows that it is nowhere
  volatile int many_pieces = 2000000;
  printf("bad arrays: %d", readv(p[0], nowhere, 2) < 0 && errno == EFAULT);
  printf(" %d", writev(pair[0], nowhere, 2) < 0 && errno == EFAULT);
  struct msghdr m = {0};
  m.msg_iov = nowhere;
  m.msg_iovlen = 2;
  printf(" %d", sendmsg(pair[0], &m, 0) < 0 && errno == EFAULT);
  struct iovec v[2] = {{NULL, 0}, {NULL, 0}};
  printf(" %d", readv(p[0], v, many_pieces) < 0 && errno == EINVAL);
  printf(" nothing: %zd %zd\n", readv(pair[0], v, 2), writev(pair[0], v, 2));
  // O_NONBLOCK belongs to the file, whatever number it is set through.
  fds[0] = pair[0];
  pthread_t t = start(readOne, NULL);
  usleep(30000);
  CHECK(write(pair[1], "B", 1) == 1);
  printf("read %d", (int)(intptr_t)join(t));
  int other = dup(pair[0]);
  CHECK(fcntl(other, F_SETFL, O_NONBLOCK) == 0);
  printf(" then %d\n", (int)(intptr_t)join(start(readOne, NULL)) == -EAGAIN);
  // A listener that is closed while somebody accepts still gets its connection.
  int l = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t n = sizeof server;
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(l, (struct sockaddr*)&server, n) == 0 && listen(l, 5) == 0);
  CHECK(getsockname(l, (struct sockaddr*)&server, &n) == 0);
  fds[0] = l;
  t = start(acceptOne, NULL);
  usleep(200000);
  close(l);
  int c = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(c, (struct sockaddr*)&server, sizeof server) == 0);
  printf("accepted: %d\n", (int)(intptr_t)join(t) >= 0);
  // A full queue of datagrams, and a reader that comes later.
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
  fds[0] = pair[0];
  fds[1] = pair[1];
  t = start(sendMany, NULL);
  usleep(200000);
  char message[8];
  long sum = 0;
  for (int i = 0; i < 400; i++) {
    CHECK(recv(pair[0], message, sizeof message, 0) == 1);
    sum += (unsigned char)message[0];
  }
  join(t);
  printf("datagrams: %ld\n", sum);
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  const char* what = argc > 1 ? argv[1] : "";
  double seconds = argc > 2 ? atof(argv[2]) : 1;
  join(start(nothing, NULL));
  if (strcmp(what, "streams") == 0) {
    streams(seconds);
  } else if (strcmp(what, "interrupted") == 0) {
    interrupted();
  } else if (strcmp(what, "timed") == 0) {
    timed();
  } else if (strcmp(what, "replaced") == 0) {
    replaced();
  } else if (strcmp(what, "cancelled") == 0) {
    cancelled();
  } else if (strcmp(what, "processes") == 0) {
    processes();
  } else if (strcmp(what, "close-all") == 0) {
    closeAll();
  } else if (strcmp(what, "odd") == 0) {
    odd();
  } else if (strcmp(what, "servers") == 0) {
    servers(seconds);
  } else {
    return 2;
  }
  return 0;
}
