// Figures in the shape glibc gives them: mallinfo, mallinfo2, malloc_stats, malloc_info, and
// mallopt. They are collected by walking the heap when asked for. What has no meaning on graft
// (fastbins, arenas of glibc) is 0. Any thread; malloc_info and malloc_stats write to stdio.
#include "shims/malloc_info.h"

#include <errno.h>

#include "core/heap/heap.h"
#include "core/os/message.h"
#include "core/runtime/collect.h"
#include "core/runtime/runtime.h"

namespace graft::shims {
namespace {

using runtime::rt;

constexpr int kMallocTrimThreshold = -1, kMallocTopPad = -2, kMallocMmapThreshold = -3;
constexpr int kMallocMmapMax = -4, kMallocCheckAction = -5, kMallocPerturb = -6;
constexpr int kMallocArenaTest = -7, kMallocArenaMax = -8, kMallocMxfast = 1;
constexpr int kMaxFast = 80 * static_cast<int>(sizeof(size_t)) / 4;

heap::HeapStats statsNow() {
  runtime::Inside inside;
  return rt.heap.stats();
}

uint64_t bytes(uint64_t pages) { return pages << kPageShift; }
uint64_t usedSlots(const heap::ClassStats& c) {
  uint64_t out = c.slots - c.free;
  return out > c.cached ? out - c.cached : 0;
}

// Where memory is held that no block is in: per size class, what is resident against what is used.
void writeClasses(const heap::HeapStats& s) {
  base::Line out;
  out.str("graft, size classes with spans:\n");
  out.str("        size       spans        used      cached        free");
  out.str("  open (KiB)    of (KiB)\n");
  for (size_t i = 1; i < heap::kNumClasses; i++) {
    const heap::ClassStats& c = s.classes[i];
    if (c.spans == 0) continue;
    const uint64_t row[] = {heap::classSize(static_cast<heap::ClassId>(i)),
                            c.spans,
                            usedSlots(c),
                            c.cached,
                            c.free,
                            bytes(c.open) >> 10,
                            bytes(c.pages) >> 10};
    for (uint64_t v : row) out.column(v, 11);
    out.nl();
    os::writeAll(2, out.data(), out.size());
    out.clear();
  }
}

}  // namespace

struct mallinfo2 mallinfo2Any() {
  heap::HeapStats s = statsNow();
  struct mallinfo2 m{};
  m.arena = bytes(s.pages.small_pages + s.pages.dirty_pages);
  m.ordblks = s.spans;
  m.hblks = s.pages.large_blocks;
  m.hblkhd = s.large_used;
  m.uordblks = s.small_used;
  m.fordblks = m.arena - s.small_used;
  m.keepcost = bytes(s.pages.dirty_pages);
  return m;
}

struct mallinfo mallinfoAny() {
  struct mallinfo2 m = mallinfo2Any();
  auto clip = [](size_t v) { return static_cast<int>(v); };  // as glibc: wraps above 2 GiB
  return {clip(m.arena),   clip(m.ordblks), clip(m.smblks),   clip(m.hblks),    clip(m.hblkhd),
          clip(m.usmblks), clip(m.fsmblks), clip(m.uordblks), clip(m.fordblks), clip(m.keepcost)};
}

// glibc's lines first, for whoever parses them; to descriptor 2 by raw writes, because this is no
// cancellation point.
void mallocStats() {
  heap::HeapStats s = statsNow();
  base::Line out;
  auto row = [&](const char* name, uint64_t v) { out.str(name).str(" = ").udec(v).nl(); };
  uint64_t system = bytes(s.pages.small_pages + s.pages.dirty_pages);
  out.str("Arena 0:\n");
  row("system bytes    ", system);
  row("in use bytes    ", s.small_used);
  out.str("Total (incl. mmap):\n");
  row("system bytes    ", system + s.large_used);
  row("in use bytes    ", s.small_used + s.large_used);
  row("max mmap regions", s.pages.large_blocks);
  row("max mmap bytes  ", s.large_used);
  out.str("graft:\n");
  row("cached bytes    ", s.cached);
  row("free in spans   ", s.small_free);
  row("free dirty pages", bytes(s.pages.dirty_pages));
  row("returned, total ", bytes(s.pages.purged_pages));
  row("metadata bytes  ", s.metadata_bytes);
  row("spans           ", s.spans);
  row("caches          ", s.caches);
  row("caches in use   ", s.caches_owned);
  os::writeAll(2, out.data(), out.size());
  writeClasses(s);
}

int mallocInfo(int options, FILE* out) {
  if (options != 0) {
    errno = EINVAL;
    return -1;
  }
  heap::HeapStats s = statsNow();
  uint64_t system = bytes(s.pages.small_pages + s.pages.dirty_pages);
  uint64_t rest = system > s.small_used ? system - s.small_used : 0;
  fprintf(out, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
  for (size_t i = 1; i < heap::kNumClasses; i++) {
    const heap::ClassStats& c = s.classes[i];
    if (c.free == 0) continue;  // as glibc: free chunks by size
    uint64_t size = heap::classSize(static_cast<heap::ClassId>(i));
    fprintf(out, "  <size from=\"%lu\" to=\"%lu\" total=\"%lu\" count=\"%lu\"/>\n",
            i > 1 ? uint64_t{heap::classSize(static_cast<heap::ClassId>(i - 1))} + 1 : 1, size,
            c.free * size, c.free);
  }
  fprintf(
      out,
      "</sizes>\n"
      "<total type=\"fast\" count=\"0\" size=\"%lu\"/>\n"
      "<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n"
      "<system type=\"current\" size=\"%lu\"/>\n<system type=\"max\" size=\"%lu\"/>\n"
      "<aspace type=\"total\" size=\"%lu\"/>\n<aspace type=\"mprotect\" size=\"%lu\"/>\n</heap>\n",
      s.cached, s.spans, rest, system, bytes(s.pages.committed_pages), s.reserved,
      bytes(s.pages.committed_pages));
  fprintf(out,
          "<total type=\"fast\" count=\"0\" size=\"%lu\"/>\n"
          "<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n"
          "<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n"
          "<system type=\"current\" size=\"%lu\"/>\n<system type=\"max\" size=\"%lu\"/>\n"
          "<aspace type=\"total\" size=\"%lu\"/>\n<aspace type=\"mprotect\" "
          "size=\"%lu\"/>\n</malloc>\n",
          s.cached, s.spans, rest, s.pages.large_blocks, s.large_used, system + s.large_used,
          bytes(s.pages.committed_pages), s.reserved, bytes(s.pages.committed_pages));
  return 0;
}

int malloptAny(int param, int value) {
  switch (param) {
    case kMallocMxfast: return value >= 0 && value <= kMaxFast ? 1 : 0;
    case kMallocTrimThreshold:
      // -1 means "never trim" in glibc; anything else leaves the decay as it is.
      if (value == -1 && rt.on()) rt.heap.setDecay(-1);
      return 1;
    case kMallocTopPad:
    case kMallocMmapThreshold:
    case kMallocMmapMax:
    case kMallocCheckAction:
    case kMallocPerturb:
    case kMallocArenaTest:
    case kMallocArenaMax: return 1;
    default: return 1;
  }
}

}  // namespace graft::shims
