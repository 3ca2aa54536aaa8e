// The one function that libgraft.so adds to what programs know: graft_gc(), declared for them in
// preload/graft.h. Any thread of the program, outside signal handlers.
#include "core/runtime/runtime.h"

extern "C" [[gnu::visibility("default")]] int graft_gc() {
  using graft::runtime::rt;
  if (!rt.on() || !rt.collector.on()) return -1;
  return rt.collector.collect(graft::gc::Cause::kAsked, false).complete ? 0 : 1;
}
