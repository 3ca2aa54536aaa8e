// Reading and matching (suppressions.h). A pattern that would hide everything, because it is empty
// or in a file of another tool, is an error rather than a silent success.
#include "tools/suppressions.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace graft::tools {
namespace {

constexpr std::string_view kKind = "leak:";

std::string_view trimmed(std::string_view line) {
  constexpr const char* kBlank = " \t\r";
  size_t from = line.find_first_not_of(kBlank);
  if (from == std::string_view::npos) return "";
  return line.substr(from, line.find_last_not_of(kBlank) - from + 1);
}

}  // namespace

// What stands between two stars is looked for from left to right, each as early as it can be: then
// the most is left for the next. Only a last part that must end the text stands at its end.
bool fits(std::string_view pattern, std::string_view text) {
  bool at_begin = !pattern.empty() && pattern.front() == '^';
  if (at_begin) pattern.remove_prefix(1);
  bool at_end = !pattern.empty() && pattern.back() == '$';
  if (at_end) pattern.remove_suffix(1);
  for (bool last = false; !last;) {
    size_t star = pattern.find('*');
    last = star == std::string_view::npos;
    std::string_view part = pattern.substr(0, star);
    if (!last) pattern.remove_prefix(star + 1);
    if (last && at_end) {
      bool whole = !at_begin || part.size() == text.size();
      return text.ends_with(part) && whole;
    }
    size_t found = text.find(part);
    if (found == std::string_view::npos || (at_begin && found != 0)) return false;
    text.remove_prefix(found + part.size());
    at_begin = false;
  }
  return true;
}

std::string Suppressions::read(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) return fmt::format("{}: {}", file, std::strerror(errno));
  size_t number = 0;
  for (std::string text; std::getline(stream, text);) {
    number++;
    std::string_view line = trimmed(text);
    if (line.empty() || line.front() == '#') continue;
    if (!line.starts_with(kKind)) {
      return fmt::format("{}:{}: '{}' does not begin with leak:", file, number, line);
    }
    line.remove_prefix(kKind.size());
    if (line.find_first_not_of("*^$") == std::string_view::npos) {
      return fmt::format("{}:{}: this pattern hides everything", file, number);
    }
    all_.push_back({std::string(line), 0, 0});
  }
  return stream.bad() ? fmt::format("{}: cannot be read", file) : "";
}

Suppression* Suppressions::find(const std::vector<Place>& places) {
  for (Suppression& s : all_) {
    for (const Place& p : places) {
      for (const std::string* name : {&p.function, &p.file, &p.module}) {
        if (!name->empty() && fits(s.pattern, *name)) return &s;
      }
    }
  }
  return nullptr;
}

}  // namespace graft::tools
