// A small ordinary program for the switches: allocates on two threads, prints what it was given,
// and on request runs another program, misuses the heap or writes to descriptor 2. `hello
// [WORD...]`
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/wait.h>

#include "check.h"

static void* work(void* seed) {
  uint64_t state = (uint64_t)(uintptr_t)seed;
  void* p[200] = {0};
  for (int i = 0; i < 5000; i++) {
    int k = (int)(nextRandom(&state) % 200);
    free(p[k]);
    p[k] = malloc(randomSize(&state));
    CHECK(p[k] != NULL);
  }
  for (int k = 0; k < 200; k++) free(p[k]);
  p[0] = malloc(2 << 20);  // grows, shrinks and goes, so that every capability has its turn
  memset(p[0], 1, 2 << 20);
  p[0] = realloc(p[0], 20 << 20);
  CHECK(p[0] != NULL && isFilled(p[0], 0, 1));
  free(p[0]);
  return NULL;
}

int main(int argc, char** argv) {
  work((void*)1);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, work, (void*)2) == 0 && pthread_join(t, NULL) == 0);
  printf("hello");
  for (int i = 1; i < argc; i++) {
    printf(" %s", argv[i]);
    fflush(stdout);
    if (strcmp(argv[i], "secure") == 0) {
      const char* preload = getenv("LD_PRELOAD");
      printf("=%lu %u %u %s", getauxval(AT_SECURE), getuid() != geteuid(), getuid() != 0,
             preload != NULL ? "preload" : "none");
    }
    if (strcmp(argv[i], "close2") == 0) close(2);
    if (strncmp(argv[i], "replace2=", 9) == 0) {
      int fd = open(argv[i] + 9, O_CREAT | O_RDWR | O_TRUNC, 0644);
      CHECK(fd >= 0 && dup2(fd, 2) == 2);
    }
    if (strncmp(argv[i], "open=", 5) == 0)
      printf(" fd %d", open(argv[i] + 5, O_CREAT | O_RDWR, 0644));
    if (strcmp(argv[i], "misuse") == 0) {
      char* p = malloc(100);
      free(p + 1);
      free(p);
    }
    if (strcmp(argv[i], "preload") == 0) {
      const char* preload = getenv("LD_PRELOAD");
      printf("=%s", preload != NULL ? preload : "unset");
      fflush(stdout);
      CHECK(system("echo \" child=${LD_PRELOAD-unset}\"") == 0);
    }
    if (strcmp(argv[i], "title") == 0) {  // what setproctitle of many servers does
      static char *copy[1000], *end;
      int n = 0;
      for (char** e = environ; *e != NULL && n < 999; e++) {
        end = *e + strlen(*e);
        copy[n++] = strdup(*e);
      }
      environ = copy;
      memset(argv[argc - 1], 'x', (size_t)(end - argv[argc - 1]));
      strcpy(argv[argc - 1], "a title");
    }
    if (strcmp(argv[i], "descriptors") == 0) {
      for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) printf(" %d", fd);
      }
    }
  }
  printf("\n");
  return 0;
}
