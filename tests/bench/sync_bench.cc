// What the synchronisation objects cost between Gs, in process and without exports: a mutex nobody
// wants, one that four Gs want, hand-overs by condition variable and by semaphore, a barrier of
// eight. Run by hand with the number of Ps; prints nanoseconds per operation, best of five.
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/per_op.h"
#include "tests/unit/sync/gs.h"

using namespace graft;
using namespace graft::shims;
using graft::bench::perOp;

namespace {

constexpr uint32_t kTurns = 200000, kLongTurns = 10 * kTurns;

struct Shared {
  pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t c[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};
  sem_t sem[2];
  pthread_barrier_t barrier;
  uint32_t turn = 0;
  uint64_t n = 0;
  Count done;
} o;

void together(uint32_t gs, void (*body)(void*)) {
  o.done.n = 0;
  for (uintptr_t i = 0; i < gs; i++) sched::go(body, reinterpret_cast<void*>(i));
  o.done.waitFor(gs);
}

void contend(void*) {
  for (uint32_t i = 0; i < kLongTurns; i++) {  // long enough for all to be at it at once
    lock(&o.m);
    o.n++;
    unlock(&o.m);
  }
  o.done.add();
}

void handOver(void* arg) {
  uint32_t me = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(arg));
  for (uint32_t i = 0; i < kTurns; i++) {
    lock(&o.m);
    while (o.turn != me) condWait(s, &o.c[me], &o.m);
    o.turn = 1 - me;
    condSignal(s, &o.c[1 - me]);
    unlock(&o.m);
  }
  o.done.add();
}

void pass(void* arg) {
  uintptr_t me = reinterpret_cast<uintptr_t>(arg);
  for (uint32_t i = 0; i < kTurns; i++) {
    semWait(s, &o.sem[me], {});
    semPost(s, &o.sem[1 - me]);
  }
  o.done.add();
}

void meet(void*) {
  for (uint32_t i = 0; i < kTurns / 8; i++) barrierWait(s, &o.barrier);
  o.done.add();
}

}  // namespace

int main(int argc, char** argv) {
  uint32_t procs = argc > 1 ? static_cast<uint32_t>(atoi(argv[1])) : 2;
  if (!sched::startScheduler(withBlocks(procs))) return 77;
  __libc_single_threaded = 0;
  sem_init(&o.sem[0], 0, 1);
  sem_init(&o.sem[1], 0, 0);
  pthread_barrier_init(&o.barrier, nullptr, 8);
  double alone = perOp(kTurns, [] {
    for (uint32_t i = 0; i < kTurns; i++) {
      lock(&o.m);
      unlock(&o.m);
    }
  });
  double contended = perOp(4 * kLongTurns, [] { together(4, contend); });
  double cond = perOp(2 * kTurns, [] { together(2, handOver); });
  double sem = perOp(2 * kTurns, [] { together(2, pass); });
  double barrier = perOp(kTurns, [] { together(8, meet); });
  printf("%u P: mutex %.1f, contended x4 %.1f, cond hand-over %.0f, sem %.0f, barrier %.0f ns\n",
         procs, alone, contended, cond, sem, barrier);
  return 0;
}
