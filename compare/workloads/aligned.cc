// A mix of posix_memalign and malloc: cache lines, SIMD vectors, pages and a few 64 KiB alignments,
// among ordinary blocks. Models numeric code and storage engines. Measures the aligned path and
// what it wastes (peak RSS against live bytes); every address is checked for its alignment.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kOperations = 1'500'000;
constexpr size_t kThreads = 2;
constexpr size_t kSlots = 3'000;

Block allocateAligned(size_t alignment, size_t size) {
  void* data = nullptr;
  require(posix_memalign(&data, alignment, size) == 0, "posix_memalign failed");
  require(reinterpret_cast<uintptr_t>(data) % alignment == 0, "posix_memalign: wrong alignment");
  const Block block{static_cast<unsigned char*>(data), size};
  stamp(block);
  return block;
}

Block next(Random* random) {
  const size_t die = random->between(1, 1'000);
  if (die <= 300) return allocate(random->logBetween(16, 4'096));
  if (die <= 600) return allocateAligned(64, random->logBetween(16, 4'096));
  if (die <= 850) return allocateAligned(32, random->between(32, 1'024));
  if (die <= 950) return allocateAligned(512, 512 * random->between(1, 8));
  if (die <= 998) return allocateAligned(4'096, 4'096 * random->between(1, 4));
  return allocateAligned(64 * kKiB, 64 * kKiB);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t operations = scaled(kOperations, scaleOf(argc, argv));
  std::atomic<size_t> live{0};
  std::atomic<size_t> resident_end{0};
  const double start = now();
  runThreads(kThreads, [&](size_t index) {
    Random random(index + 1);
    std::vector<Block> slots(kSlots);
    for (size_t i = 0; i < operations; i++) {
      Block& slot = slots[random.next() % kSlots];
      if (slot.data != nullptr) release(slot);
      slot = next(&random);
    }
    resident_end.store(residentKiB());
    for (const Block& slot : slots) {
      live += slot.size;
      if (slot.data != nullptr) release(slot);
    }
  });
  const double seconds = now() - start;
  return Results("aligned")
      .add("ops", operations * kThreads)
      .add("seconds", seconds)
      .add("live_bytes", live.load())
      .add("rss_end_kib", resident_end.load())
      .finish();
}
