// Prints the report of `graft doctor` for a person: facts first, then each capability, then what
// was found and the verdict. Reads the JSON document only (doctor_report.h).
#include <fmt/core.h>

#include "tools/doctor_report.h"

namespace graft::tools {
namespace {

constexpr int kNameWidth = 16;

void line(std::string_view name, std::string_view value) {
  fmt::print("  {:<{}}{}\n", name, kNameWidth, value);
}

std::string numberOr(const Json& value, const char* unknown) {
  int64_t n = value.get<int64_t>();
  return n < 0 ? unknown : fmt::format("{}", n);
}

std::string textOr(const Json& value, const char* unknown) {
  std::string text = value.get<std::string>();
  return text.empty() ? unknown : text;
}

void printSystem(const Json& data) {
  const Json& s = data["system"];
  fmt::print("system\n");
  line("kernel", textOr(s["kernel"], "unknown"));
  line("glibc", s["libc"].get<std::string>());
  line("huge pages", textOr(s["transparent_huge_pages"], "none"));
  line("overcommit", numberOr(s["overcommit_memory"], "unknown"));
  line("max_map_count", numberOr(s["max_map_count"], "unknown"));
  line("RLIMIT_AS (KiB)", numberOr(s["address_space_limit_kib"], "unlimited"));
  for (const Json& p : data["other_preloads"]) {
    line("also preloaded",
         fmt::format("{} ({})", p["path"].get<std::string>(), p["source"].get<std::string>()));
  }
  for (const auto& [name, value] : data["options"].items()) {
    line("option", fmt::format("{}={}", name, value.get<std::string>()));
  }
}

void printTarget(const Json& t) {
  fmt::print("program\n");
  line("command", t["command"].get<std::string>());
  if (!t["executable"].get<std::string>().empty()) {
    line("runs", t["executable"].get<std::string>());
  }
  if (t.contains("libc")) line("glibc", textOr(t["libc"], "unknown"));
  line("preload", t["state"] == "ok" ? "possible" : t["state"].get<std::string>());
}

std::string stateOf(const Json& c) {
  std::string state = c["available"].is_null() ? "not known" : c["available"] ? "yes" : "no";
  if (c["denied"]) state = "denied by GRAFT_DENY";
  if (!c["in_use"]) {
    state += c["for_threads"] ? " (used with GRAFT_THREADS=m:n)" : " (not used by this version)";
  }
  return state;
}

void printCapabilities(const Json& capabilities) {
  fmt::print("capabilities\n");
  for (const auto& [name, c] : capabilities.items()) {
    line(name, stateOf(c));
    line("", fmt::format("for: {}", c["needed_for"].get<std::string>()));
    if (c["available"] == true && !c["denied"]) continue;
    std::string detail = c["detail"].get<std::string>();
    if (!detail.empty()) line("", fmt::format("why: {}", detail));
    line("", fmt::format("else: {}", c["otherwise"].get<std::string>()));
  }
}

void printFacts(const Json& glibc) {
  fmt::print("what is known about glibc {}\n", glibc["glibc"].get<std::string>());
  constexpr int64_t kLargestOffset = 1 << 20;  // beyond it, the value is an address
  for (const Json& f : glibc["facts"]) {
    int64_t value = f["value"].get<int64_t>();
    std::string shown = value < kLargestOffset ? fmt::format("{}", value) : "an address";
    bool proven = f["proven"].get<bool>();
    line(f["name"].get<std::string>() + " ", proven ? "proven: " + shown : "not proven");
    line("", fmt::format("from: {}", f["how"].get<std::string>()));
    if (!proven) line("", fmt::format("else: {}", f["otherwise"].get<std::string>()));
  }
}

void printThreads(const Json& t) {
  fmt::print("threads\n");
  line("mode", t["mode"].get<std::string>());
  line("", "with GRAFT_THREADS=m:n, kernel threads all the same where");
  for (const Json& rule : t["rules"]) {
    std::string who = rule["library"].get<std::string>();
    if (who.empty()) who = rule["executable"].get<std::string>();
    line("", fmt::format("{} is: {}", who, rule["why"].get<std::string>()));
  }
}

void printCollector(const Json& c) {
  fmt::print("collector\n");
  line("", "with GRAFT_GC=reclaim, nothing is given back all the same where one is mapped:");
  for (const Json& hider : c["hiders"]) {
    line("",
         fmt::format("{} ({})", hider["name"].get<std::string>(), hider["why"].get<std::string>()));
  }
}

void printLibrary(const Json& l) {
  fmt::print("library\n");
  line("path", textOr(l["path"], "not found"));
  if (!l.contains("tried_with")) return;
  line("preload", l["loads"] ? fmt::format("works ({})", l["tried_with"].get<std::string>())
                             : std::string("does not work"));
  if (l.contains("version")) line("version", textOr(l["version"], "unknown"));
}

}  // namespace

void printReport(const Report& report) {
  printSystem(report.data);
  if (report.data.contains("target")) printTarget(report.data["target"]);
  printCapabilities(report.data["capabilities"]);
  if (report.data.contains("glibc")) printFacts(report.data["glibc"]);
  printThreads(report.data["threads"]);
  printCollector(report.data["collector"]);
  printLibrary(report.data["library"]);
  fmt::print("\n");
  for (const Json& f : report.data["findings"]) {
    fmt::print("{}: {}\n", f["level"].get<std::string>(), f["text"].get<std::string>());
  }
  fmt::print("{}\n", report.degraded() ? "verdict: graft would not be fully on"
                                       : "verdict: graft would be fully on");
}

}  // namespace graft::tools
