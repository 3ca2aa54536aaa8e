// What each call of the malloc family means on graft: sizes, alignment, overflow, errno and usable
// size exactly as glibc documents them (HEAP.md H7), over core/heap. preload exports one forward
// per name. The fast halves are inline in preload; everything here is the slow half or a call that
// has none. Any thread, on its own stack; may be the first call of the process.
#pragma once

#include <stddef.h>

namespace graft::shims {

void* mallocSlow(size_t size);
void freeSlow(void* p);
void* callocAny(size_t count, size_t size);
void* reallocAny(void* p, size_t size);
void* memalignAny(size_t align, size_t size);  // rounds the alignment up as memalign does
void* alignedFor(size_t align, size_t size,
                 const void* caller);  // on that return address's account
int posixMemalign(void** out, size_t align, size_t size);
size_t usableSizeSlow(const void* p);
// operator delete with a size: verified in checked mode, else a free().
void freeSized(void* p, size_t size);
// operator new after a failed allocation: new_handler loop, then bad_alloc or null.
void* newSlow(size_t size, size_t align, bool nothrow);

int trimAny(size_t pad);

}  // namespace graft::shims
