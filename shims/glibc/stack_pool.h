// Memory for thread blocks: slots of [guard | stack | top], one class per power of two of stack
// size, each class a few large MAP_NORESERVE mappings that double in size. Guards are markers in
// the page tables (MADV_GUARD_INSTALL), so a hundred thousand stacks cost no mappings; where the
// kernel has no markers, memory is locked or GRAFT_DENY says so, they are mprotect'ed pages. Guards
// stay installed when a slot is recycled. Freed slots are taken last in, first out, with their
// stack warm.
//
// Any stack, g0 too: system calls and one lock of graft's per class, never libc. Lock order: a
// class lock is a leaf. Slots of 2 MiB and more need no offset to share page-table pages:
// neighbours touch (the top of one slot lies next to the guard of the following one), and only a
// slot border within a page or two of a 2 MiB border, one in some hundred, costs a second page.
// Rejected: mprotect guards for all (two mappings per stack, vm.max_map_count ends it at 32 k);
// GUARD_REMOVE on recycling (10 us).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shims/glibc/thread_block.h"

namespace graft::glibc {

// Bytes at the top of a slot for static TLS, struct pthread and ThreadBlock; set once before use.
void initStackPool(size_t top_bytes);

// A slot whose stack part has at least `stack` bytes above a guard of `guard` bytes; with `stack` 0
// only the top. Returns the address of the byte behind the slot and fills the pool's fields of the
// ThreadBlock that ends there; null when the kernel gives no more.
ThreadBlock* acquireSlot(size_t stack, size_t guard);
void releaseSlot(ThreadBlock* block);

// The lowest usable byte of the slot's stack.
uintptr_t slotStackLow(const ThreadBlock* block);

void resetPoolAfterFork(ThreadBlock* survivor);

}  // namespace graft::glibc
