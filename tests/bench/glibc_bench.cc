// What a thread identity costs: making one (recycled and fresh), its whole life with two switches,
// and the bare switch with and without a change of the FS base. By hand. malloc is a stand-in for
// graft's, which keeps nothing per thread: glibc's makes a cache for each new thread and, since its
// own end-of-thread function is not exported, would lose it each time.
#include <benchmark/benchmark.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <vector>

#include "core/os/switch.h"
#include "shims/glibc/facts.h"
#include "shims/glibc/thread_block.h"

// One free list per power of two; single-threaded as the benchmarks are (the real thread of the
// calibration runs while the starter waits).
namespace {
struct Block {
  size_t shift;
  Block* next;
};
Block* free_blocks[48];
char* fresh = nullptr;
char* fresh_end = nullptr;
}  // namespace

extern "C" {
void* malloc(size_t n) {
  size_t shift = 64 - static_cast<size_t>(__builtin_clzl(n + sizeof(Block) - 1));
  Block* b = free_blocks[shift];
  if (b != nullptr) {
    free_blocks[shift] = b->next;
    return b + 1;
  }
  size_t bytes = size_t{1} << shift;
  if (fresh + bytes > fresh_end) {
    size_t more = bytes > (size_t{64} << 20) ? bytes : size_t{64} << 20;
    fresh = static_cast<char*>(
        mmap(nullptr, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    fresh_end = fresh + more;
  }
  b = reinterpret_cast<Block*>(fresh);
  fresh += bytes;
  b->shift = shift;
  return b + 1;
}
void free(void* p) {
  if (p == nullptr) return;
  Block* b = static_cast<Block*>(p) - 1;
  b->next = free_blocks[b->shift];
  free_blocks[b->shift] = b;
}
void* calloc(size_t n, size_t size) { return memset(malloc(n * size), 0, n * size); }
void* realloc(void* p, size_t n) {
  void* to = malloc(n);
  if (p != nullptr) {
    size_t had = (size_t{1} << (static_cast<Block*>(p) - 1)->shift) - sizeof(Block);
    memcpy(to, p, had < n ? had : n);
    free(p);
  }
  return to;
}
}

namespace graft::glibc {
namespace {

struct Pair {
  os::Home outside{};
  os::Context inside{};
  ThreadBlock* block = nullptr;
  bool fs = true;
};

void* nothing(void*) { return nullptr; }

void live(void* arg) {
  Pair& p = *static_cast<Pair*>(arg);
  run(p.block);
  finish(p.block);
  os::graft_leave(&p.inside, &p.outside);
}

void bounce(void* arg) {
  Pair& p = *static_cast<Pair*>(arg);
  while (true) os::graft_leave(&p.inside, &p.outside);
}

void start(Pair& p, void (*entry)(void*), size_t stack_size) {
  ThreadSpec spec;
  spec.fn = nothing;
  spec.stack_size = stack_size;
  spec.tid = 0x10000000;
  if (create(spec, &p.block) != 0) abort();
  os::beginHome(&p.outside);
  p.inside.fs = p.block->fs_base;
  os::makeContext(&p.inside, reinterpret_cast<void*>(p.block->stack_low),
                  p.block->stack_high - p.block->stack_low, entry, &p);
}

void wholeLife(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  Pair p;
  p.outside.at.fs = static_cast<uintptr_t>(pthread_self());
  for (auto _ : state) {
    start(p, live, size_t{8} << 20);
    os::graft_resume(&p.outside, &p.inside);
    release(p.block);
  }
}
BENCHMARK(wholeLife);

// The same for many at once, so that none is recycled while it is warm.
void batch(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  std::vector<Pair> all(static_cast<size_t>(state.range(0)));
  for (Pair& p : all) p.outside.at.fs = static_cast<uintptr_t>(pthread_self());
  for (auto _ : state) {
    for (Pair& p : all) start(p, live, size_t{8} << 20);
    for (Pair& p : all) {
      os::graft_resume(&p.outside, &p.inside);
      release(p.block);
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(batch)->Arg(1000);

// create() alone: blocks that were used before, in batches, so that the clock is read rarely.
void createRecycled(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  constexpr size_t kBatch = 16;
  std::vector<Pair> all(kBatch);
  for (Pair& p : all) p.outside.at.fs = static_cast<uintptr_t>(pthread_self());
  for (auto _ : state) {
    for (Pair& p : all) start(p, live, size_t{8} << 20);
    state.PauseTiming();
    for (Pair& p : all) {
      os::graft_resume(&p.outside, &p.inside);
      release(p.block);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kBatch));
}
BENCHMARK(createRecycled);

void switchThereAndBack(benchmark::State& state) {
  if (!calibrate()) return state.SkipWithError(whyNotCalibrated());
  Pair p;
  start(p, bounce, 65536);
  p.outside.at.fs = state.range(0) != 0 ? static_cast<uintptr_t>(pthread_self()) : 0;
  if (state.range(0) == 0) p.inside.fs = 0;
  for (auto _ : state) os::graft_resume(&p.outside, &p.inside);
}
BENCHMARK(switchThereAndBack)->Arg(0)->Arg(1);

}  // namespace
}  // namespace graft::glibc

BENCHMARK_MAIN();
