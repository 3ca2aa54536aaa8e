// What the runtime does with the collector: starts it where the options ask for it, answers `gc`
// and `leaks` on the control socket, and writes the report of the process's end. Lines of JSON:
//
//   summary   {"cycle": N, "complete": true, "why": "", "stw_ns": ..., ...}
//   site      {"site": ID, "pc": "0x...", "objects": N, "bytes": N, "direct_objects": N, ...}
//   maps      {"maps": N, "bytes": N} and N bytes of /proc/self/maps (in the file only)
//
// start(): the thread that starts the runtime. Commands: the control socket's thread. writeLeaks():
// the thread that ends the process.
#pragma once

#include "core/prof/control.h"

namespace graft::runtime {

class Runtime;

// False: it was not asked for, or cannot be (said in one line).
bool startCollector(Runtime& rt);
const char* gcCommand(const char* argument, prof::Reply& reply);
const char* leaksCommand(const char* argument, prof::Reply& reply);
// GRAFT_LEAKS: a last cycle, and what it found.
void writeLeaks(Runtime& rt);
// For the run summary: a JSON object.
void describeCollector(Runtime& rt, base::Line& out);

// A call of the heap's from the program (world.h). A cycle that came due runs behind the outermost.
class Inside {
 public:
  Inside();
  ~Inside();
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  bool on_;
};

}  // namespace graft::runtime
