// A program that replaces operator new and delete itself: the executable's own must win for the
// program and for libstdc++, and still reach malloc. The count of its calls is the output.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <sstream>
#include <string>
#include <vector>

namespace {
long news = 0, deletes = 0;
}

void* operator new(size_t n) {
  news++;
  if (void* p = malloc(n)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  deletes += p != nullptr;
  free(p);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }

int main() {
  {
    std::map<std::string, std::vector<int>> m;
    for (int i = 0; i < 1000; i++)
      m["a key that is longer than sixteen bytes " + std::to_string(i)].assign(
          static_cast<size_t>(i), i);
    std::stringstream text;
    for (auto& [k, v] : m) text << k << v.size();
    printf("%zu\n", text.str().size());
  }
  printf("%ld %ld %d\n", news, deletes, news > 2000 ? 1 : 0);
}
