/* What a program may call of graft's. It is found in libgraft.so while that is preloaded, so
   declare it weak, as here, and ask whether it is there:  if (graft_gc) graft_gc();  */
#ifndef GRAFT_H
#define GRAFT_H

#ifdef __cplusplus
extern "C" {
#endif

/* Runs one cycle of the collector and waits for its end. 0: every object that can be reached was
   found; 1: something could not be looked at; -1: the collector is off (GRAFT_GC). */
int graft_gc(void) __attribute__((weak));

#ifdef __cplusplus
}
#endif

#endif
