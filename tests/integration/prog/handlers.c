/* What a program sees of its own handlers: signal() and its relatives with siginterrupt() before
 * and after, flags, masks and the handler that was there; and whether read() goes on or ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

typedef void (*handler)(int);
sighandler_t bsd_signal(int, sighandler_t);

static volatile sig_atomic_t calls;
static void first(int s) { (void)s, calls++; }
static void second(int s) { (void)s, calls += 100; }

static const char* name(handler h) {
  return h == SIG_DFL   ? "default"
         : h == SIG_IGN ? "ignore"
         : h == SIG_ERR ? "error"
         : h == first   ? "first"
         : h == second  ? "second"
                        : "?";
}

static void show(const char* what, int s) {
  struct sigaction a;
  memset(&a, 0, sizeof a);
  int got = sigaction(s, NULL, &a);
  printf("%s: %d %s flags %x mask", what, got, name(a.sa_handler), a.sa_flags & ~0x04000000);
  for (int i = 1; i < 65; i++)
    if (sigismember(&a.sa_mask, i) == 1) printf(" %d", i);
  printf("\n");
}

static void readOnce(const char* what) {
  int p[2];
  if (pipe(p) != 0) return;
  struct itimerval t = {{0, 40000}, {0, 40000}};
  calls = 0;
  setitimer(ITIMER_REAL, &t, NULL);
  char c = 0;
  struct timespec pause = {0, 150000000};
  pid_t writer = fork();
  if (writer == 0) {
    nanosleep(&pause, NULL);
    if (write(p[1], "x", 1) != 1) _exit(1);
    _exit(0);
  }
  close(p[1]);
  errno = 0;
  ssize_t n = read(p[0], &c, 1);
  int error = errno;
  memset(&t, 0, sizeof t);
  setitimer(ITIMER_REAL, &t, NULL);
  printf("%s: read %zd %s, handler %s\n", what, n, n < 0 ? strerror(error) : "-",
         calls > 0 ? "ran" : "did not run");
  close(p[0]);
}

static void* nothing(void* p) { return p; }

int main(int argc, char** argv) {
  pthread_t thread;
  if (argc > 1 && strcmp(argv[1], "threads") == 0) {
    pthread_create(&thread, NULL, nothing, NULL);
    pthread_join(thread, NULL);
  }
  printf("signal: %s\n", name(signal(SIGALRM, first)));
  show("signal", SIGALRM);
  readOnce("restart");
  printf("siginterrupt: %d\n", siginterrupt(SIGALRM, 1));
  show("after siginterrupt", SIGALRM);
  readOnce("interrupt");
  printf("signal again: %s\n", name(signal(SIGALRM, second)));
  show("signal after siginterrupt", SIGALRM);
  readOnce("still");
  printf("siginterrupt off: %d\n", siginterrupt(SIGALRM, 0));
  show("off", SIGALRM);
  readOnce("restart again");
  printf("bsd: %s\n", name(bsd_signal(SIGUSR1, first)));
  show("bsd", SIGUSR1);
  printf("sysv: %s\n", name(sysv_signal(SIGUSR1, second)));
  show("sysv", SIGUSR1);
  raise(SIGUSR1);
  show("sysv once", SIGUSR1);
  printf("ssignal: %s\n", name(ssignal(SIGUSR2, SIG_IGN)));
  printf("ignored: %s\n", name(signal(SIGUSR2, SIG_DFL)));
  errno = 0;
  printf("bad number: %s", name(signal(65, first)));
  printf(" %d", errno), errno = 0;
  printf(", kill: %s", name(signal(SIGKILL, first)));
  printf(" %d", errno), errno = 0;
  printf(", error: %s", name(signal(SIGUSR1, SIG_ERR)));
  printf(" %d\n", errno), errno = 0;
  printf("siginterrupt bad: %d", siginterrupt(65, 1));
  printf(" %d\n", errno);
  return 0;
}
