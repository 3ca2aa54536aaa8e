// Reports of what the program did wrong with its memory: one line with address, span and state,
// then abort, or go on with GRAFT_MISUSE=report. Any thread; takes no lock, allocates nothing.
#pragma once

#include "core/heap/heap.h"

namespace graft::heap {

// `call` is the libc function the program called, `what` the verdict. Returns only in report mode.
[[gnu::cold, gnu::noinline]] void reportMisuse(Heap& heap, const char* call, const void* p,
                                               const char* what);
// The verdict in words for an address that is no live block; nullptr when it is one.
const char* misuseOf(AddrKind kind);
// Count of reports so far, for the run summary.
uint64_t misuseCount();

}  // namespace graft::heap
