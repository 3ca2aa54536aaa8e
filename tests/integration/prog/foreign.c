// Blocks that graft did not hand out, given to free, realloc and malloc_usable_size: from the C
// library itself, from a second C library in another namespace, and from a library opened with
// DEEPBIND.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>

#include "check.h"

typedef char* (*Dup)(const char*);

static void fromLibc(void) {
  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  CHECK(libc != NULL);
  void* (*real)(size_t) = (void* (*)(size_t))dlsym(libc, "malloc");
  void* (*real_calloc)(size_t, size_t) = (void* (*)(size_t, size_t))dlsym(libc, "calloc");
  void* (*real_memalign)(size_t, size_t) = (void* (*)(size_t, size_t))dlsym(libc, "memalign");
  for (size_t n = 1; n < 3000000; n = n * 3 + 1) {
    char* p = real(n);
    fill(p, n, 1);
    CHECK(malloc_usable_size(p) >= n);
    p = realloc(p, n * 2);  // stays with whoever made it, or moves; the bytes stay
    CHECK(p != NULL && isFilled(p, n, 1) && malloc_usable_size(p) >= n * 2);
    p = realloc(p, n);
    CHECK(p != NULL && isFilled(p, n, 1));
    free(p);
    free(real_calloc(n, 2));
    free(real_memalign(256, n));
    CHECK(realloc(real(n), 0) == NULL);
    p = reallocarray(real(n), 2, n);
    CHECK(p != NULL && malloc_usable_size(p) >= n * 2);
    free(p);
  }
}

static void fromNamespace(const char* path) {
  void* lib = dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
  if (lib == NULL) printf("%s\n", dlerror());
  CHECK(lib != NULL);
  Dup dup = (Dup)dlsym(lib, "dupText");
  CHECK(dup != NULL);
  for (int i = 0; i < 5; i++) {  // few enough for glibc's thread cache, which does not look closely
    char* s = dup("a text that came from another C library");
    CHECK(strcmp(s, "a text that came from another C library") == 0);
    free(s);
  }
}

static void fromDeepbind(const char* path) {
  void* lib = dlopen(path, RTLD_NOW | RTLD_DEEPBIND);
  CHECK(lib != NULL);
  Dup dup = (Dup)dlsym(lib, "dupText");
  Dup adopt = (Dup)dlsym(lib, "replaceText");
  for (int i = 0; i < 1000; i++) {
    char* s = dup("a text from a library that binds deeply");
    CHECK(strlen(s) == 39);
    free(s);
    free(adopt(strdup("freed by the library, not by us")));
  }
  CHECK(dlclose(lib) == 0);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  if (strcmp(argv[1], "libc") == 0) fromLibc();
  if (strcmp(argv[1], "namespace") == 0) fromNamespace(argv[2]);
  if (strcmp(argv[1], "deepbind") == 0) fromDeepbind(argv[2]);
  puts("ok");
  return 0;
}
