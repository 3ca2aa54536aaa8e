// Reading a process's report and counting its growth (leak_report.h). What a process says is
// checked before it is used: the file may be cut short, the socket's other end may be anything.
#include "tools/leak_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>

namespace graft::tools {
namespace {

using Json = nlohmann::json;

constexpr const char* kNotUnderstood = "its report is not understood";

bool readCount(const Json& line, const char* name, uint64_t& out) {
  auto at = line.find(name);
  if (at == line.end() || !at->is_number_unsigned()) return false;
  out = at->get<uint64_t>();
  return true;
}

bool readSite(const Json& line, LeakSite& out) {
  auto pc = line.find("pc");
  if (pc == line.end() || !pc->is_string()) return false;
  const std::string& text = pc->get_ref<const std::string&>();
  if (!text.starts_with("0x")) return false;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data() + 2, end, out.pc, 16);
  out.pardoned = line.value("pardoned", "");
  return error == std::errc() && at == end &&
         readCount(line, "direct_objects", out.direct.objects) &&
         readCount(line, "direct_bytes", out.direct.bytes) &&
         readCount(line, "indirect_objects", out.indirect.objects) &&
         readCount(line, "indirect_bytes", out.indirect.bytes) &&
         readCount(line, "oldest_cycles", out.oldest_cycles) &&
         readCount(line, "newest_cycles", out.newest_cycles) &&
         readCount(line, "reclaimed_objects", out.reclaimed.objects) &&
         readCount(line, "reclaimed_bytes", out.reclaimed.bytes);
}

bool isSummary(const Json& line) {
  auto complete = line.find("complete");
  return line.is_object() && line.contains("cycle") && complete != line.end() &&
         complete->is_boolean();
}

// The first file in the map is the program: the loader is mapped behind it.
std::string programOfMaps(const std::string& maps) {
  size_t slash = maps.find('/');
  return slash == std::string::npos ? "" : maps.substr(slash, maps.find('\n', slash) - slash);
}

}  // namespace

std::string LeakSite::key() const {
  if (places.empty() || places.back().module.empty()) return fmt::format("{:#x}", pc);
  return fmt::format("{}+{:#x}", places.back().module, places.back().module_offset);
}

Counted LeakReport::leaked() const {
  Counted sum;
  for (const LeakSite& s : sites) {
    if (s.suppressed != nullptr) continue;
    sum.objects += s.objects();
    sum.bytes += s.bytes();
  }
  return sum;
}

std::string readReport(const std::vector<Answer>& answers, LeakReport& out) {
  if (answers.empty() || !isSummary(answers[0].object)) return kNotUnderstood;
  out.cycle = answers[0].object;
  for (size_t i = 1; i < answers.size(); i++) {
    LeakSite site;
    if (!answers[i].object.is_object() || !readSite(answers[i].object, site)) return kNotUnderstood;
    if (site.objects() != 0) out.sites.push_back(std::move(site));
  }
  return "";
}

std::string readReportFile(const std::string& file, LeakReport& out, std::string& maps) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return std::strerror(errno);
  std::vector<Answer> answers;
  for (std::string line; std::getline(stream, line);) {
    Answer a;
    a.object = Json::parse(line, nullptr, false);
    if (!a.object.is_object()) return kNotUnderstood;
    if (a.object.contains("maps")) {
      maps.assign(std::istreambuf_iterator<char>(stream), {});
      if (maps.size() != a.object.value("bytes", size_t{0})) return "its report breaks off";
      out.program = programOfMaps(maps);
      return readReport(answers, out);
    }
    answers.push_back(std::move(a));
  }
  return "its report breaks off";
}

void nameSites(LeakReport& report, const Symbols& symbols, Suppressions& suppressions) {
  for (LeakSite& s : report.sites) {
    if (s.pc != 0) s.places = symbols.inlined(s.pc - 1);  // within the call
    Suppression* by = suppressions.find(s.places);
    s.suppressed = by;
    if (by == nullptr) continue;
    by->objects += s.objects();
    by->bytes += s.bytes();
  }
  // Not stable_sort: libstdc++'s makes clang 19 warn about a function of its own.
  std::sort(report.sites.begin(), report.sites.end(), [](const LeakSite& a, const LeakSite& b) {
    return a.bytes() != b.bytes() ? a.bytes() > b.bytes() : a.pc < b.pc;
  });
}

std::string Earlier::read(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) return fmt::format("{}: {}", file, std::strerror(errno));
  std::string last;
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) last = std::move(line);
  }
  Json report = Json::parse(last, nullptr, false);
  try {
    for (const Json& process : report.at("processes")) {
      auto& sites = sites_[process.at("program").get<std::string>()];
      for (const Json& s : process.at("sites")) {
        Counted& c = sites[s.at("key").get<std::string>()];
        c.objects += s.at("objects").get<uint64_t>();
        c.bytes += s.at("bytes").get<uint64_t>();
      }
    }
  } catch (const Json::exception&) {
    return fmt::format("{} is no report of `graft leaks --json`", file);
  }
  return "";
}

void Earlier::compare(LeakReport& report) const {
  auto before = sites_.find(report.program);
  if (before == sites_.end()) return;
  for (LeakSite& s : report.sites) {
    auto was = before->second.find(s.key());
    Counted then = was == before->second.end() ? Counted{} : was->second;
    s.more_objects = static_cast<int64_t>(s.objects() - then.objects);
    s.more_bytes = static_cast<int64_t>(s.bytes() - then.bytes);
  }
}

void Earlier::remember(const LeakReport& report) {
  std::map<std::string, Counted> now;
  for (const LeakSite& s : report.sites) {
    Counted& sum = now[s.key()];
    sum.objects += s.objects();
    sum.bytes += s.bytes();
  }
  sites_[report.program] = std::move(now);
}

}  // namespace graft::tools
