// Tests of internal checks: a failed one prints one line with its text and place through the hooks
// and ends the process; a passed one costs nothing and evaluates its condition once.
#include "core/base/check.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

namespace graft::base {
namespace {

TEST(Check, PassedConditionIsEvaluatedOnce) {
  int n = 0;
  GRAFT_CHECK(++n == 1);
  EXPECT_EQ(n, 1);
  GRAFT_ASSERT(++n != 0);
  EXPECT_EQ(n, kDebug ? 2 : 1) << "an assertion costs nothing in a release";
}

[[noreturn]] void failWithHooks() {
  fail_hooks.write = [](const char* text, size_t n) {
    if (write(2, text, n) < 0) _exit(9);
  };
  fail_hooks.die = [] { _exit(3); };
  GRAFT_CHECK(1 + 1 == 3);
  _exit(0);
}

TEST(CheckDeathTest, FailureNamesConditionFileAndLine) {
  EXPECT_EXIT(failWithHooks(), testing::ExitedWithCode(3),
              "graft: internal check failed: 1 \\+ 1 == 3 at check_test.cc:[0-9]+");
}

TEST(CheckDeathTest, EndsWithoutHooksToo) {
  fail_hooks = {};
  EXPECT_DEATH(fail("x", "y", 1), "");
}

}  // namespace
}  // namespace graft::base
