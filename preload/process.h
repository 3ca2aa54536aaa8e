// The exported process-wide calls (export_process.cc): what the constructor has to resolve before
// the program can call them from places where the loader may not be asked.
#pragma once

namespace graft::preload {

void resolveProcess();
// The same for the synchronisation functions (export_sync.cc).
void resolveSync();
// Whether they are those of shims/sync, which threads that are Gs need. Decides it, if need be: a
// call in the middle of the runtime's start leaves them to glibc for good.
bool syncIsForGs();

}  // namespace graft::preload
