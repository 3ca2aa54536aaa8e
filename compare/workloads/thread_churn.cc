// Thousands of short threads, two at a time: each allocates some blocks, frees most of them and
// leaves the rest to later threads. Models servers with a thread per connection. Measures what a
// thread costs a malloc at its start and end, and whether what ended threads leave behind is used
// again: RSS at the end, when nothing but the last threads' blocks is live.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kThreads = 16'000;
constexpr size_t kLanes = 2;
constexpr size_t kBlocks = 400;  // per thread
constexpr size_t kLeft = 50;     // of these, to the next thread but one
constexpr size_t kLargest = 2'048;

struct Lane {
  uint64_t seed = 0;
  std::vector<Block> mine;
  // What threads of this lane left: this one reads [turn], which is from two threads ago, and
  // writes it.
  std::vector<Block> left[2];
  size_t turn = 0;
};

void* shortThread(void* argument) {
  auto* lane = static_cast<Lane*>(argument);
  Random random(lane->seed++);
  std::vector<Block>& left = lane->left[lane->turn++ % 2];
  for (size_t i = 0; i < kBlocks; i++) {
    lane->mine[i] = allocate(random.logBetween(kSmallest, kLargest));
    if (i < kLeft && left[i].data != nullptr) release(left[i]);
  }
  for (size_t i = 0; i < kLeft; i++) left[i] = lane->mine[i];
  for (size_t i = kLeft; i < kBlocks; i++) release(lane->mine[i]);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t threads = scaled(kThreads, scaleOf(argc, argv));
  std::vector<Lane> lanes(kLanes);
  for (size_t i = 0; i < kLanes; i++) {
    lanes[i].seed = (i + 1) << 32;
    lanes[i].mine.resize(kBlocks);
    for (std::vector<Block>& left : lanes[i].left) left.resize(kLeft);
  }
  const double start = now();
  runThreads(kLanes, [&](size_t index) {
    for (size_t i = 0; i < threads / kLanes; i++) {
      joinThread(startThread(shortThread, &lanes[index]));
    }
  });
  const double seconds = now() - start;
  const size_t resident_end = residentKiB();
  for (Lane& lane : lanes) {
    for (const std::vector<Block>& left : lane.left) {
      for (const Block& block : left) {
        if (block.data != nullptr) release(block);
      }
    }
  }
  return Results("thread_churn")
      .add("ops", threads / kLanes * kLanes)
      .add("seconds", seconds)
      .add("rss_end_kib", resident_end)
      .finish();
}
