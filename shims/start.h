// How the runtime is started from wherever the first call comes: the preload layer provides the
// definition, because it knows the environment, AT_SECURE, valgrind and sanitizers.
#pragma once

namespace graft::shims {

// Starts the runtime if nobody has; true when graft is on.
bool startRuntime();

}  // namespace graft::shims
