// The 20 replaceable forms of operator new and delete, by their mangled names, so that no C++
// runtime is linked. A hit is malloc's fast path; failure goes to shims (new_handler, bad_alloc).
#include <stddef.h>

#include "shims/malloc.h"
#include "shims/malloc_fast.h"

#define GRAFT_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace graft;  // the exported names live in the global namespace
using shims::fastFree;
using shims::fastMalloc;
using shims::freeWithSize;

namespace {
struct NothrowTag;  // std::nothrow_t, never read

[[gnu::always_inline]] inline void* plainNew(size_t size, bool nothrow) {
  void* p = fastMalloc(size);
  return __builtin_expect(p != nullptr, 1) ? p : shims::newSlow(size, 16, nothrow);
}
[[gnu::always_inline]] inline void plainDelete(void* p) {
  if (__builtin_expect(!fastFree(p), 0)) shims::freeSlow(p);
}
}  // namespace

GRAFT_EXPORT void* _Znwm(size_t n) { return plainNew(n, false); }
GRAFT_EXPORT void* _Znam(size_t n) { return plainNew(n, false); }
GRAFT_EXPORT void* _ZnwmRKSt9nothrow_t(size_t n, const NothrowTag*) { return plainNew(n, true); }
GRAFT_EXPORT void* _ZnamRKSt9nothrow_t(size_t n, const NothrowTag*) { return plainNew(n, true); }
GRAFT_EXPORT void* _ZnwmSt11align_val_t(size_t n, size_t a) { return shims::newSlow(n, a, false); }
GRAFT_EXPORT void* _ZnamSt11align_val_t(size_t n, size_t a) { return shims::newSlow(n, a, false); }
GRAFT_EXPORT void* _ZnwmSt11align_val_tRKSt9nothrow_t(size_t n, size_t a, const NothrowTag*) {
  return shims::newSlow(n, a, true);
}
GRAFT_EXPORT void* _ZnamSt11align_val_tRKSt9nothrow_t(size_t n, size_t a, const NothrowTag*) {
  return shims::newSlow(n, a, true);
}

GRAFT_EXPORT void _ZdlPv(void* p) { plainDelete(p); }
GRAFT_EXPORT void _ZdaPv(void* p) { plainDelete(p); }
GRAFT_EXPORT void _ZdlPvRKSt9nothrow_t(void* p, const NothrowTag*) { plainDelete(p); }
GRAFT_EXPORT void _ZdaPvRKSt9nothrow_t(void* p, const NothrowTag*) { plainDelete(p); }
GRAFT_EXPORT void _ZdlPvm(void* p, size_t n) { freeWithSize(p, n); }
GRAFT_EXPORT void _ZdaPvm(void* p, size_t n) { freeWithSize(p, n); }
GRAFT_EXPORT void _ZdlPvSt11align_val_t(void* p, size_t) { plainDelete(p); }
GRAFT_EXPORT void _ZdaPvSt11align_val_t(void* p, size_t) { plainDelete(p); }
GRAFT_EXPORT void _ZdlPvSt11align_val_tRKSt9nothrow_t(void* p, size_t, const NothrowTag*) {
  plainDelete(p);
}
GRAFT_EXPORT void _ZdaPvSt11align_val_tRKSt9nothrow_t(void* p, size_t, const NothrowTag*) {
  plainDelete(p);
}
GRAFT_EXPORT void _ZdlPvmSt11align_val_t(void* p, size_t n, size_t) { freeWithSize(p, n); }
GRAFT_EXPORT void _ZdaPvmSt11align_val_t(void* p, size_t n, size_t) { freeWithSize(p, n); }
