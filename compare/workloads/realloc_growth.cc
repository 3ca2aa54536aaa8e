// Buffers that grow by realloc: strings that get a few bytes appended, vectors that grow by half,
// and buffers of tens of MiB that grow by an eighth, several of each side by side so that a
// neighbour is in the way. Measures growing in place, copying, and whether a malloc moves large
// blocks by mremap. Every realloc is checked for the contents it had to keep.
#include "workload.h"

using namespace workload;

namespace {

struct Kind {
  size_t rounds;     // per thread
  size_t buffers;    // side by side
  size_t from, to;   // bytes
  size_t numerator;  // growth: size * numerator / denominator + step
  size_t denominator;
  size_t step;
};
constexpr Kind kKinds[] = {
    {1'500, 32, 16, 2 * kKiB, 1, 1, 24},
    {250, 16, 64, 256 * kKiB, 3, 2, 0},
    {2, 4, kMiB, 32 * kMiB, 9, 8, 0},
};
constexpr size_t kThreads = 2;

// The word at an offset depends on the buffer and the offset only, so it can be checked at any
// size.
uint64_t wordAt(size_t buffer, size_t offset) { return (buffer + 1) * 0x9e3779b97f4a7c15 ^ offset; }

// One word in every 512 bytes.
constexpr size_t kStride = 512;

void write(unsigned char* data, size_t buffer, size_t from, size_t to) {
  for (size_t at = (from + kStride - 1) / kStride * kStride; at + 8 <= to; at += kStride) {
    const uint64_t word = wordAt(buffer, at);
    std::memcpy(data + at, &word, sizeof word);
  }
}

void compare(const unsigned char* data, size_t buffer, size_t size) {
  for (size_t at = 0; at + 8 <= size; at += kStride) {
    const uint64_t word = wordAt(buffer, at);
    require(std::memcmp(data + at, &word, sizeof word) == 0, "realloc lost contents");
  }
}

size_t round(const Kind& kind, std::vector<Block>* buffers) {
  size_t calls = 0;
  for (size_t i = 0; i < kind.buffers; i++) {
    (*buffers)[i] = {static_cast<unsigned char*>(malloc(kind.from)), kind.from};
    write((*buffers)[i].data, i, 0, kind.from);
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (size_t i = 0; i < kind.buffers; i++) {
      Block& buffer = (*buffers)[i];
      const size_t size = buffer.size * kind.numerator / kind.denominator + kind.step;
      if (size > kind.to) continue;
      grown = true;
      buffer.data = static_cast<unsigned char*>(realloc(buffer.data, size));
      require(buffer.data != nullptr, "realloc returned null");
      write(buffer.data, i, buffer.size < 8 ? 0 : buffer.size - 7, size);
      buffer.size = size;
      calls++;
    }
  }
  for (size_t i = 0; i < kind.buffers; i++) {
    compare((*buffers)[i].data, i, (*buffers)[i].size);
    free((*buffers)[i].data);
  }
  return calls;
}

}  // namespace

int main(int argc, char** argv) {
  const unsigned scale = scaleOf(argc, argv);
  std::atomic<size_t> calls{0};
  const double start = now();
  runThreads(kThreads, [&](size_t) {
    std::vector<Block> buffers(64);
    size_t own = 0;
    for (const Kind& kind : kKinds) {
      for (size_t i = scaled(kind.rounds, scale); i > 0; i--) own += round(kind, &buffers);
    }
    calls += own;
  });
  const double seconds = now() - start;
  return Results("realloc_growth").add("ops", calls.load()).add("seconds", seconds).finish();
}
