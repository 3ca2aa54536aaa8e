// calloc in sizes from 16 bytes to 1 MiB beside malloc, in an array of slots. Models interpreters
// and C programs that clear by habit. Measures clearing: a malloc that knows which memory is fresh
// from the kernel need not touch it. A block of calloc is checked to be zero at every 64th byte,
// though what was there before had been written to.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kOperations = 1'200'000;
constexpr size_t kThreads = 2;
constexpr size_t kSlots = 1'500;

size_t nextSize(Random* random) {
  const size_t die = random->between(1, 1'000);
  if (die <= 900) return random->logBetween(16, 2'047);
  if (die <= 995) return random->logBetween(2 * kKiB, 32 * kKiB);
  return random->logBetween(64 * kKiB, kMiB);
}

Block allocateZeroed(size_t size) {
  const Block block{static_cast<unsigned char*>(calloc(1, size)), size};
  require(block.data != nullptr, "calloc returned null");
  unsigned char seen = block.data[size - 1];
  for (size_t at = 0; at < size; at += 64) seen |= block.data[at];
  require(seen == 0, "calloc returned memory that is not zero");
  return block;
}

// Leaves dirt wherever calloc's check looks.
void soil(const Block& block) {
  for (size_t at = 0; at < block.size; at += 64) block.data[at] = 0xa5;
  stamp(block);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t operations = scaled(kOperations, scaleOf(argc, argv));
  const double start = now();
  runThreads(kThreads, [&](size_t index) {
    Random random(index + 1);
    std::vector<Block> slots(kSlots);
    for (size_t i = 0; i < operations; i++) {
      Block& slot = slots[random.next() % kSlots];
      if (slot.data != nullptr) release(slot);
      const size_t size = nextSize(&random);
      slot = random.percent(70) ? allocateZeroed(size) : allocate(size);
      soil(slot);
    }
    for (const Block& slot : slots) {
      if (slot.data != nullptr) release(slot);
    }
  });
  const double seconds = now() - start;
  return Results("calloc_mix").add("ops", operations * kThreads).add("seconds", seconds).finish();
}
