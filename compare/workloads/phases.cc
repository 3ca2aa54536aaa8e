// A service whose object sizes shift: two workers go through six phases, each with sizes of its own
// and a peak of live data, followed by an idle tail in which both sleep and only a few objects
// stay. Nine of ten blocks are freed by the other worker. Measures what a malloc does with the
// memory of a phase that the next one has no use for: besides the time of the work it prints peak,
// average and final RSS, sampled every 5 ms, against the bytes that are live at the end. The
// average is over the whole run; `rss_start_kib` is the program with its bookkeeping, before the
// first phase.
#include <sched.h>

#include "ring.h"

using namespace workload;

namespace {

constexpr size_t kWorkers = 2;
constexpr unsigned kRemotePercent = 90;
constexpr unsigned kKeptPerThousand = 25;
constexpr unsigned kIdleMs = 150;
constexpr unsigned kSampleMs = 5;
constexpr size_t kRingBatches = 8;
constexpr size_t kWindow = size_t{1} << 18;  // live blocks per worker
constexpr size_t kKept = size_t{1} << 15;

// A worker allocates `allocated` bytes in all and holds up to `live` of them.
struct Phase {
  size_t smallest, largest, live, allocated;
};
constexpr Phase kPhases[] = {
    {24, 96, 8 * kMiB, 100 * kMiB},   {200, 1'500, 40 * kMiB, 600 * kMiB},
    {32, 128, 12 * kMiB, 150 * kMiB}, {6'000, 40'000, 48 * kMiB, 1'500 * kMiB},
    {64, 700, 24 * kMiB, 400 * kMiB}, {24, 48, 4 * kMiB, 60 * kMiB},
};
constexpr size_t kPhaseCount = sizeof kPhases / sizeof kPhases[0];

struct Worker {
  explicit Worker(uint64_t seed)
      : random(seed), inbox(kRingBatches), window(kWindow), kept(kKept) {}

  Random random;
  Ring inbox;
  std::vector<Block>
      window;  // a queue: live blocks of the phase are [oldest, newest), modulo kWindow
  size_t oldest = 0;
  size_t newest = 0;
  std::vector<Block> kept;
  size_t kept_count = 0;
};

void emptyInbox(Worker* worker) {
  Batch batch;
  while (worker->inbox.tryGet(&batch)) releaseAll(batch);
}

// Blocks that a worker frees itself, and those it sends to the other one. While that one has no
// room, the own inbox is emptied: it may be full too, with the other one waiting for that.
struct Retire {
  Worker* self;
  Worker* other;
  Batch batch;

  void block(const Block& block) {
    if (!self->random.percent(kRemotePercent)) {
      release(block);
      return;
    }
    batch.blocks[batch.count++] = block;
    if (batch.count == Batch::kBlocks) send();
  }
  void send() {
    while (!other->inbox.tryPut(batch)) {
      emptyInbox(self);
      sched_yield();
    }
    batch.count = 0;
  }
};

// One phase of one worker, up to the moment when all its blocks but the kept ones are freed.
void work(const Phase& phase, size_t to_allocate, Worker* self, Worker* other) {
  Retire retire{self, other, {}};
  size_t live = 0;
  size_t allocated = 0;
  while (allocated < to_allocate) {
    const Block block = allocate(self->random.logBetween(phase.smallest, phase.largest));
    self->window[self->newest++ % kWindow] = block;
    require(self->newest - self->oldest < kWindow, "more live blocks than the window holds");
    allocated += block.size;
    live += block.size;
    while (live > phase.live) {
      const Block old = self->window[self->oldest++ % kWindow];
      live -= old.size;
      retire.block(old);
    }
    if (self->newest % Batch::kBlocks == 0) emptyInbox(self);
  }
  while (self->oldest != self->newest) {
    const Block old = self->window[self->oldest++ % kWindow];
    if (self->random.between(1, 1'000) <= kKeptPerThousand) {
      require(self->kept_count < kKept, "more kept blocks than there is room for");
      self->kept[self->kept_count++] = old;
    } else {
      retire.block(old);
    }
  }
  retire.send();
  other->inbox.close();
  Batch batch;
  while (self->inbox.get(&batch)) releaseAll(batch);
}

struct Sampler {
  std::atomic<bool> stop{false};
  size_t peak = 0;
  size_t sum = 0;
  size_t count = 0;

  void run() {
    while (!stop.load()) {
      const size_t kib = residentKiB();
      peak = kib > peak ? kib : peak;
      sum += kib;
      count++;
      sleepMs(kSampleMs);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  const unsigned scale = scaleOf(argc, argv);
  const unsigned idle_ms = scale < 100 ? kIdleMs * scale / 100 : kIdleMs;
  Worker workers[kWorkers] = {Worker(1), Worker(2)};
  Sampler sampler;
  pthread_barrier_t both;
  pthread_barrier_init(&both, nullptr, kWorkers);
  const size_t resident_start = residentKiB();
  double seconds = 0;  // written by worker 0
  std::atomic<size_t> working{kWorkers};
  runThreads(kWorkers + 1, [&](size_t index) {
    if (index == kWorkers) {
      sampler.run();
      return;
    }
    Worker* self = &workers[index];
    for (const Phase& phase : kPhases) {
      const double start = now();
      work(phase, scaled(phase.allocated, scale), self, &workers[1 - index]);
      pthread_barrier_wait(&both);
      if (index == 0) seconds += now() - start;
      self->inbox.open();
      sleepMs(idle_ms);
      pthread_barrier_wait(&both);
    }
    if (working.fetch_sub(1) == 1) sampler.stop.store(true);
  });
  const size_t resident_final = residentKiB();
  size_t live = 0;
  for (Worker& worker : workers) {
    for (size_t i = 0; i < worker.kept_count; i++) {
      live += worker.kept[i].size;
      release(worker.kept[i]);
    }
  }
  return Results("phases")
      .add("phases", kPhaseCount)
      .add("seconds", seconds)
      .add("live_bytes", live)
      .add("rss_start_kib", resident_start)
      .add("rss_peak_kib", sampler.peak)
      .add("rss_average_kib", sampler.sum / sampler.count)
      .add("rss_final_kib", resident_final)
      .finish();
}
