// Torture of the heap by threads that hand blocks to each other through size storms, large and
// aligned blocks, growth, refused memory, signals and forks, with a stop-the-world collector that
// marks what is alive, sweeps what was leaked on purpose and checks that it was exactly that.
//
//   heap_stress [--seconds N] [--seed N] [--threads N] [--plant NAME] [--quiet]
//
// Every block carries its size, an owner stamp and a pattern over its whole length, checked when it
// is freed, grown, handed over or met by a child after fork. Between rounds Heap::validate() walks
// all invariants. Exit status: 0 no failure; 1 a failure (one line says which); counts at the end.
// With --plant (only in the build with planted faults) status 1 is what the caller wants to see.
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/base/options.h"
#include "core/base/plant.h"
#include "core/heap/misuse.h"
#include "core/os/host.h"
#include "core/os/mem.h"
#include "tests/stress/planted.h"
#include "tests/stress/test_malloc.h"

using namespace graft;

namespace {

constinit heap::Heap h;
std::atomic<bool> stop_workers{false}, pause_workers{false};
std::atomic<int> paused{0};
std::atomic<uint64_t> ops{0}, failures_injected{0}, leaked_blocks{0}, reclaimed{0}, cycles{0},
    forks{0}, handed_over{0}, signals{0}, null_returns{0};
bool quiet = false;

[[noreturn]] void fail(const char* what) {
  char line[200];
  int n = snprintf(line, sizeof line, "heap_stress: FAIL: %s\n", what);
  if (write(2, line, static_cast<size_t>(n)) < 0) _exit(2);
  _exit(1);
}

struct Rng {
  uint64_t s;
  explicit Rng(uint64_t seed) : s(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s;
  }
  uint64_t below(uint64_t n) { return next() % n; }
};

// Layout of a block: size and stamp in the first 16 bytes, then bytes derived from both.
struct Block {
  uint8_t* p = nullptr;
  size_t size = 0;
};
uint8_t patternByte(size_t size, uint64_t stamp, size_t i) {
  return static_cast<uint8_t>(size * 31 + stamp + i * 7);
}
void stampBlock(Block b, uint64_t stamp) {
  memcpy(b.p, &b.size, 8);
  memcpy(b.p + 8, &stamp, 8);
  // Long blocks: the first and last kilobyte and one byte per page.
  for (size_t i = 16; i < b.size; i += (i < 1024 || i + 1024 > b.size) ? 1 : 509) {
    b.p[i] = patternByte(b.size, stamp, i);
  }
}
void checkBlock(Block b, size_t expect_size) {
  size_t size;
  uint64_t stamp;
  memcpy(&size, b.p, 8);
  memcpy(&stamp, b.p + 8, 8);
  if (size != expect_size) fail("a live block lost its size stamp");
  // A block that was made longer keeps the pattern of its first length.
  for (size_t i = 16; i < size; i += (i < 1024 || i + 1024 > size) ? 1 : 509) {
    if (b.p[i] != patternByte(size, stamp, i)) fail("a live block was overwritten");
  }
}

// Where threads leave blocks for each other.
struct Exchange {
  std::mutex mu;
  std::vector<Block> blocks;
} exchange;

struct Worker {
  int id;
  Rng rng;
  std::vector<Block> live;
  std::thread thread;
  uint64_t stamp = 0;
  heap::MCache* cache = nullptr;
  explicit Worker(int n, uint64_t seed) : id(n), rng(seed * 1000 + static_cast<uint64_t>(n)) {}
};
std::vector<Worker*> workers;

size_t pickSize(Rng& r, int phase) {
  switch (phase % 5) {
    case 0: return 16 + r.below(240);
    case 1: return 16 + r.below(2000);
    case 2: return 1000 + r.below(31000);
    case 3: return r.below(20) == 0 ? 32769 + r.below(900000) : 16 + r.below(120);
    default: {
      uint64_t k = r.below(100);
      return k < 80 ? 16 + r.below(112) : k < 97 ? 256 + r.below(8000) : 30000 + r.below(200000);
    }
  }
}

void pausePoint() {
  if (!pause_workers.load()) return;
  paused.fetch_add(1);
  while (pause_workers.load()) usleep(50);
  paused.fetch_sub(1);
}

Block make(Worker& w, test::TestMalloc& m, int phase) {
  Block b;
  b.size = pickSize(w.rng, phase);
  uint64_t kind = w.rng.below(16);
  if (kind == 0) {
    size_t align = size_t{16} << w.rng.below(12);
    b.p = static_cast<uint8_t*>(m.malloc(b.size, align));
    if (reinterpret_cast<uintptr_t>(b.p) % align != 0) fail("misaligned block");
  } else if (kind == 1) {
    b.p = static_cast<uint8_t*>(m.calloc(b.size));
    for (size_t i = 0; b.p != nullptr && i < b.size; i += i < 4096 ? 1 : 61) {
      if (b.p[i] != 0) fail("calloc returned a block that is not zero");
    }
  } else {
    b.p = static_cast<uint8_t*>(m.malloc(b.size));
  }
  if (b.p == nullptr) {
    null_returns.fetch_add(1, std::memory_order_relaxed);
    return b;
  }
  stampBlock(b, (static_cast<uint64_t>(w.id) << 48) | ++w.stamp);
  return b;
}

void drop(test::TestMalloc& m, Block b) {
  checkBlock(b, b.size);
  if (!m.free(b.p)) fail("free of a live block was refused");
}

void oneOp(Worker& w, test::TestMalloc& m, int phase) {
  uint64_t k = w.rng.below(100);
  size_t bound = phase % 5 == 2 || phase % 5 == 3 ? 300 : 3000;
  if (k < 48 || w.live.empty()) {
    Block b = make(w, m, phase);
    if (b.p != nullptr) w.live.push_back(b);
    if (w.live.size() > bound) k = 99;
  }
  if (w.live.empty()) return;
  size_t at = w.rng.below(w.live.size());
  Block b = w.live[at];
  auto forget = [&] {
    w.live[at] = w.live.back();
    w.live.pop_back();
  };
  if (k == 99) {  // mass free
    size_t keep = w.live.size() / 10;
    while (w.live.size() > keep) {
      drop(m, w.live.back());
      w.live.pop_back();
    }
  } else if (k >= 96) {  // leak on purpose; the collector has to find it
    if (h.classify(b.p).kind == heap::AddrKind::kSmall) {
      forget();
      leaked_blocks.fetch_add(1);
    }
  } else if (k >= 88) {  // hand over, or take over
    std::lock_guard<std::mutex> lock(exchange.mu);
    if (exchange.blocks.size() < 2000 && w.rng.below(2) == 0) {
      exchange.blocks.push_back(b);
      forget();
      handed_over.fetch_add(1, std::memory_order_relaxed);
    } else if (!exchange.blocks.empty()) {
      w.live.push_back(exchange.blocks.back());
      exchange.blocks.pop_back();
    }
  } else if (k >= 84) {
    checkBlock(b, b.size);
    size_t size = pickSize(w.rng, phase + static_cast<int>(w.rng.below(5)));
    uint8_t* to = static_cast<uint8_t*>(m.realloc(b.p, size));
    if (to == nullptr) {
      null_returns.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    // What of the old contents fits must still be there.
    size_t old_size;
    uint64_t stamp;
    memcpy(&old_size, to, 8);
    memcpy(&stamp, to + 8, 8);
    if (old_size != b.size) fail("realloc lost the contents");
    size_t both = size < b.size ? size : b.size;
    for (size_t i = 16; i < both && i < 1024; i++) {
      if (to[i] != patternByte(b.size, stamp, i)) fail("realloc changed the contents");
    }
    w.live[at] = {to, size};
    stampBlock(w.live[at], stamp + 1);
  } else if (k >= 48) {
    drop(m, b);
    forget();
  }
}

void work(Worker* w) {
  test::TestMalloc m(h);
  w->cache = m.cache();
  if (w->cache == nullptr) fail("no cache for a worker");
  int phase = w->id;
  for (uint64_t n = 1; !stop_workers.load(std::memory_order_relaxed); n++) {
    oneOp(*w, m, phase);
    ops.fetch_add(1, std::memory_order_relaxed);
    if (n % 20000 == 0) phase++;
    if (n % 64 == 0) pausePoint();
  }
  for (Block b : w->live) drop(m, b);
  w->live.clear();
  h.drain(*w->cache);
}

void stopTheWorld() {
  pause_workers.store(true);
  for (int i = 0; paused.load() != static_cast<int>(workers.size()); i++) {
    if (i > 400000) fail("a worker does not come to its pause point (deadlock?)");
    usleep(50);
  }
}
void startTheWorld() {
  pause_workers.store(false);
  while (paused.load() != 0) usleep(20);
}

void markBlock(Block b) {
  heap::ObjectRef o;
  if (!h.findObject(reinterpret_cast<Addr>(b.p) + b.size / 2, &o))
    fail("findObject does not know a live block");
  if (o.base != reinterpret_cast<Addr>(b.p) || !o.allocated || o.size < b.size)
    fail("findObject is wrong about a live block");
  heap::Heap::mark(o.span, o.index);
}

void markAll() {
  for (Worker* w : workers) {
    for (Block b : w->live) markBlock(b);
  }
  for (Block b : exchange.blocks) markBlock(b);
}

void validate() {
  if (const char* bad = h.validate()) fail(bad);
}

// HZ-SPAN: what a marker may be looking at keeps its shape for the whole cycle.
struct Shape {
  heap::Span* span;
  uint32_t seq;
};
std::vector<Shape> smallShapes() {
  std::vector<Shape> shapes;
  h.forEachSpan([&](heap::Span* s) {
    if (s->state.loadRelaxed() == heap::SpanState::kSmall)
      shapes.push_back({s, s->seq.loadRelaxed()});
  });
  return shapes;
}
void checkShapes(const std::vector<Shape>& shapes) {
  for (const Shape& s : shapes) {
    if (s.span->seq.loadRelaxed() != s.seq) fail("a span changed its shape in a cycle");
  }
}

// HZ-FREE: after all acknowledgements no cache holds a slot of a span that is not swept.
void checkAcknowledged() {
  h.caches.forEach([](heap::MCache& c) {
    for (size_t i = 1; i < heap::kNumClasses; i++) {
      heap::ClassId cls = static_cast<heap::ClassId>(i);
      for (void** at = c.floor(cls) + 1; at <= c.top[cls]; at++) {
        heap::ObjectRef o;
        bool known = h.findObject(reinterpret_cast<Addr>(*at), &o);
        if (!known || o.span->slow.loadRelaxed() != 0)
          fail("a cache kept a slot of an unswept span");
      }
    }
  });
}

// One cycle: workers run on while it is "marking" (and allocate black), are stopped for the real
// marking, run on while spans are swept.
void collectorRound(Rng& r, test::TestMalloc& mine) {
  std::vector<void*> doomed;  // whole spans of one class, to be emptied in the cycle
  for (int i = 0; i < 400; i++) doomed.push_back(mine.malloc(700));
  stopTheWorld();
  validate();
  uint64_t lost_before = leaked_blocks.exchange(0);
  h.beginCycle();
  h.blackenCaches();
  std::vector<Shape> shapes = smallShapes();
  startTheWorld();
  for (void* p : doomed) {
    if (p != nullptr && !mine.free(p)) fail("free of a live block was refused in a cycle");
  }
  h.drain(*mine.cache());
  usleep(static_cast<useconds_t>(r.below(3000)));
  stopTheWorld();
  checkShapes(shapes);
  markAll();
  uint64_t lost_during = leaked_blocks.exchange(0);
  h.finishMark(heap::SweepMode::kReclaim);
  for (Worker* w : workers) {
    if (r.below(2) == 0) h.acknowledge(*w->cache);
  }
  startTheWorld();
  h.acknowledge(*mine.cache());
  for (int i = 0; !h.allAcknowledged(); i++) {
    if (i > 100000) fail("a cache never acknowledges");
    usleep(100);
  }
  stopTheWorld();
  checkAcknowledged();
  startTheWorld();
  h.sweepAll();
  stopTheWorld();
  uint64_t white = h.whiteFound();
  reclaimed.fetch_add(white);
  h.endCycle();
  validate();
  // Blocks leaked before the cycle are white for sure; those leaked in it may be black (allocated
  // in it) and float to the next one.
  static uint64_t floating = 0;
  if (white > lost_before + lost_during + floating) fail("sweep reclaimed more than was leaked");
  if (white < lost_before + floating) fail("sweep reclaimed less than was leaked");
  floating = lost_before + lost_during + floating - white;
  cycles.fetch_add(1);
  startTheWorld();
}

void forkRound() {
  h.forkPrepare();
  pid_t pid = fork();
  if (pid == 0) {
    alarm(20);
    h.forkChild(nullptr, static_cast<uint32_t>(os::gettid()));
    test::TestMalloc m(h);
    if (m.cache() == nullptr) _exit(3);
    Block mine[400];
    for (int i = 0; i < 400; i++) {
      mine[i].size = static_cast<size_t>(16 + i * 37 % 9000);
      mine[i].p = static_cast<uint8_t*>(m.malloc(mine[i].size));
      if (mine[i].p == nullptr) _exit(0);  // refused memory
      stampBlock(mine[i], static_cast<uint64_t>(i));
    }
    for (int i = 0; i < 400; i++) drop(m, mine[i]);
    _exit(0);
  }
  h.forkParent();
  if (pid < 0) return;
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail("the child of a fork failed or hung");
  forks.fetch_add(1);
}

// HZ-FORK: fork waits for whoever is in the middle of a refill.
void checkForkWaits() {
  std::atomic<int> step{0};
  std::thread refiller([&] {
    h.central[5].mu.lock();
    step.store(1);
    usleep(30000);
    step.store(2);
    h.central[5].mu.unlock();
  });
  while (step.load() == 0) usleep(100);
  h.forkPrepare();
  bool waited = step.load() == 2;
  h.forkParent();
  refiller.join();
  if (!waited) fail("fork did not wait for a refill");
}

// Memory is refused for a while, to workers and to a burst of large blocks that makes the heap
// grow.
void refusalRound(Rng& r, test::TestMalloc& mine) {
  static size_t longest = 64_MiB;  // longer than any free run: the heap has to grow
  longest = longest < 4_GiB ? longest + 48_MiB : 64_MiB;
  os::setFaultInjection(1 + r.below(2));
  std::vector<void*> blocks;
  for (int i = 0; i < 6; i++) {
    void* p = mine.malloc(longest + r.below(4_MiB));
    if (p != nullptr) {
      blocks.push_back(p);
    } else {
      null_returns.fetch_add(1);
    }
  }
  os::setFaultInjection(0);
  for (void* p : blocks) {
    if (!mine.free(p)) fail("free of a large block was refused");
  }
  failures_injected.fetch_add(1);
}

void onSignal(int) { signals.fetch_add(1, std::memory_order_relaxed); }

int plantByName(const std::string& name) {
  static const char* const names[] = {
      "none",           "double_hand_out",  "lost_free",       "wrong_class",
      "stale_page_map", "sweep_skipped",    "unlocked_refill", "fork_in_refill",
      "marker_race",    "reshape_in_cycle", "ack_keeps_slots", "no_key",
      "purge_live",     "dirty_is_zero",    "no_coalesce"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (name == names[i]) return static_cast<int>(i);
  }
  fprintf(stderr, "heap_stress: no planted fault '%s'\n", name.c_str());
  exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 5, threads = 4, plant = 0;
  uint64_t seed = 1;
  for (int i = 1; i < argc; i++) {
    std::string a = argv[i];
    auto value = [&] { return i + 1 < argc ? argv[++i] : "0"; };
    if (a == "--seconds")
      seconds = atoi(value());
    else if (a == "--seed")
      seed = strtoull(value(), nullptr, 10);
    else if (a == "--threads")
      threads = atoi(value());
    else if (a == "--plant")
      plant = plantByName(value());
    else if (a == "--quiet")
      quiet = true;
    else
      return fprintf(stderr, "heap_stress: unknown argument %s\n", argv[i]), 2;
  }
  os::host.abort = [] { fail("misuse was reported (the line before says what)"); };
  heap::Config config;
  config.reserve_bytes = 64_GiB;
  if (!h.init(config)) fail("no address space");
  h.setDecay(20);
#ifdef GRAFT_PLANTED
  if (plant != 0) {
    if (int code = test::underSupervision("heap_stress"); code >= 0) return code;
  }
  base::planted_fault.storeRelaxed(plant);
#else
  if (plant != 0) return fprintf(stderr, "heap_stress: built without planted faults\n"), 77;
#endif
  struct sigaction sa{};
  sa.sa_handler = onSignal;
  sa.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &sa, nullptr);
  itimerval every{{0, 3000}, {0, 3000}};
  setitimer(ITIMER_REAL, &every, nullptr);

  test::TestMalloc mine(h);
  checkForkWaits();
  for (int i = 0; i < threads; i++) workers.push_back(new Worker(i, seed));
  for (Worker* w : workers) w->thread = std::thread(work, w);
  Rng r(seed + 77);
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (int round = 0; std::chrono::steady_clock::now() < end; round++) {
    usleep(5000 + static_cast<useconds_t>(r.below(15000)));
    switch (round % 6) {
      case 0: collectorRound(r, mine); break;
      case 1: forkRound(); break;
      case 2: refusalRound(r, mine); break;
      case 3: h.purgePartial(); break;
      case 4: h.trim(); break;
      default:
        stopTheWorld();
        validate();
        startTheWorld();
    }
  }
  stop_workers.store(true);
  for (Worker* w : workers) w->thread.join();
  itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
  for (Block b : exchange.blocks) drop(mine, b);
  h.drain(*mine.cache());
  for (Worker* w : workers) {
    h.drain(*w->cache);
    delete w;
  }
  validate();
  h.trim();
  validate();
  heap::HeapStats st = h.stats();
  // What is still handed out can only be what was leaked since the last cycle.
  if (st.large_used != 0) fail("large blocks are left over");
  if (!quiet) {
    printf(
        "heap_stress: %lu operations, %lu handed over, %lu cycles reclaimed %lu leaked blocks, %lu "
        "forks, %lu signals, "
        "%lu spells of refused memory with %lu refusals, %lu KiB returned; 0 failures\n",
        ops.load(), handed_over.load(), cycles.load(), reclaimed.load(), forks.load(),
        signals.load(), failures_injected.load(), null_returns.load(), st.pages.purged_pages * 8);
  }
  return 0;
}
