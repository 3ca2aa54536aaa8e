// Writes the facts about glibc to the file that GRAFT_FACTS names. They are proven on the way,
// which starts a thread for a moment, so nothing happens unless someone asks.
#include "shims/facts.h"

#include "core/base/options.h"
#include "core/os/message.h"
#include "shims/glibc/facts.h"

namespace graft::shims {

void writeFacts() {
  const char* pattern = base::options.facts;
  if (pattern[0] == '\0') return;
  glibc::calibrate();
  int fd = os::openOutput(pattern, false);
  if (fd < 0) return;
  glibc::printFacts(
      [](const base::Line& line, void* arg) {
        os::writeAll(*static_cast<int*>(arg), line.data(), line.size());
      },
      &fd);
  os::closeOutput(fd);
}

}  // namespace graft::shims
