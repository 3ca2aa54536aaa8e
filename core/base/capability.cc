// Parses GRAFT_DENY into the set of capabilities that this process treats as missing. Runs once at
// process start (and in the tools), on any stack; no locks, no libc, no allocation.
#include "core/base/capability.h"

#include "core/base/format.h"
#include "core/base/options.h"

namespace graft::base {
namespace {

const char* capabilityName(size_t i) { return kCapabilities[i].name; }

bool same(const char* name, const char* item, size_t n) {
  size_t i = 0;
  while (i < n && name[i] == item[i] && name[i] != '\0') i++;
  return i == n && name[n] == '\0';
}

[[gnu::cold, gnu::noinline]] void reportUnknown(const char* item, size_t n, ReportFn report) {
  Line line;
  line.str("graft: GRAFT_DENY: unknown capability ");
  quoteValue(item, n, line);
  suggestName(item, n, kCapabilityCount, capabilityName, line);
  line.nl();
  report(line.data(), line.size());
}

}  // namespace

bool isDenied(Capability c) { return CapabilitySet(options.denied).has(c); }

CapabilitySet parseDeny(const char* list, ReportFn report) {
  CapabilitySet set;
  for (const char* p = list; *p != '\0';) {
    const char* item;
    size_t n = nextItem(p, item);
    if (n == 0) continue;
    if (same("all", item, n)) {
      set = CapabilitySet::all();
      continue;
    }
    size_t i = 0;
    while (i < kCapabilityCount && !same(kCapabilities[i].name, item, n)) i++;
    if (i < kCapabilityCount) {
      set.add(static_cast<Capability>(i));
    } else if (report != nullptr) {
      reportUnknown(item, n, report);
    }
  }
  return set;
}

}  // namespace graft::base
