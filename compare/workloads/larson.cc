// A server in the manner of Larson and Krishnan ("Memory allocation for long-running server
// applications", 1998): each thread replaces random blocks of its array of slots, then ends and
// leaves the slots with their blocks to a successor. Most blocks are so freed by a thread that did
// not allocate them, and what the caches of ended threads hold must be of use to the living. Unlike
// the original, the number of replacements is fixed and not the time.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kChains = 2;  // threads at work at the same time
constexpr size_t kSlots = 2'000;
constexpr size_t kGenerations = 40;
constexpr size_t kReplacements = 180'000;  // per generation
constexpr size_t kLargest = 1'000;

struct Chain {
  Random random{0};
  std::vector<Block> slots;
  size_t replacements = 0;
};

void* generation(void* argument) {
  auto* chain = static_cast<Chain*>(argument);
  for (size_t i = 0; i < chain->replacements; i++) {
    Block& slot = chain->slots[chain->random.next() % kSlots];
    release(slot);
    slot = allocate(chain->random.between(kSmallest, kLargest));
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t replacements = scaled(kReplacements, scaleOf(argc, argv));
  std::vector<Chain> chains(kChains);
  const double start = now();
  for (size_t i = 0; i < kChains; i++) {
    chains[i] = {Random(i + 1), std::vector<Block>(kSlots), replacements};
    for (Block& slot : chains[i].slots) {
      slot = allocate(chains[i].random.between(kSmallest, kLargest));
    }
  }
  // The thread that waits for each generation neither allocates nor frees.
  runThreads(kChains, [&](size_t index) {
    for (size_t i = 0; i < kGenerations; i++) joinThread(startThread(generation, &chains[index]));
  });
  const double seconds = now() - start;
  size_t live = 0;
  for (Chain& chain : chains) {
    for (Block& slot : chain.slots) {
      live += slot.size;
      release(slot);
    }
  }
  return Results("larson")
      .add("ops", kChains * kGenerations * replacements)
      .add("seconds", seconds)
      .add("live_bytes", live)
      .finish();
}
