// Finds glibc's synchronisation functions; see real.h. dlsym gives the default version of each,
// which for condition variables is the 48-byte one.
#include "shims/sync/real.h"

#include <dlfcn.h>

#include "shims/glibc/own_tid.h"
#include "shims/sync/sync.h"

namespace graft::shims {

constinit RealSync real_sync{};

const RealSync& findRealSync() {
  glibc::findOwnTid();
  findRobustHead();
#define REAL(field, name)                                                                          \
  __atomic_store_n(&real_sync.field, reinterpret_cast<decltype(&::name)>(dlsym(RTLD_NEXT, #name)), \
                   __ATOMIC_RELEASE);
#include "shims/sync/real.def"
#undef REAL
  return real_sync;
}

}  // namespace graft::shims
