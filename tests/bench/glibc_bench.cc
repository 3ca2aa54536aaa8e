// What a thread identity costs: making one (recycled and fresh), its whole life with two switches,
// and the bare switch with and without a change of the FS base. By hand; the runner's own malloc.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <vector>

#include "core/os/switch.h"
#include "shims/glibc/facts.h"
#include "shims/glibc/thread_block.h"

namespace graft::glibc {
namespace {

struct Pair {
  os::Context outside{};
  os::Context inside{};
  ThreadBlock* block = nullptr;
  bool fs = true;
};

void* nothing(void*) { return nullptr; }

void live(void* arg) {
  Pair& p = *static_cast<Pair*>(arg);
  run(p.block);
  finish(p.block);
  os::graft_switch(&p.inside, &p.outside);
}

void bounce(void* arg) {
  Pair& p = *static_cast<Pair*>(arg);
  while (true) os::graft_switch(&p.inside, &p.outside);
}

void start(Pair& p, void (*entry)(void*), size_t stack_size) {
  ThreadSpec spec;
  spec.fn = nothing;
  spec.stack_size = stack_size;
  spec.tid = 0x10000000;
  if (create(spec, &p.block) != 0) abort();
  p.inside.fs = p.block->fs_base;
  os::makeContext(&p.inside, reinterpret_cast<void*>(p.block->stack_low),
                  p.block->stack_high - p.block->stack_low, entry, &p);
}

void wholeLife(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  Pair p;
  p.outside.fs = static_cast<uintptr_t>(pthread_self());
  for (auto _ : state) {
    start(p, live, size_t{8} << 20);
    os::graft_switch(&p.outside, &p.inside);
    release(p.block);
  }
}
BENCHMARK(wholeLife);

// The same for many at once, so that none is recycled while it is warm.
void batch(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  std::vector<Pair> all(static_cast<size_t>(state.range(0)));
  for (Pair& p : all) p.outside.fs = static_cast<uintptr_t>(pthread_self());
  for (auto _ : state) {
    for (Pair& p : all) start(p, live, size_t{8} << 20);
    for (Pair& p : all) {
      os::graft_switch(&p.outside, &p.inside);
      release(p.block);
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(batch)->Arg(1000);

// create() alone on a recycled block; finish() on the side, for it needs the thread's own FS base.
void createRecycled(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  Pair p;
  p.outside.fs = static_cast<uintptr_t>(pthread_self());
  for (auto _ : state) {
    state.PauseTiming();
    state.ResumeTiming();
    start(p, live, size_t{8} << 20);
    state.PauseTiming();
    os::graft_switch(&p.outside, &p.inside);
    release(p.block);
    state.ResumeTiming();
  }
}
BENCHMARK(createRecycled)->Iterations(200000);

void switchThereAndBack(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  Pair p;
  start(p, bounce, 65536);
  p.outside.fs = state.range(0) != 0 ? static_cast<uintptr_t>(pthread_self()) : 0;
  if (state.range(0) == 0) p.inside.fs = 0;
  for (auto _ : state) os::graft_switch(&p.outside, &p.inside);
}
BENCHMARK(switchThereAndBack)->Arg(0)->Arg(1);

}  // namespace
}  // namespace graft::glibc
