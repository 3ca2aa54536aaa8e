// Many small sizes, freed in reverse: a stack of blocks that grows and shrinks by random bursts.
// Models recursion, parsers, interpreters. The best case of every thread cache: what differs is the
// length of the fast paths and what a burst deeper than the cache costs. Two threads, which share
// nothing; sizes 16 to 512 bytes.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kBlocksPerThread = 20'000'000;
constexpr size_t kThreads = 2;
constexpr size_t kDeepest = 8'192;
constexpr size_t kBurst = 512;

void churn(size_t blocks, uint64_t seed) {
  Random random(seed);
  std::vector<Block> stack(kDeepest);
  size_t depth = 0;
  size_t done = 0;
  while (done < blocks) {
    const size_t wanted = random.between(1, kBurst);
    const size_t up = wanted < kDeepest - depth ? wanted : kDeepest - depth;
    for (size_t i = 0; i < up; i++) stack[depth++] = allocate(random.between(kSmallest, 512));
    done += up;
    size_t down = random.between(1, kBurst);
    while (depth > 0 && down-- > 0) release(stack[--depth]);
  }
  while (depth > 0) release(stack[--depth]);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t blocks = scaled(kBlocksPerThread, scaleOf(argc, argv));
  const double start = now();
  runThreads(kThreads, [&](size_t index) { churn(blocks, index + 1); });
  const double seconds = now() - start;
  return Results("small_lifo").add("ops", blocks * kThreads).add("seconds", seconds).finish();
}
