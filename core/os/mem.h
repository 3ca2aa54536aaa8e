// Address space from the kernel: reserve, commit, move and give back. All ranges are multiples of
// the OS page. Every function may fail and says so; GRAFT_FAULT_MAP makes every N-th request fail
// so that tests reach those paths. Any stack, no locks.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/types.h"

namespace graft::os {

// PROT_NONE address space, not charged to any limit but RLIMIT_AS, left out of core files. `hint` 0
// or an address that must be got exactly. Returns 0 on failure.
Addr reserve(size_t bytes, Addr hint);
// Makes reserved pages readable and writable (zero on first touch), and part of core files.
bool commit(Addr at, size_t bytes);
// Maps fresh pages exactly at `at` where nothing was mapped before (no reservation needed).
bool mapFresh(Addr at, size_t bytes);
// Replaces mapped pages of ours by fresh zero pages; undoes what movePages did to the mapping.
bool remapZero(Addr at, size_t bytes);
// Gives the pages back; true when they are zero from now on.
bool purge(Addr at, size_t bytes);
// Moves page contents from one committed range to another; the old range stays mapped and zero.
// False: nothing was moved.
bool movePages(Addr from, Addr to, size_t bytes);
// Never back this range by huge pages on the kernel's own initiative.
bool noHugePages(Addr at, size_t bytes);
void release(Addr at, size_t bytes);
// Pages that fault on any access, without a mapping of their own (Linux 6.13). They stay when the
// range is purged. False: the kernel does not know them, or the range is locked in memory.
bool installGuard(Addr at, size_t bytes);
bool removeGuard(Addr at, size_t bytes);
// The same by page protection: each such range costs mappings.
bool protect(Addr at, size_t bytes);

// Every n-th call of reserve, commit, mapFresh and movePages fails; 0: none does.
void setFaultInjection(uint64_t every_n);

}  // namespace graft::os
