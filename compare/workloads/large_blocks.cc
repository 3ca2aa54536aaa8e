// Large blocks with lifetimes: 64 KiB to 16 MiB, even over the doublings, each living for a random
// number of further allocations, at most 256 MiB live. Models images, matrices, I/O buffers. Every
// page is written, so the time tells how often a malloc gives pages back that it needs again at
// once, and peak RSS against the live bytes how much it keeps instead.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kAllocations = 2'000;
constexpr size_t kThreads = 2;
constexpr size_t kSlots = 24;
constexpr size_t kSmallestLarge = 64 * kKiB;
constexpr size_t kLargest = 16 * kMiB;
constexpr size_t kMostLive = 128 * kMiB;  // per thread

}  // namespace

int main(int argc, char** argv) {
  const size_t allocations = scaled(kAllocations, scaleOf(argc, argv));
  const double start = now();
  runThreads(kThreads, [&](size_t index) {
    Random random(index + 1);
    std::vector<Block> slots(kSlots);
    size_t live = 0;
    const auto drop = [&](Block* slot) {
      if (slot->data == nullptr) return;
      live -= slot->size;
      release(*slot);
      *slot = {};
    };
    for (size_t i = 0; i < allocations; i++) {
      Block* slot = &slots[random.next() % kSlots];
      drop(slot);
      const size_t size = random.logBetween(kSmallestLarge, kLargest);
      while (live + size > kMostLive) drop(&slots[random.next() % kSlots]);
      *slot = allocate(size);
      live += size;
    }
    for (Block& slot : slots) drop(&slot);
  });
  const double seconds = now() - start;
  return Results("large_blocks")
      .add("ops", allocations * kThreads)
      .add("seconds", seconds)
      .add("rss_end_kib", residentKiB())
      .finish();
}
