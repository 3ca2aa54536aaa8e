// dlopen and dlmopen without RTLD_DEEPBIND: a library that is opened with it would bind malloc to
// libc while its caller frees with graft. (Measured: every other preloaded malloc aborts there.)
#pragma once

namespace graft::preload {

// Constructor: resolves the real functions and reads GRAFT_DEEPBIND.
void initDl();

}  // namespace graft::preload
