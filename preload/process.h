// The exported process-wide calls (export_process.cc): what the constructor has to resolve before
// the program can call them from places where the loader may not be asked.
#pragma once

namespace graft::preload {

void resolveProcess();
// The same for the synchronisation functions (export_sync.cc).
void resolveSync();

}  // namespace graft::preload
