// Two threads that only allocate and one that only frees. Models a reclamation thread (deferred
// deletion, a reaper of finished requests). A malloc whose cache belongs to the freeing thread
// fills that cache without ever taking from it: RSS at the end, while at most a few thousand blocks
// are live, shows what the freeing thread hoards. It is read before that thread ends.
#include "ring.h"

using namespace workload;

namespace {

constexpr size_t kBlocksPerThread = 2'000'000;
constexpr size_t kAllocators = 2;
constexpr size_t kRingBatches = 64;

}  // namespace

int main(int argc, char** argv) {
  const size_t blocks = scaled(kBlocksPerThread, scaleOf(argc, argv));
  Ring ring(kRingBatches);
  std::atomic<size_t> allocators_left{kAllocators};
  size_t freed = 0;
  size_t resident_end = 0;
  const double start = now();
  runThreads(kAllocators + 1, [&](size_t index) {
    if (index < kAllocators) {
      Random random(index + 1);
      Outbox out(&ring);
      for (size_t i = 0; i < blocks; i++) {
        // The size grows and shrinks: what is hoarded of one class is of no use for the next one.
        const size_t base = size_t{16} << (i * 8 / blocks);
        out.add(allocate(random.between(base, 2 * base - 1)));
      }
      out.flush();
      if (allocators_left.fetch_sub(1) == 1) ring.close();
    } else {
      Batch batch;
      while (ring.get(&batch)) freed += releaseAll(batch);
      resident_end = residentKiB();
    }
  });
  const double seconds = now() - start;
  require(freed == blocks * kAllocators, "blocks were lost");
  return Results("free_only")
      .add("ops", freed)
      .add("seconds", seconds)
      .add("rss_end_kib", resident_end)
      .finish();
}
