// What the allocator workloads share: the size of the run, random numbers, stamps that show when
// two blocks overlap or a block lost its contents, threads, resident memory, and the line of
// results.
//
// A workload is one source file and one program: `NAME [SCALE]`, where SCALE is the work in percent
// of the default (100, one to two seconds on two cores). The amount of work is fixed, never the
// time, so that wall and CPU time can be compared between mallocs; the random numbers depend on
// constants only, so that every run makes the same calls. It prints one line of JSON and leaves
// with 0 only if every block held what had been written to it.
//
// Bookkeeping of a workload (arrays of pointers) is allocated once, before the clock starts.
// With GRAFT_WITH_GC the malloc family is mapped to Boehm's collector, see gc_malloc.h.
#pragma once

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <vector>

#ifdef GRAFT_WITH_GC
#include "gc_malloc.h"
#else
#include <pthread.h>

namespace workload {
inline void startMalloc() {}
}  // namespace workload
#endif

namespace workload {

inline constexpr size_t kKiB = 1024;
inline constexpr size_t kMiB = 1024 * kKiB;

// _Exit: other threads may be anywhere, and the finding must not be lost in their exit handlers.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAIL: %s\n", what);
  std::_Exit(1);
}

// --- Size of the run ---

inline unsigned scaleOf(int argc, char** argv) {
  startMalloc();
  const unsigned long scale = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 100;
  if (scale == 0 || scale > 100'000) {
    std::fprintf(stderr, "usage: %s [SCALE]   work in percent, 1 to 100000\n", argv[0]);
    std::exit(2);
  }
  return static_cast<unsigned>(scale);
}

inline size_t scaled(size_t work, unsigned scale) {
  const size_t result = work * scale / 100;
  return result == 0 ? 1 : result;
}

// --- Random numbers (splitmix64) ---

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // Bounds are inclusive.
  size_t between(size_t low, size_t high) { return low + next() % (high - low + 1); }

  // Even over the doublings: as many requests from 16 to 32 as from 1024 to 2048.
  size_t logBetween(size_t low, size_t high) {
    unsigned doublings = 0;
    while ((low << (doublings + 1)) <= high) doublings++;
    const size_t base = low << between(0, doublings);
    const size_t top = 2 * base - 1 < high ? 2 * base - 1 : high;
    return between(base, top);
  }

  bool percent(unsigned chance) { return next() % 100 < chance; }

 private:
  uint64_t state_;
};

// --- Blocks that know what they hold ---

// What a workload keeps of a block. Sizes are at least kSmallest.
struct Block {
  unsigned char* data = nullptr;
  size_t size = 0;
};

inline constexpr size_t kSmallest = 16;
inline constexpr size_t kPage = 4096;

inline uint64_t stampOf(const void* data, size_t size) {
  return (reinterpret_cast<uintptr_t>(data) ^ size) * 0x9e3779b97f4a7c15;
}

// Writes the first and the last word and one word in every page, where it does not meet the last
// one.
inline void stamp(const Block& block) {
  const uint64_t value = stampOf(block.data, block.size);
  for (size_t at = 0; at + 2 * sizeof value <= block.size; at += kPage) {
    std::memcpy(block.data + at, &value, sizeof value);
  }
  std::memcpy(block.data + block.size - sizeof value, &value, sizeof value);
}

inline void check(const Block& block) {
  const uint64_t value = stampOf(block.data, block.size);
  bool same = std::memcmp(block.data + block.size - sizeof value, &value, sizeof value) == 0;
  for (size_t at = 0; at + 2 * sizeof value <= block.size; at += kPage) {
    same &= std::memcmp(block.data + at, &value, sizeof value) == 0;
  }
  require(same, "a block no longer holds what was written to it");
}

inline Block allocate(size_t size) {
  const Block block{static_cast<unsigned char*>(malloc(size)), size};
  require(block.data != nullptr, "malloc returned null");
  stamp(block);
  return block;
}

// Spoils the stamp: the second of two owners of one block must not find its own.
inline void release(const Block& block) {
  check(block);
  std::memset(block.data, 0, sizeof(uint64_t));
  free(block.data);
}

// --- Threads ---

// pthread_create by name, not std::thread: gc_malloc.h replaces it, and stacks can be small.
inline pthread_t startThread(void* (*run)(void*), void* argument, size_t stack_bytes = 0) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (stack_bytes != 0) pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_t thread;
  require(pthread_create(&thread, &attributes, run, argument) == 0, "pthread_create failed");
  pthread_attr_destroy(&attributes);
  return thread;
}

inline void joinThread(pthread_t thread) {
  require(pthread_join(thread, nullptr) == 0, "pthread_join failed");
}

// Runs body(0) to body(count - 1), each in a thread of its own, and waits for all of them.
template <typename Body>
void runThreads(size_t count, const Body& body, size_t stack_bytes = 0) {
  struct Call {
    const Body* body;
    size_t index;
    pthread_t thread;
  };
  std::vector<Call> calls(count);
  for (size_t i = 0; i < count; i++) calls[i] = {&body, i, {}};
  for (Call& call : calls) {
    call.thread = startThread(
        [](void* argument) -> void* {
          auto* own = static_cast<Call*>(argument);
          (*own->body)(own->index);
          return nullptr;
        },
        &call, stack_bytes);
  }
  for (Call& call : calls) joinThread(call.thread);
}

// --- Time and resident memory ---

inline double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline void sleepMs(unsigned ms) { usleep(ms * 1000); }

// Read without stdio, whose buffer would come from the malloc that is being measured.
inline size_t residentKiB() {
  char text[128];
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  require(file >= 0, "cannot open /proc/self/statm");
  const ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  require(length > 0, "cannot read /proc/self/statm");
  text[length] = '\0';
  const char* second = std::strchr(text, ' ');
  require(second != nullptr, "/proc/self/statm has one field");
  return std::strtoul(second, nullptr, 10) * (kPage / kKiB);
}

// --- Results ---

// One line of JSON. `seconds` is the time of the work proper: idle tails are not in it.
class Results {
 public:
  explicit Results(const char* name) { std::printf("{\"workload\": \"%s\"", name); }
  Results& add(const char* key, size_t value) {
    std::printf(", \"%s\": %zu", key, value);
    return *this;
  }
  Results& add(const char* key, double value) {
    std::printf(", \"%s\": %.4f", key, value);
    return *this;
  }
  int finish() {
    std::printf(", \"ok\": true}\n");
    return std::fflush(stdout) == 0 ? 0 : 1;
  }
};

}  // namespace workload
