// The allocator behind graft, by dlsym(RTLD_NEXT): resolved once, handed to core as os::Host.
// Constructor or first foreign pointer, whichever comes first; any thread.
#pragma once

namespace graft::preload {

// Before the runtime starts: abort, and resolvers for foreign blocks.
void installHost();
// Fills os::host. Idempotent; safe when called from two threads.
void resolveReal();

}  // namespace graft::preload
