// Sized delete with a right or a wrong size: `sized SIZE CLAIMED`, for plain, array and aligned
// forms; only checked mode has to notice, and it must not complain about the right size.
#include <new>

#include "check.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  size_t size = static_cast<size_t>(atol(argv[1])), claimed = static_cast<size_t>(atol(argv[2]));
  std::align_val_t align{64};
  void* p = *argv[3] == 'a' ? operator new(size, align) : operator new(size);
  memset(p, 1, size);
  printf("victim 0x%lx\n", static_cast<unsigned long>(reinterpret_cast<uintptr_t>(p)));
  fflush(stdout);
  if (*argv[3] == 'a') operator delete(p, claimed, align);
  if (*argv[3] == 'v') operator delete[](p, claimed);
  if (*argv[3] == 'p') operator delete(p, claimed);
  for (int i = 0; i < 1000; i++) operator delete(operator new(size), size);
  puts("survived");
}
