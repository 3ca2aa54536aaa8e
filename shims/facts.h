// The table of what graft knows about the glibc of this process, for `graft doctor`.
#pragma once

namespace graft::shims {

// When GRAFT_FACTS names a file: proves the facts, unless that was done already, and writes them
// there as JSON. At exit, on the program's thread.
void writeFacts();

}  // namespace graft::shims
