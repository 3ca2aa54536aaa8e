// The marker against the slow reference for as long as is wanted: random heaps that change between
// cycles, one to four workers, grey buffers plenty or hardly any. The marked sets must be
// identical.
//
//   gc_stress [--seconds N] [--seed N] [--plant NAME]
//
// Exit status: 0 no difference; 1 one (a line says which). With --plant (only in the build with
// planted faults) status 1 is what the caller wants to see.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/base/plant.h"
#include "tests/stress/planted.h"
#include "tests/unit/gc/reference.h"

using namespace graft;

namespace {

int plantByName(const std::string& name) {
  if (name == "lost_grey") return static_cast<int>(base::Plant::kLostGrey);
  if (name == "interior_off_by_one") return static_cast<int>(base::Plant::kInteriorOffByOne);
  return 0;
}

// The first difference, or "".
std::string oneHeap(uint64_t seed, uint64_t& cycles) {
  heap::TestHeap heap;
  gc::RandomHeap random(*heap, seed);
  heap::Rng rng(seed);
  gc::MarkRun run;
  if (!run.ok()) return "no memory for the marker";
  if (rng.below(3) == 0) run.pool().limitForTest(1 + rng.below(8));
  random.grow(500 + rng.below(8000));
  for (int round = 0; round < 6; round++) {
    std::vector<uint64_t> roots = random.roots(1 + rng.below(100));
    std::set<Addr> expected = gc::reachable(*heap, roots);
    heap->beginCycle();
    heap->blackenCaches();
    run.mark(*heap, roots, 1 + static_cast<uint32_t>(rng.below(4)));
    std::string differs = random.compare(expected);
    if (!differs.empty()) return differs;
    gc::MarkRun::sweep(*heap);
    if (std::string broken = heap.broken(); !broken.empty()) return broken;
    cycles++;
    random.mutate();
    random.grow(rng.below(1000));
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 5, plant = 0;
  uint64_t seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string a = argv[i];
    if (a == "--seconds") seconds = atoi(argv[i + 1]);
    if (a == "--seed") seed = strtoull(argv[i + 1], nullptr, 10);
    if (a == "--plant") plant = plantByName(argv[i + 1]);
  }
#ifdef GRAFT_PLANTED
  if (plant != 0) {
    if (int code = test::underSupervision("gc_stress"); code >= 0) return code;
  }
  base::planted_fault.storeRelaxed(plant);
#else
  if (plant != 0) return fprintf(stderr, "gc_stress: built without planted faults\n"), 77;
#endif
  uint64_t cycles = 0;
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (; std::chrono::steady_clock::now() < end; seed++) {
    std::string differs = oneHeap(seed, cycles);
    if (differs.empty()) continue;
    fprintf(stderr, "gc_stress: FAIL: seed %llu: %s\n", static_cast<unsigned long long>(seed),
            differs.c_str());
    return 1;
  }
  printf("gc_stress: %llu cycles, no difference\n", static_cast<unsigned long long>(cycles));
  return 0;
}
