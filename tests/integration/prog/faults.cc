// A program that survives every failed allocation: C calls that may return null, C++ containers
// that may throw, and threads that come and go, all on random sizes with checked contents.
#include <malloc.h>
#include <pthread.h>

#include <initializer_list>
#include <map>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "check.h"

namespace {

long failures = 0;

void cWork(uint64_t seed) {
  struct Block {
    char* p;
    size_t n;
    unsigned tag;
  } blocks[1500] = {};
  for (int step = 0; step < 15000; step++) {
    Block& b = blocks[nextRandom(&seed) % 1500];
    uint64_t r = nextRandom(&seed);
    size_t n = r % 97 == 0 ? 1 + nextRandom(&seed) % 3000000 : randomSize(&seed);
    if (b.p != nullptr && r % 3 == 0) {
      char* q = static_cast<char*>(realloc(b.p, n));
      CHECK(isFilled(q != nullptr ? q : b.p, b.n < n || q == nullptr ? b.n : n, b.tag));
      if (q == nullptr) {
        __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
        continue;
      }
      b = {q, n, static_cast<unsigned>(step)};
      fill(b.p, b.n, b.tag);
      continue;
    }
    if (b.p != nullptr) CHECK(isFilled(b.p, b.n, b.tag));
    free(b.p);
    void* p = nullptr;
    if (r % 5 == 0) {
      p = calloc(1, n);
      for (size_t i = 0; p != nullptr && i < n; i++) CHECK(static_cast<char*>(p)[i] == 0);
    } else if (r % 7 == 0) {
      if (posix_memalign(&p, size_t{16} << r % 10, n) != 0) p = nullptr;
    } else {
      p = malloc(n);
    }
    b = {static_cast<char*>(p), n, static_cast<unsigned>(step)};
    if (p == nullptr) {
      __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    } else {
      fill(b.p, b.n, b.tag);
    }
  }
  for (Block& b : blocks) free(b.p);
}

void cxxWork() {
  std::map<int, std::vector<std::string>> m;
  for (int i = 0; i < 5000; i++) {
    try {
      m[i % 500].push_back(
          std::string(static_cast<size_t>(i % 300) + 1, static_cast<char>('a' + i % 26)));
      if (i % 1000 == 0) std::vector<char> big(static_cast<size_t>(2000000 + i));
    } catch (const std::bad_alloc&) {
      __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    }
  }
  for (auto& [key, list] : m) {
    for (auto& text : list) {
      for (char c : text) CHECK(c == text[0]);
    }
  }
}

void* both(void* seed) {
  cWork(reinterpret_cast<uintptr_t>(seed));
  cxxWork();
  return nullptr;
}

}  // namespace

int main() {
  both(reinterpret_cast<void*>(77));
  for (int round = 0; round < 2; round++) {
    pthread_t t[4];
    int started = 0;
    for (uintptr_t i = 0; i < 4; i++) {
      started += pthread_create(&t[started], nullptr, both, reinterpret_cast<void*>(i + 5)) == 0;
    }
    for (int i = 0; i < started; i++) pthread_join(t[i], nullptr);
  }
  puts("ok");
  fprintf(stderr, "figure failures %ld\n", failures);
}
