// main of the glibc tests. A test that ends the main thread by pthread_exit has to do it outside of
// GoogleTest's frames, which catch every exception and so stop the forced unwind; it comes back
// here in a forked child first.
#include <gtest/gtest.h>
#include <setjmp.h>

#include "tests/unit/glibc/main.h"

namespace graft::glibc::test {
namespace {

jmp_buf outside;
void (*wanted)() = nullptr;

}  // namespace

void runOutside(void (*body)()) {
  wanted = body;
  longjmp(outside, 1);
}

}  // namespace graft::glibc::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (setjmp(graft::glibc::test::outside) != 0) graft::glibc::test::wanted();
  return RUN_ALL_TESTS();
}
