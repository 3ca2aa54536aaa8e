// What one process can no longer reach, as its runtime tells it (core/runtime/collect.h), with the
// places named: from the reply of its control socket or from the file that it left at its end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/control_client.h"
#include "tools/suppressions.h"
#include "tools/symbols.h"

namespace graft::tools {

struct Counted {
  uint64_t objects = 0, bytes = 0;
};

// All that was allocated by one call.
struct LeakSite {
  uint64_t pc = 0;  // behind the call; 0: not known
  Counted direct, indirect;  // indirect: another leaked object points to it
  Counted reclaimed;  // since the process began
  std::string
      pardoned;  // not "": nothing of it is given back, for the program has so proved it lives
  uint64_t oldest_cycles = 0, newest_cycles = 0;  // how long they have been known as leaked
  std::vector<Place> places;  // innermost first
  const Suppression* suppressed = nullptr;
  // Against the report before, where there is one.
  std::optional<int64_t> more_objects, more_bytes;

  uint64_t objects() const { return direct.objects + indirect.objects; }
  uint64_t bytes() const { return direct.bytes + indirect.bytes; }
  // The same call in another run: MODULE+OFFSET.
  std::string key() const;
};

struct LeakReport {
  pid_t pid = 0;
  std::string program;
  nlohmann::json cycle;  // the runtime's summary of the collection
  std::vector<LeakSite> sites;  // those with most bytes first

  bool complete() const { return cycle.value("complete", false); }
  Counted leaked() const;  // without what is suppressed
};

// "" or why the answers are none of a runtime's.
std::string readReport(const std::vector<Answer>& answers, LeakReport& out);
// The same of a GRAFT_LEAKS file, whose map of the process goes to `maps`.
std::string readReportFile(const std::string& file, LeakReport& out, std::string& maps);

// Names the places, and finds out which of them are suppressed.
void nameSites(LeakReport& report, const Symbols& symbols, Suppressions& suppressions);

// Earlier reports to count growth from, by process and site.
class Earlier {
 public:
  // Of a file that --json wrote: "" or what is wrong with it.
  std::string read(const std::string& file);
  // Fills in the growth of each site, where there is an earlier report of the program.
  void compare(LeakReport& report) const;
  // For the next report of the same process.
  void remember(const LeakReport& report);

 private:
  // By program: process ids do not outlive a process.
  std::map<std::string, std::map<std::string, Counted>> sites_;
};

// In LeakSanitizer's layout. At most `most` sites of each kind; 0: all.
std::string textOf(const LeakReport& report, size_t most);
std::string textOf(const Suppressions& suppressions);
nlohmann::ordered_json jsonOf(const LeakReport& report);
nlohmann::ordered_json jsonOf(const Suppressions& suppressions);

}  // namespace graft::tools
