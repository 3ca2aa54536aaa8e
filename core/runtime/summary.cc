// The run summary: what was on, what fell back and why, and the heap's figures, as JSON for tests
// and for `graft doctor`, so that a silent fallback cannot pass for success. Written at exit.
#include "core/base/format.h"
#include "core/base/version.h"
#include "core/heap/misuse.h"
#include "core/os/message.h"
#include "core/os/sys.h"
#include "core/runtime/collect.h"
#include "core/runtime/runtime.h"

namespace graft::runtime {
namespace {

// What a capability turned out to be: on, denied by GRAFT_DENY, or missing.
const char* stateOf(base::Capability c, const Runtime& rt, bool on) {
  if (base::isDenied(c)) return "denied";
  if (!on) return "unused";
  const heap::Heap& heap = rt.heap;
  switch (c) {
    case base::Capability::reserve: return heap.space.growsByMapping() ? "missing" : "on";
    case base::Capability::nohugepage: return heap.space.noHugePages() ? "on" : "missing";
    case base::Capability::purge: return heap.mheap.purgeWorks() ? "on" : "missing";
    case base::Capability::mremap: return "on";
    case base::Capability::fsgsbase:
    case base::Capability::calibration: return rt.sched.on() ? "on" : "unused";
    default: return "unused";
  }
}

}  // namespace

void Runtime::writeSummary() {
  const char* pattern = base::options.summary;
  if (pattern[0] == '\0') return;
  base::Line out;
  out.str("{\"graft\": {\"version\": \"" GRAFT_VERSION "\", \"pid\": ").dec(os::getpid());
  out.str(", \"enabled\": ").str(on() ? "true" : "false").str(", \"why_off\": ").json(whyOff());
  out.str(", \"slow_mode\": ").str(slow_mode_ ? "true" : "false").str(", \"capabilities\": {");
  for (size_t i = 0; i < base::kCapabilityCount; i++) {
    if (i != 0) out.str(", ");
    out.json(base::kCapabilities[i].name).str(": ");
    out.json(stateOf(static_cast<base::Capability>(i), *this, on()));
  }
  out.str("}, \"threads\": {\"mode\": ").str(sched.on() ? "\"m:n\"" : "\"1:1\"");
  out.str(", \"why_not\": ").json(why_no_gs != nullptr ? why_no_gs : "");
  sched::Totals t = sched.totals();
  out.str(", \"procs\": ").udec(sched.procs()).str(", \"gs\": ").udec(t.gs);
  out.str(", \"ms\": ").udec(t.ms).str(", \"retakes\": ").udec(t.retakes);
  out.str(", \"handoffs\": ").udec(t.handoffs);
  out.str("}},\n");
  int fd = os::openOutput(pattern, false);
  if (fd < 0) return;
  os::writeAll(fd, out.data(), out.size());
  out.clear();
  out.str(" \"gc\": ");
  describeCollector(*this, out);
  out.str(",\n");
  os::writeAll(fd, out.data(), out.size());
  heap::HeapStats s = heap.stats();
  out.clear();
  auto field = [&out](const char* name, uint64_t v) { out.json(name).str(": ").udec(v).str(", "); };
  out.str(" \"heap\": {");
  field("small_used", s.small_used);
  field("large_used", s.large_used);
  field("small_free", s.small_free);
  field("cached", s.cached);
  field("dirty", s.pages.dirty_pages << kPageShift);
  field("clean", s.pages.clean_pages << kPageShift);
  field("returned_total", s.pages.purged_pages << kPageShift);
  field("committed", s.pages.committed_pages << kPageShift);
  field("metadata", s.metadata_bytes);
  field("reserved", s.reserved);
  field("spans", s.spans);
  field("caches", s.caches);
  field("caches_owned", s.caches_owned);
  field("refills", s.refills);
  field("flushes", s.flushes);
  out.str("\"misuse\": ").udec(heap::misuseCount()).str("}}\n");
  os::writeAll(fd, out.data(), out.size());
  os::closeOutput(fd);
}

void Runtime::sayVerbose() {
  if (!base::options.verbose) return;
  base::Line line;
  line.str("graft: ");
  if (!on()) {
    line.str("off: ").str(whyOff()).nl();
    os::say(line);
    return;
  }
  line.str("heap on");
  for (size_t i = 0; i < base::kCapabilityCount; i++) {
    const char* state = stateOf(static_cast<base::Capability>(i), *this, true);
    if (state[0] == 'o' || state[0] == 'u') continue;
    line.str("; ").str(base::kCapabilities[i].name).chr(' ').str(state).str(": ");
    line.str(base::kCapabilities[i].otherwise);
  }
  line.nl();
  os::say(line);
}

}  // namespace graft::runtime
