// Ten thousand native threads that each malloc and free across each other: every thread exchanges
// its blocks with those that others left in a shared table and frees what it got. First in waves of
// 64, then in one wave of 2,000 threads that are all alive at the same time, with stacks of 64 KiB.
// Measures what a thread's cache costs: RSS while the large wave stands, and after it, beside the
// bytes that are live. A malloc with a cache per thread and no bound on it shows here.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kThreadsInWaves = 8'000;
constexpr size_t kWave = 64;
constexpr size_t kLargeWave = 2'000;
constexpr size_t kExchanges = 300;  // per thread
constexpr size_t kTable = 8'192;
constexpr size_t kLargest = 1'024;
constexpr size_t kStackBytes = 64 * kKiB;

// A block in the table carries its size in its second word, behind the stamp.
constexpr size_t kSmallestShared = 32;
std::atomic<unsigned char*> table[kTable];

unsigned char* share(const Block& block) {
  std::memcpy(block.data + sizeof(uint64_t), &block.size, sizeof block.size);
  return block.data;
}

size_t takeBack(unsigned char* data) {
  if (data == nullptr) return 0;
  Block block{data, 0};
  std::memcpy(&block.size, data + sizeof(uint64_t), sizeof block.size);
  release(block);
  return block.size;
}

void exchange(uint64_t seed, size_t exchanges) {
  Random random(seed);
  for (size_t i = 0; i < exchanges; i++) {
    unsigned char* mine = share(allocate(random.logBetween(kSmallestShared, kLargest)));
    takeBack(table[random.next() % kTable].exchange(mine, std::memory_order_acq_rel));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const unsigned scale = scaleOf(argc, argv);
  const size_t in_waves = scaled(kThreadsInWaves / kWave, scale) * kWave;
  const size_t large_wave = scaled(kLargeWave, scale < 100 ? scale : 100);
  const size_t resident_start = residentKiB();
  const double start = now();
  for (size_t first = 0; first < in_waves; first += kWave) {
    runThreads(kWave, [&](size_t i) { exchange(first + i + 1, kExchanges); }, kStackBytes);
  }
  const size_t resident_waves = residentKiB();

  // All exchange blocks, all stand still for the look at RSS, all exchange once more and end.
  pthread_barrier_t all;
  pthread_barrier_init(&all, nullptr, static_cast<unsigned>(large_wave));
  size_t resident_standing = 0;
  runThreads(
      large_wave,
      [&](size_t i) {
        exchange(in_waves + i + 1, kExchanges / 2);
        if (pthread_barrier_wait(&all) == PTHREAD_BARRIER_SERIAL_THREAD) {
          resident_standing = residentKiB();
        }
        pthread_barrier_wait(&all);
        exchange(2 * in_waves + i + 1, kExchanges / 2);
      },
      kStackBytes);
  const double seconds = now() - start;
  const size_t resident_end = residentKiB();
  size_t live = 0;
  for (std::atomic<unsigned char*>& slot : table) live += takeBack(slot.load());
  return Results("many_threads")
      .add("threads", in_waves + large_wave)
      .add("ops", in_waves * kExchanges + large_wave * (kExchanges / 2) * 2)
      .add("seconds", seconds)
      .add("live_bytes", live)
      .add("rss_start_kib", resident_start)
      .add("rss_waves_kib", resident_waves)
      .add("rss_standing_kib", resident_standing)
      .add("rss_end_kib", resident_end)
      .finish();
}
