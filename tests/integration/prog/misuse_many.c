// Many bad frees in one run, on four threads (`misuse_many COUNT`), or a double free with a handler
// for SIGABRT that ends the program with status 7 (`misuse_many handler`).
#include <pthread.h>
#include <signal.h>

#include "check.h"

static void onAbort(int number) {
  (void)number;
  if (write(1, "handler\n", 8) != 8) _exit(1);
  _exit(7);
}

static void* misuse(void* count) {
  for (long i = 0; i < (long)(intptr_t)count; i++) {
    char* p = malloc((size_t)(16 + i * 40));
    if (i % 2 == 0) {
      free(p + 1);
      free(p);
    } else {
      free(p);
      free(p);
    }
  }
  return NULL;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  if (strcmp(argv[1], "handler") == 0) {
    signal(SIGABRT, onAbort);
    void* p = malloc(100);
    free(p);
    free(p);
    return 0;
  }
  pthread_t t[4];
  for (int i = 0; i < 4; i++)
    pthread_create(&t[i], NULL, misuse, (void*)(intptr_t)(atol(argv[1]) / 4));
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  puts("survived");
  return 0;
}
