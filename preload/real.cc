// Resolution of the functions that our exports hide; see real.h. At first os::host holds resolvers
// that look up the real function at their first call: most processes never
// meet a foreign pointer, and looking ten symbols up in every child of a shell is not free.
#include "preload/real.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "core/os/host.h"

namespace graft::preload {
namespace {

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

void lazyFree(void* p) {
  resolveReal();
  if (os::host.free != lazyFree) os::host.free(p);
}
void* lazyRealloc(void* p, size_t size) {
  resolveReal();
  return os::host.realloc != lazyRealloc ? os::host.realloc(p, size) : nullptr;
}
size_t lazyUsableSize(void* p) {
  resolveReal();
  return os::host.usableSize != lazyUsableSize ? os::host.usableSize(p) : 0;
}

}  // namespace

void installHost() {
  os::Host& h = os::host;
  h.abort = abort;
  h.free = lazyFree;
  h.realloc = lazyRealloc;
  h.usableSize = lazyUsableSize;
}

void resolveReal() {
  os::Host& h = os::host;
  if (auto* f = next<void*(size_t, size_t)>("calloc")) h.calloc = f;
  if (auto* f = next<void*(size_t, size_t)>("memalign")) h.memalign = f;
  if (auto* f = next<void*(void*, size_t)>("realloc")) h.realloc = f;
  if (auto* f = next<void(void*)>("free")) h.free = f;
  if (auto* f = next<size_t(void*)>("malloc_usable_size")) h.usableSize = f;
  if (auto* f = next<void*(size_t)>("malloc")) h.malloc = f;  // last: it says that all are there
}

}  // namespace graft::preload
