// Maps the malloc family and the threads of a workload to Boehm's collector (gc.h, Debian's
// libgc-dev), so that a program can run as it is, with its free calls, or be built to leak. Only
// for programs of this folder: each is one translation unit, and this file defines operator new in
// it.
//
// Include it after the standard headers, which declare the names that become macros here. Memory of
// operator new is uncollectable but scanned: containers of the C++ library, whose code knows
// nothing of the collector, keep what they point to alive.
#pragma once

#include <pthread.h>

#include <new>

#define GC_THREADS 1
#include <gc.h>

#define malloc(size) GC_MALLOC(size)
#define calloc(count, size)                                             \
  GC_MALLOC((count) * (size)) /* the collector clears what it hands out \
                               */
#define realloc(data, size) GC_REALLOC(data, size)
#define free(data) GC_FREE(data)
#define posix_memalign(where, alignment, size) GC_posix_memalign(where, alignment, size)
#define malloc_usable_size(data) GC_size(data)

void* operator new(size_t size) {
  void* data = GC_MALLOC_UNCOLLECTABLE(size);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
void operator delete(void* data) noexcept { GC_FREE(data); }
void operator delete(void* data, size_t) noexcept { GC_FREE(data); }

namespace workload {
inline void startMalloc() { GC_INIT(); }
}  // namespace workload
