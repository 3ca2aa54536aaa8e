// Internal consistency checks. GRAFT_CHECK is always on (cheap tests that stand between a fault
// of ours and the program's data), GRAFT_ASSERT only with GRAFT_DEBUG. A failure prints one line
// without allocating and ends the process through the hooks that core/os installs.
#pragma once

#include <stddef.h>

namespace graft::base {

struct FailHooks {
  void (*write)(const char* text, size_t n);  // may be null before core/os is up
  void (*die)();                              // does not return
};
extern constinit FailHooks fail_hooks;

[[noreturn, gnu::cold, gnu::noinline]] void fail(const char* what, const char* file, int line);

}  // namespace graft::base

#define GRAFT_CHECK(cond) \
  (__builtin_expect(!!(cond), 1) ? (void)0 : ::graft::base::fail(#cond, __FILE_NAME__, __LINE__))

#ifdef GRAFT_DEBUG
#define GRAFT_ASSERT(cond) GRAFT_CHECK(cond)
inline constexpr bool kDebug = true;
#else
#define GRAFT_ASSERT(cond) ((void)sizeof(!!(cond)))
inline constexpr bool kDebug = false;
#endif

#ifndef __FILE_NAME__
#define __FILE_NAME__ __FILE__
#endif
