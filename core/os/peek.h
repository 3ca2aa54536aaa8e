// Reading memory of this process that may be gone or changing: through the kernel, which answers
// with fewer bytes where a plain load would end the process. Any thread, any stack, no locks.
#pragma once

#include <stddef.h>

#include "core/base/types.h"

namespace graft::os {

// Copies up to n bytes from `at`; returns how many there were.
size_t peek(Addr at, void* to, size_t n);

}  // namespace graft::os
