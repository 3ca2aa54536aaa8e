// Programs whose threads stay kernel threads, because they do with them what only kernel threads
// can do. `graft doctor` prints the list.
#pragma once

namespace graft::shims {

// The rule that this process matches, or null. Program's thread: asks the loader.
const char* ruleAgainst();

}  // namespace graft::shims
