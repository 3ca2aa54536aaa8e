// Waiting for one of several things, and for connections, as threaded programs do it: `gs_wait WHAT
// [SECONDS]` does one thing and prints what every implementation must print. Each must end the same
// way on kernel threads and on Gs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

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

static const struct {
  const char* name;
  void (*run)(void);
} all[] = {{"connecting", connecting}};

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
