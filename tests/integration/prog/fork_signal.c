// One thread, which a timer interrupts in the midst of malloc and free; the handler forks. The
// child comes back from the handler into the interrupted call, works on and ends; so does the
// parent.
#include <errno.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "check.h"

static volatile sig_atomic_t forks, is_child;

static void onTimer(int number) {
  (void)number;
  int saved = errno;
  if (!is_child && forks < 80) {
    pid_t pid = fork();
    if (pid == 0) {
      is_child = 1;
      struct itimerval off = {{0, 0}, {0, 0}};
      setitimer(ITIMER_REAL, &off, NULL);
      alarm(20);
      if (forks % 2 == 0) _exit(3);
    } else if (pid > 0) {
      forks++;
    } else {
      _exit(9);
    }
  }
  errno = saved;
}

int main(void) {
  static char* p[1000];
  static size_t n[1000];
  uint64_t seed = 12;
  struct sigaction act = {.sa_handler = onTimer, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &act, NULL);
  struct itimerval every = {{0, 700}, {0, 700}};
  setitimer(ITIMER_REAL, &every, NULL);
  int left = 6000, ended = 0;
  while (forks < 80 || ended < 80) {
    for (int i = 0; i < 200; i++) {
      int k = (int)(nextRandom(&seed) % 1000);
      if (p[k] != NULL) CHECK(isFilled(p[k], n[k], (unsigned)k));
      free(p[k]);
      n[k] = i % 50 == 0 ? 100000 : randomSize(&seed);
      p[k] = malloc(n[k]);
      CHECK(p[k] != NULL);
      fill(p[k], n[k], (unsigned)k);
    }
    if (is_child) {
      signal(SIGALRM, SIG_DFL);
      if ((left -= 200) <= 0) _exit(3);
      continue;
    }
    int status;
    while (ended < forks && waitpid(-1, &status, WNOHANG) > 0) {
      CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
      ended++;
    }
  }
  printf("%d children\n", ended);
  return 0;
}
