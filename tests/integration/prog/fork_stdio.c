// The classic deadlock between fork, stdio's list of open files and malloc: threads in getline and
// fopen allocate, others call fflush(NULL), four fork at the same time. Ends after COUNT forks.
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>

#include "check.h"

static volatile int stop;
static const char* path;
static int per_thread, done;

static void* reader(void* unused) {
  (void)unused;
  while (!stop) {
    FILE* f = fopen(path, "r");
    CHECK(f != NULL);
    char* line = NULL;
    size_t room = 0;
    while (!stop && getline(&line, &room, f) > 0) {
      free(line);  // getline allocates anew under the file's lock
      line = NULL;
      room = 0;
    }
    free(line);
    fclose(f);
  }
  return NULL;
}

static void* flusher(void* unused) {
  (void)unused;
  while (!stop) {
    fflush(NULL);
    free(malloc(100));
  }
  return NULL;
}

static void* forker(void* unused) {
  (void)unused;
  for (int i = 0; i < per_thread; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      alarm(20);
      char* p = malloc(1000);
      CHECK(p != NULL);
      FILE* f = fopen(path, "r");
      CHECK(f != NULL && fgets(p, 1000, f) != NULL);
      fclose(f);
      free(p);
      _exit(3);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 3);
    __atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  path = argv[1];
  per_thread = atoi(argv[2]) / 4;
  pthread_t t[14];
  for (int i = 0; i < 8; i++) pthread_create(&t[i], NULL, reader, NULL);
  for (int i = 8; i < 10; i++) pthread_create(&t[i], NULL, flusher, NULL);
  for (int i = 10; i < 14; i++) pthread_create(&t[i], NULL, forker, NULL);
  for (int i = 10; i < 14; i++) pthread_join(t[i], NULL);
  stop = 1;
  for (int i = 0; i < 10; i++) pthread_join(t[i], NULL);
  printf("%d forks\n", done);
  return 0;
}
