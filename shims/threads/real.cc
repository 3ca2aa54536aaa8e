// Finds libc's own thread and signal functions behind our exports; see real.h.
#include "shims/threads/real.h"

#include <dlfcn.h>

namespace graft::shims {

constinit RealThreads real_threads{};

const RealThreads& resolveRealThreads() {
  auto find = [](const char* name) { return dlsym(RTLD_NEXT, name); };
#define REAL(name)                                                                       \
  __atomic_store_n(&real_threads.name, reinterpret_cast<decltype(&::name)>(find(#name)), \
                   __ATOMIC_RELEASE);
#include "shims/threads/real.def"
#undef REAL
  __atomic_store_n(&real_threads.resolved, true, __ATOMIC_RELEASE);
  return real_threads;
}

}  // namespace graft::shims
