// A malloc over one heap::Heap for tests that link core without interposition: the production fast
// paths and slow paths in the order shims/malloc.cc uses them, with a cache of the calling thread.
// One object per thread; blocks may be freed through any thread's object.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/bits.h"
#include "core/heap/malloc_fast.h"
#include "core/os/sys.h"

namespace graft::test {

class TestMalloc {
 public:
  explicit TestMalloc(heap::Heap& h) : heap_(h) {
    cache_ = h.acquireCache(os::threadPointer(), static_cast<uint32_t>(os::gettid()));
  }
  heap::MCache* cache() { return cache_; }

  void* malloc(size_t size, size_t align = 16) {
    heap::ClassId cls = 0;
    if (size <= heap::kMaxSmall && align <= kPageSize) {
      unsigned c = heap::classFor(size);
      while (c < heap::kNumClasses && heap::classSize(static_cast<heap::ClassId>(c)) % align != 0)
        c++;
      if (c < heap::kNumClasses) cls = static_cast<heap::ClassId>(c);
    }
    bool zero = false;
    if (cls == 0) return heap_.allocLarge(size, align, &zero);
    // While a cycle is active every allocation takes the slow path (it allocates black).
    if (!heap_.cycleActive()) {
      if (void* p = heap::mallocFast(*cache_, cls)) return p;
    }
    return heap_.allocSmall(*cache_, cls);
  }

  // Zeroed block, trusting what the heap says about fresh pages.
  void* calloc(size_t size) {
    bool zero = false;
    void* p = size > heap::kMaxSmall ? heap_.allocLarge(size, 16, &zero) : malloc(size);
    if (p != nullptr && !zero) base::fillBytes(p, 0, size);
    return p;
  }

  // False: the heap says this is no live block.
  bool free(void* p) {
    if (heap::freeFast(*cache_, p)) return true;
    heap::BlockInfo b = heap_.classify(p);
    if (b.kind == heap::AddrKind::kSmall) {
      heap_.freeSmall(*cache_, b);
      return true;
    }
    return b.kind == heap::AddrKind::kLarge && heap_.freeLarge(b);
  }

  void* realloc(void* p, size_t size) {
    heap::BlockInfo b = heap_.classify(p);
    if (b.kind == heap::AddrKind::kLarge && size > heap::kMaxSmall) {
      if (heap_.resizeLarge(b, size)) return p;
      if (size > b.size) {
        if (void* to = heap_.moveLarge(b, size)) return to;
      }
    }
    void* to = malloc(size);
    if (to == nullptr) return nullptr;
    base::copyBytes(to, p, size < b.size ? size : b.size);
    return free(p) ? to : nullptr;
  }

 private:
  heap::Heap& heap_;
  heap::MCache* cache_;
};

}  // namespace graft::test
