// Requests that no machine can serve, in every form, between ordinary work: null and ENOMEM or
// bad_alloc each time, and the ordinary work goes on.
#include <malloc.h>
#include <cerrno>

#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"

int main() {
  std::vector<std::string> kept;
  for (int shift = 41; shift < 63; shift++) {
    size_t n = size_t{1} << shift;
    for (size_t size : {n, n + 1, n - 1, n + 4096, n + (n >> 1)}) {
      errno = 0;
      CHECK(malloc(size) == nullptr && errno == ENOMEM);
      errno = 0;
      CHECK(calloc(size / 8, 8) == nullptr && errno == ENOMEM);
      errno = 0;
      CHECK(memalign(1 << 21, size) == nullptr && errno == ENOMEM);
      errno = 0;
      CHECK(memalign(n, 100) == nullptr && errno == ENOMEM);
      char* small = static_cast<char*>(malloc(100));
      char* large = static_cast<char*>(malloc(1000000));
      fill(small, 100, 1);
      fill(large, 1000000, 2);
      CHECK(realloc(small, size) == nullptr && realloc(large, size) == nullptr);
      CHECK(isFilled(small, 100, 1) && isFilled(large, 1000000, 2));
      free(small);
      free(large);
      CHECK(operator new(size, std::nothrow) == nullptr);
      bool thrown = false;
      try {
        std::vector<char> v(size);
        v[size - 1] = 1;
      } catch (const std::bad_alloc&) {
        thrown = true;
      } catch (const std::length_error&) {
        thrown = true;
      }
      CHECK(thrown);
      kept.push_back(std::string(static_cast<size_t>(shift) * 100, 'x'));
    }
  }
  size_t total = 0;
  for (auto& s : kept) total += s.size();
  printf("%zu\n", total);
}
