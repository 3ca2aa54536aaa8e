// See collect.h. The file is written piece by piece: the maps of a large program are long.
#include "core/runtime/collect.h"

#include <fcntl.h>

#include "core/os/cpu.h"
#include "core/os/message.h"
#include "core/runtime/runtime.h"

namespace graft::runtime {
namespace {

void summaryLine(const gc::CycleStats& s, base::Line& out) {
  out.str("{\"cycle\": ").udec(s.cycle);
  out.str(", \"complete\": ").str(s.complete ? "true" : "false");
  out.str(", \"why\": ").json(s.why != nullptr ? s.why : "");
  out.str(", \"stw_ns\": ").udec(s.stw_ns).str(", \"mark_ns\": ").udec(s.mark_ns);
  out.str(", \"live_objects\": ").udec(s.live_objects);
  out.str(", \"live_bytes\": ").udec(s.live_bytes);
  out.str(", \"roots_bytes\": ").udec(s.roots_bytes);
  out.str(", \"reclaimed_objects\": ").udec(s.reclaimed_objects);
  out.str(", \"reclaimed_bytes\": ").udec(s.reclaimed_bytes);
  out.str(", \"quarantined_objects\": ").udec(s.quarantined_objects);
  out.str(", \"held\": ").json(s.held != nullptr ? s.held : "").chr('}');
}

void siteLine(uint16_t site, const gc::SiteLeaks& s, base::Line& out) {
  out.str("{\"site\": ").udec(site).str(", \"pc\": \"").hex(rt.heap.pcOfSite(site));
  out.str("\", \"objects\": ").udec(s.objects).str(", \"bytes\": ").udec(s.bytes);
  out.str(", \"direct_objects\": ").udec(s.direct_objects);
  out.str(", \"direct_bytes\": ").udec(s.direct_bytes);
  out.str(", \"indirect_objects\": ").udec(s.objects - s.direct_objects);
  out.str(", \"indirect_bytes\": ").udec(s.bytes - s.direct_bytes);
  out.str(", \"oldest_cycles\": ").udec(s.oldest);
  out.str(", \"newest_cycles\": ").udec(s.objects != 0 ? s.newest : 0);
  out.str(", \"reclaimed_objects\": ").udec(s.reclaimed_objects);
  out.str(", \"reclaimed_bytes\": ").udec(s.reclaimed_bytes);
  out.str(", \"late_frees\": ").udec(s.late_frees);
  out.str(", \"pardoned\": ").json(gc::nameOf(s.pardon)).chr('}');
}

// A cycle that was not complete says nothing about leaks.
template <class Write>
void report(gc::Cause cause, Write write) {
  gc::CycleStats s = rt.collector.collect(cause, true);
  base::Line line;
  summaryLine(s, line);
  write(line);
  if (!s.complete) return;
  rt.collector.forEachLeak([&](uint16_t site, const gc::SiteLeaks& leaks) {
    base::Line text;
    siteLine(site, leaks, text);
    write(text);
  });
}

const char* modeOf(const gc::Collector& c) {
  return !c.on() ? "off" : c.reclaims() ? "reclaim" : "detect";
}

constexpr const char* kOff = "the collector is off; GRAFT_GC=detect turns it on";

// Twice: the length has to be told first, and the reading itself maps nothing.
void writeMaps(int fd) {
  static constinit char text[64_KiB] = {};
  size_t bytes = 0;
  for (int pass = 0; pass < 2; pass++) {
    long maps = os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/maps"), O_RDONLY | O_CLOEXEC);
    if (os::failed(maps)) return;
    size_t left = bytes;
    for (long n; (n = os::sys(SYS_read, maps, os::arg(text), sizeof text)) > 0;) {
      size_t some = static_cast<size_t>(n);
      if (pass == 0) {
        bytes += some;
      } else {
        if (some > left) some = left;
        os::writeAll(fd, text, some);
        left -= some;
      }
    }
    os::sys(SYS_close, maps);
    if (pass != 0) {
      for (; left != 0; left--) os::writeAll(fd, "\n", 1);
      return;
    }
    base::Line line;
    line.str("{\"maps\": ").udec(bytes).str(", \"bytes\": ").udec(bytes).str("}\n");
    os::writeAll(fd, line.data(), line.size());
  }
}

}  // namespace

bool startCollector(Runtime& runtime) {
  bool leaks = base::options.leaks.get()[0] != '\0';
  base::GcMode mode = base::options.gc.get();
  if (mode == base::GcMode::kOff && !leaks) return false;
  gc::Settings s;
  s.stress_every = static_cast<uint64_t>(base::options.gc_stress.get());
  s.growth_percent = base::options.gogc;
  s.floor_bytes = static_cast<uint64_t>(base::options.gc_floor_mib.get()) * 1_MiB;
  s.period_ms = static_cast<uint64_t>(base::options.gc_period_s.get()) * 1000;
  s.workers = static_cast<uint32_t>(base::options.gc_workers.get());
  uint32_t cpus = os::usableCpus();
  if (s.workers == 0) s.workers = cpus < 8 ? cpus : 8;
  s.trace = base::options.gctrace;
  s.deny_pagemap_scan = base::isDenied(base::Capability::pagemap_scan);
  s.reclaim = mode == base::GcMode::kReclaim;
  s.wait_ms = static_cast<uint64_t>(base::options.gc_wait_s.get()) * 1000;
  if (s.stress_every != 0) s.wait_ms = 0;
  s.tls_below = sched::kTlsBelow;
  bool on = runtime.heap.enableSites() &&
            runtime.collector.init(runtime.heap, runtime.world.forCollector(), s);
  if (!on) {
    base::Line line;
    os::say(line.str("graft: the collector is off: no address space\n"));
  }
  return on;
}

const char* gcCommand(const char*, prof::Reply& reply) {
  if (!rt.collector.on()) return kOff;
  gc::CycleStats s = rt.collector.collect(gc::Cause::kAsked, false);
  base::Line line;
  summaryLine(s, line);
  reply.line(line);
  return nullptr;
}

const char* leaksCommand(const char*, prof::Reply& reply) {
  if (!rt.collector.on()) return kOff;
  report(gc::Cause::kAsked, [&reply](base::Line& line) { reply.line(line); });
  return nullptr;
}

void writeLeaks(Runtime& runtime) {
  const char* pattern = base::options.leaks;
  if (pattern[0] == '\0' || !runtime.collector.on()) return;
  int fd = os::openOutput(pattern, false);
  if (fd < 0) return;
  report(gc::Cause::kExit, [fd](base::Line& line) {
    line.nl();
    os::writeAll(fd, line.data(), line.size());
  });
  writeMaps(fd);
  os::closeOutput(fd);
}

void describeCollector(Runtime& runtime, base::Line& out) {
  gc::CollectorTotals t = runtime.collector.totals();
  out.str("{\"mode\": ").json(modeOf(runtime.collector));
  out.str(", \"cycles\": ").udec(t.cycles).str(", \"incomplete\": ").udec(t.incomplete);
  out.str(", \"stw_ns\": ").udec(t.stw_ns);
  out.str(", \"longest_stw_ns\": ").udec(t.longest_stw_ns);
  out.str(", \"late_frees\": ").udec(t.late_frees);
  out.str(", \"reclaimed_objects\": ").udec(t.reclaimed_objects);
  out.str(", \"reclaimed_bytes\": ").udec(t.reclaimed_bytes);
  out.str(", \"held\": ").json(t.held != nullptr ? t.held : "");
  out.str(", \"why\": ").json(t.why[0] != '\0' ? t.why : "");
  out.str(", \"late_sites\": [");
  // Sites of objects that were called leaked and freed later, while the line has room.
  bool first = true;
  for (size_t i = 0; runtime.collector.on() && i < gc::Leaks::kSites && out.size() < 700; i++) {
    uint32_t n = runtime.collector.lateFreesOf(i);
    if (n == 0) continue;
    if (!first) out.str(", ");
    first = false;
    out.str("{\"pc\": \"").hex(runtime.heap.pcOfSite(static_cast<uint16_t>(i)));
    out.str("\", \"frees\": ").udec(n).chr('}');
  }
  out.str("]}");
}

Inside::Inside() : on_(__builtin_expect(rt.collector.on(), 0)) {
  if (on_) rt.world.enter();
}

Inside::~Inside() {
  if (!on_) return;
  if (rt.world.leave() && rt.collector.due()) rt.collector.collectDue();
}

}  // namespace graft::runtime
