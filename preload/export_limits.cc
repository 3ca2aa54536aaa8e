// setrlimit and prlimit: a program that limits its own address space would find the limit already
// used up by graft's reservation, so the reservation is given back first. Anything else passes
// straight through. Any thread.
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/runtime/collect.h"
#include "core/runtime/runtime.h"

#define GRAFT_EXPORT extern "C" [[gnu::visibility("default")]]

namespace {

void beforeLimit(int resource, const rlimit64* limit) {
  using graft::runtime::rt;
  if (resource != RLIMIT_AS || limit == nullptr || limit->rlim_cur == RLIM64_INFINITY) return;
  if (!rt.on()) return;
  graft::runtime::Inside inside;
  rt.heap.limitAddressSpace(limit->rlim_cur);
}

}  // namespace

// On x86-64 the 64-bit names are the same functions; both are what programs call.
GRAFT_EXPORT int setrlimit64(__rlimit_resource_t resource, const rlimit64* limit) {
  static auto* real =
      reinterpret_cast<int (*)(int, const rlimit64*)>(dlsym(RTLD_NEXT, "setrlimit64"));
  beforeLimit(static_cast<int>(resource), limit);
  return real(static_cast<int>(resource), limit);
}
GRAFT_EXPORT int setrlimit(__rlimit_resource_t resource, const rlimit* limit) {
  return setrlimit64(resource, reinterpret_cast<const rlimit64*>(limit));
}
GRAFT_EXPORT int prlimit64(pid_t pid, __rlimit_resource resource, const rlimit64* limit,
                           rlimit64* old) {
  using Real = int (*)(pid_t, int, const rlimit64*, rlimit64*);
  static Real real = reinterpret_cast<Real>(dlsym(RTLD_NEXT, "prlimit64"));
  if (pid == 0 || pid == getpid()) beforeLimit(static_cast<int>(resource), limit);
  return real(pid, static_cast<int>(resource), limit, old);
}
GRAFT_EXPORT int prlimit(pid_t pid, __rlimit_resource resource, const rlimit* limit, rlimit* old) {
  return prlimit64(pid, resource, reinterpret_cast<const rlimit64*>(limit),
                   reinterpret_cast<rlimit64*>(old));
}
