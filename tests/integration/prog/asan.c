// Built with a sanitizer: ordinary work, and on request a heap overflow that the sanitizer must
// still find while graft is preloaded beside it.
#include "check.h"

int main(int argc, char** argv) {
  (void)argv;
  volatile char* p = malloc(100);
  p[0] = 1;
  if (argc > 1) p[100 + argc - 2] = 1;
  printf("ok %d\n", p[0]);
  free((void*)p);
  return 0;
}
