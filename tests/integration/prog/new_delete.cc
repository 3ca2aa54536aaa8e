// The twenty forms of operator new and delete, called by name, and what happens when memory is
// short: new_handler is called until it gives up, then bad_alloc or a null pointer.
#include <malloc.h>

#include <initializer_list>
#include <new>

#include "check.h"

namespace {

constexpr std::nothrow_t kNothrow{};
const size_t kHuge = size_t{PTRDIFF_MAX} - 4096;
int handler_calls = 0;

void use(void* p, size_t n, size_t align) {
  CHECK(p != nullptr);
  CHECK(reinterpret_cast<uintptr_t>(p) % align == 0);
  CHECK(malloc_usable_size(p) >= n);
  memset(p, 0x5a, n);
}

void forms() {
  for (size_t n : {0, 1, 16, 24, 100, 1000, 5000, 32768, 40000, 300000}) {
    use(operator new(n), n, 16);
    for (int round = 0; round < 50; round++) {
      void* p[12];
      int i = 0;
      p[i++] = operator new(n), p[i++] = operator new[](n);
      p[i++] = operator new(n, kNothrow), p[i++] = operator new[](n, kNothrow);
      p[i++] = operator new(n), p[i++] = operator new[](n);
      for (int k = 0; k < i; k++) use(p[k], n, 16);
      operator delete(p[0]), operator delete[](p[1]);
      operator delete(p[2], kNothrow), operator delete[](p[3], kNothrow);
      operator delete(p[4], n), operator delete[](p[5], n);
    }
    for (size_t a = 1; a <= 65536; a *= 2) {
      std::align_val_t align{a};
      void* p[6];
      p[0] = operator new(n, align), p[1] = operator new[](n, align);
      p[2] = operator new(n, align, kNothrow), p[3] = operator new[](n, align, kNothrow);
      p[4] = operator new(n, align), p[5] = operator new[](n, align);
      for (void* q : p) use(q, n, a);
      operator delete(p[0], align), operator delete[](p[1], align);
      operator delete(p[2], align, kNothrow), operator delete[](p[3], align, kNothrow);
      operator delete(p[4], n, align), operator delete[](p[5], n, align);
    }
  }
  void* none = nullptr;
  std::align_val_t align{64};
  operator delete(none), operator delete[](none), operator delete(none, 8u);
  operator delete[](none, 8u), operator delete(none, kNothrow), operator delete[](none, kNothrow);
  operator delete(none, align), operator delete[](none, align), operator delete(none, 8u, align);
  operator delete[](none, 8u, align), operator delete(none, align, kNothrow);
  operator delete[](none, align, kNothrow);
  CHECK(operator new(0) != operator new(0));
}

void giveUpAfterThree() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

template <class F>
void throwsBadAlloc(F allocate) {
  handler_calls = 0;
  std::set_new_handler(giveUpAfterThree);
  bool thrown = false;
  try {
    allocate();
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown && handler_calls == 3);
}

template <class F>
void givesNull(F allocate) {
  handler_calls = 0;
  std::set_new_handler(giveUpAfterThree);
  CHECK(allocate() == nullptr && handler_calls == 3);
}

struct Custom {};

void handlers() {
  std::align_val_t align{256};
  size_t huge = kHuge;
  throwsBadAlloc([&] { return operator new(huge); });
  throwsBadAlloc([&] { return operator new[](huge); });
  throwsBadAlloc([&] { return operator new(huge, align); });
  throwsBadAlloc([&] { return operator new[](huge, align); });
  givesNull([&] { return operator new(huge, kNothrow); });
  givesNull([&] { return operator new[](huge, kNothrow); });
  givesNull([&] { return operator new(huge, align, kNothrow); });
  givesNull([&] { return operator new[](huge, align, kNothrow); });
  std::set_new_handler([] { throw Custom{}; });
  int caught = 0;
  for (int i = 0; i < 100; i++) {
    try {
      operator delete(i % 2 == 0 ? operator new(huge) : operator new(huge, align));
    } catch (const Custom&) {
      caught++;
    }
  }
  CHECK(caught == 100);
  // Memory is fine after all this.
  std::set_new_handler(nullptr);
  for (int i = 0; i < 1000; i++) delete[] new char[static_cast<size_t>(i) * 10];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "forms") == 0) forms();
  if (argc == 2 && strcmp(argv[1], "handlers") == 0) handlers();
  puts("ok");
}
