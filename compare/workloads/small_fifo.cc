// Many small sizes, freed in the order of allocation: a queue of a few thousand blocks slides
// along. Models event queues and logs. The block that malloc hands out is never the one that was
// freed last, so free lists are walked in full and every block comes out of the cold end of the
// cache. Two threads, which share nothing; sizes 16 to 512 bytes.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kBlocksPerThread = 15'000'000;
constexpr size_t kThreads = 2;
constexpr size_t kQueue = 4'096;

}  // namespace

int main(int argc, char** argv) {
  const size_t blocks = scaled(kBlocksPerThread, scaleOf(argc, argv));
  const double start = now();
  runThreads(kThreads, [&](size_t index) {
    Random random(index + 1);
    std::vector<Block> queue(kQueue);
    for (size_t i = 0; i < blocks; i++) {
      Block& oldest = queue[i % kQueue];
      if (oldest.data != nullptr) release(oldest);
      oldest = allocate(random.between(kSmallest, 512));
    }
    for (const Block& block : queue) {
      if (block.data != nullptr) release(block);
    }
  });
  const double seconds = now() - start;
  return Results("small_fifo").add("ops", blocks * kThreads).add("seconds", seconds).finish();
}
