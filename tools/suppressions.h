// Leaks that a user knows of, in the format of LeakSanitizer's suppression files: lines
// `leak:PATTERN`, where the pattern is looked for in the names of functions, source files and
// modules of an allocation; `*` stands for anything, `^` and `$` for the begin and the end of a
// name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/symbols.h"

namespace graft::tools {

struct Suppression {
  std::string pattern;
  uint64_t objects = 0, bytes = 0;  // what it has hidden
};

class Suppressions {
 public:
  // "" or what is wrong, as FILE:LINE: ...
  std::string read(const std::string& file);
  // The first that fits one of the places, or nullptr.
  Suppression* find(const std::vector<Place>& places);
  void forgetCounts() {
    for (Suppression& s : all_) s.objects = s.bytes = 0;
  }
  const std::vector<Suppression>& all() const { return all_; }

 private:
  std::vector<Suppression> all_;
};

// Whether the pattern is found in the text.
bool fits(std::string_view pattern, std::string_view text);

}  // namespace graft::tools
