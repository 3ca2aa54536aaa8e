// Checked mode (GRAFT_HEAP_CHECK, MALLOC_CHECK_): what surrounds and fills blocks so that stray
// writes are found. A live block of n bytes: | n bytes | 0xfd ... | 8 bytes: n mixed with the key |
// up to the end of its slot or pages. A free slot: 0xdf everywhere but the key in its second word.
// Pure functions on memory the caller owns; no locks, any stack.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::heap {

inline constexpr size_t kGuardBytes = 8;

// Writes the guard of a block of `requested` bytes that occupies `room` (>= requested + 8) bytes.
void armGuard(void* block, size_t requested, size_t room, uint64_t key);
// The requested size; ~0 when the guard has been overwritten.
size_t guardedSize(const void* block, size_t room, uint64_t key);

void fillFreed(void* slot, size_t size);
// True when a free slot still is as fillFreed() and the key left it.
bool freedIntact(const void* slot, size_t size, uint64_t key);

}  // namespace graft::heap
