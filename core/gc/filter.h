// The first question about every word that is scanned: may it point into the heap? The heap is one
// reservation, so that is a subtraction and a compare, which vector units do for four or eight
// words at once. Most words are no pointers; only those that may be are looked up.
//
// Any stack, no locks, no state. The portable filter is the reference for the others.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/types.h"

namespace graft::gc {

// Copies those of the n words at `from` that lie in [base, base + size) to out, which has room for
// n, in their order; returns how many. size is below 2^63.
using Filter = size_t (*)(const uint64_t* from, size_t n, Addr base, size_t size, uint64_t* out);

enum class FilterKind : uint8_t { kPortable, kAvx2, kAvx512 };
inline constexpr const char* kFilterNames[] = {"portable", "avx2", "avx512"};

// Null: this processor (or the system) does not have it.
Filter filterOf(FilterKind kind);
FilterKind bestFilter();

}  // namespace graft::gc
