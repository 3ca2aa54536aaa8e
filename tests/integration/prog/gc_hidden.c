/* Blocks whose addresses no collector can know (XOR) are freed after some cycles, during which,
   with GRAFT_GC=reclaim, they were given back. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../preload/graft.h"
#include "check.h"

enum { kMany = 100 };

static uintptr_t hidden[kMany];
static const uintptr_t kMask = 0x5555555555555555u;

static __attribute__((noinline)) void hide(void) {
  for (int i = 0; i < kMany; i++) {
    char* p = malloc(i < kMany / 2 ? 64 : 100000);
    memset(p, 7, 64);
    hidden[i] = (uintptr_t)p ^ kMask;
  }
}

static __attribute__((noinline)) void wipe(void) {
  volatile char junk[16384];
  memset((void*)junk, 0, sizeof junk);
}

int main(void) {
  hide();
  wipe();
  CHECK(graft_gc);
  for (int i = 0; i < 4; i++) CHECK(graft_gc() == 0);
  for (int i = 0; i < kMany; i++) free((void*)(hidden[i] ^ kMask));
  puts("freed");
  return 0;
}
