// Words of a thread block by their offset from its thread pointer. Private to this folder; any
// stack.
#pragma once

#include <stdint.h>

namespace graft::glibc {

inline uintptr_t at(uintptr_t tp, int64_t offset) { return tp + static_cast<uintptr_t>(offset); }
inline uintptr_t& wordAt(uintptr_t tp, int64_t offset) {
  return *reinterpret_cast<uintptr_t*>(at(tp, offset));
}

}  // namespace graft::glibc
