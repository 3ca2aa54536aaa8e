// A leak report for people and as JSON (leak_report.h). The text has LeakSanitizer's layout, which
// editors and build servers know how to read: per site a head with bytes and objects, then frames.
#include <fmt/core.h>

#include "tools/leak_report.h"

namespace graft::tools {
namespace {

using Json = nlohmann::ordered_json;

void addFrames(const LeakSite& site, std::string& out) {
  size_t number = 0;
  for (const Place& p : site.places) {
    out += fmt::format("    #{} {:#x}", number++, p.pc);
    if (!p.function.empty()) out += " in " + p.function;
    if (!p.file.empty()) {
      out += fmt::format(" {}:{}", p.file, p.line);
      if (p.column != 0) out += fmt::format(":{}", p.column);
    } else {
      out += fmt::format(" ({}+{:#x})", p.module.empty() ? "?" : p.module, p.module_offset);
    }
    out += '\n';
  }
  if (site.places.empty()) out += "    #0 <unknown>\n";
}

// What LeakSanitizer cannot know: it looks once.
void addHistory(const LeakSite& site, std::string& out) {
  std::string text;
  if (site.oldest_cycles != 0) {
    text = fmt::format("first found {} collections ago", site.oldest_cycles);
  }
  if (site.more_bytes && site.more_objects) {
    if (!text.empty()) text += "; ";
    text += *site.more_bytes == 0 && *site.more_objects == 0
                ? "not more than in the report before"
                : fmt::format("{:+} byte(s), {:+} object(s) since the report before",
                              *site.more_bytes, *site.more_objects);
  }
  auto add = [&text](const std::string& more) { text += (text.empty() ? "" : "; ") + more; };
  if (site.reclaimed.objects != 0) {
    add(fmt::format("{} byte(s) in {} object(s) were given back", site.reclaimed.bytes,
                    site.reclaimed.objects));
  }
  if (!site.pardoned.empty()) {
    add(fmt::format("never given back: an object of it was {} after it was found unreachable",
                    site.pardoned));
  }
  if (!text.empty()) out += fmt::format("    ({})\n", text);
}

// Of places from which nothing is leaked at present.
void addReclaimed(const LeakReport& report, std::string& out) {
  for (const LeakSite& s : report.sites) {
    if (s.suppressed != nullptr || s.objects() != 0 || s.reclaimed.objects == 0) continue;
    out += fmt::format("Given back: {} byte(s) in {} object(s) allocated from:\n",
                       s.reclaimed.bytes, s.reclaimed.objects);
    addFrames(s, out);
    out += '\n';
  }
}

void addKind(const LeakReport& report, const char* kind, Counted LeakSite::* which, size_t most,
             std::string& out) {
  size_t shown = 0, left = 0;
  for (const LeakSite& s : report.sites) {
    const Counted& c = s.*which;
    if (s.suppressed != nullptr || c.objects == 0) continue;
    if (most != 0 && shown == most) {
      left++;
      continue;
    }
    shown++;
    out += fmt::format("{} leak of {} byte(s) in {} object(s) allocated from:\n", kind, c.bytes,
                       c.objects);
    addFrames(s, out);
    addHistory(s, out);
    out += '\n';
  }
  if (left != 0) out += fmt::format("{} leaks at {} more places are not shown\n\n", kind, left);
}

Json jsonOf(const Place& p) {
  Json j;
  j["function"] = p.function;
  j["file"] = p.file;
  j["line"] = p.line;
  j["column"] = p.column;
  j["module"] = p.module;
  j["offset"] = fmt::format("{:#x}", p.module_offset);
  j["inlined"] = p.inlined;
  return j;
}

Json jsonOf(const LeakSite& s) {
  Json j;
  j["key"] = s.key();
  j["pc"] = fmt::format("{:#x}", s.pc);
  j["objects"] = s.objects();
  j["bytes"] = s.bytes();
  j["direct_objects"] = s.direct.objects;
  j["direct_bytes"] = s.direct.bytes;
  j["indirect_objects"] = s.indirect.objects;
  j["indirect_bytes"] = s.indirect.bytes;
  j["oldest_cycles"] = s.oldest_cycles;
  j["newest_cycles"] = s.newest_cycles;
  j["reclaimed_objects"] = s.reclaimed.objects;
  j["reclaimed_bytes"] = s.reclaimed.bytes;
  j["pardoned"] = s.pardoned;
  j["more_objects"] = s.more_objects ? Json(*s.more_objects) : Json();
  j["more_bytes"] = s.more_bytes ? Json(*s.more_bytes) : Json();
  j["suppressed"] = s.suppressed != nullptr ? Json(s.suppressed->pattern) : Json();
  j["frames"] = Json::array();
  for (const Place& p : s.places) j["frames"].push_back(jsonOf(p));
  return j;
}

}  // namespace

std::string textOf(const LeakReport& report, size_t most) {
  std::string who = fmt::format("=={}==", report.pid);
  if (!report.complete()) {
    return fmt::format("{}ERROR: graft: what leaked in {} is not known: {}\n", who, report.program,
                       report.cycle.value("why", "?"));
  }
  Counted sum = report.leaked();
  if (sum.objects == 0) return fmt::format("{}graft: no leaks in {}\n", who, report.program);
  std::string out = std::string(65, '=') + '\n';
  out += fmt::format("{}ERROR: graft: detected memory leaks in {}\n\n", who, report.program);
  addKind(report, "Direct", &LeakSite::direct, most, out);
  addKind(report, "Indirect", &LeakSite::indirect, most, out);
  addReclaimed(report, out);
  out += fmt::format("SUMMARY: graft: {} byte(s) leaked in {} allocation(s).\n", sum.bytes,
                     sum.objects);
  return out;
}

std::string textOf(const Suppressions& suppressions) {
  const std::string line = std::string(53, '-') + '\n';
  std::string out;
  for (const Suppression& s : suppressions.all()) {
    if (s.objects != 0) out += fmt::format("{:>7} {:>10} {}\n", s.objects, s.bytes, s.pattern);
  }
  if (out.empty()) return out;
  return line + "Suppressions used:\n  count      bytes template\n" + out + line;
}

Json jsonOf(const LeakReport& report) {
  Json j;
  Counted sum = report.leaked();
  j["pid"] = report.pid;
  j["program"] = report.program;
  j["collection"] = report.cycle;
  j["leaked_objects"] = sum.objects;
  j["leaked_bytes"] = sum.bytes;
  j["sites"] = Json::array();
  for (const LeakSite& s : report.sites) j["sites"].push_back(jsonOf(s));
  return j;
}

Json jsonOf(const Suppressions& suppressions) {
  Json list = Json::array();
  for (const Suppression& s : suppressions.all()) {
    list.push_back({{"pattern", s.pattern}, {"objects", s.objects}, {"bytes", s.bytes}});
  }
  return list;
}

}  // namespace graft::tools
