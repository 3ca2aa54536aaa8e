// A preload of the usual kind: wraps malloc and free by dlsym(RTLD_NEXT), counts, and says at exit
// how many calls it saw if WRAPLOG is set. dlsym itself may allocate, which the small pool serves.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void* (*real_malloc)(size_t);
static void (*real_free)(void*);
static __thread int resolving;
static long mallocs, frees;
static char pool[8192];
static size_t used;

static void resolve(void) {
  resolving = 1;
  real_free = (void (*)(void*))dlsym(RTLD_NEXT, "free");
  real_malloc = (void* (*)(size_t))dlsym(RTLD_NEXT, "malloc");
  resolving = 0;
}

void* malloc(size_t n) {
  if (resolving) {
    void* p = pool + used;
    used += (n + 15) & ~(size_t)15;
    return p;
  }
  if (real_malloc == NULL) resolve();
  __atomic_fetch_add(&mallocs, 1, __ATOMIC_RELAXED);
  return real_malloc(n);
}

void free(void* p) {
  if ((uintptr_t)p - (uintptr_t)pool < sizeof pool) return;
  if (real_free == NULL) resolve();
  if (p != NULL) __atomic_fetch_add(&frees, 1, __ATOMIC_RELAXED);
  real_free(p);
}

__attribute__((destructor)) static void report(void) {
  if (getenv("WRAPLOG") != NULL) {
    dprintf(1, "wrapped %s\n", mallocs > 1000 && frees > 1000 ? "many" : "few");
  }
}
