// Fuzzes the parser of the environment: any block of NUL-separated strings must leave every option
// within its bounds, every reported line whole, and the same options when it is parsed again.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "core/base/options.h"

namespace {

using namespace graft::base;

void require(bool ok, const char* what) {
  if (ok) return;
  fprintf(stderr, "options_fuzz: %s\n", what);
  abort();
}

size_t lines = 0;

void checkLine(const char* text, size_t n) {
  lines++;
  require(n > 0 && n <= sizeof(Line), "a line that is empty or too long");
  require(text[n - 1] == '\n', "a line without its end");
  for (size_t i = 0; i + 1 < n; i++) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    require(c >= 0x20 && c < 0x7f, "a line with characters that no terminal should see");
  }
}

// Names that get deeper into the parser than random bytes do: a first byte below 0x40 chooses one.
std::string withName(const std::string& raw) {
  if (raw.empty()) return raw;
  unsigned char pick = static_cast<unsigned char>(raw[0]);
  if (pick >= 0x40) return raw;
  std::string name = pick < kOptionCount ? kOptions[pick].env : "GRAFT_";
  if (pick % 7 == 6) name.pop_back();
  return name + (pick % 5 == 4 ? "" : "=") + raw.substr(1);
}

void checkWithinBounds(const Options& o) {
  for (const OptionInfo& info : kOptions) {
    Line value, accepted;
    formatValue(o, info, value);
    describeAccepted(info, accepted);
    require(value.size() <= sizeof(Line) && accepted.size() > 0, "a value that cannot be shown");
    if (info.type == OptionType::kInt) {
      long long v = strtoll(value.c_str(), nullptr, 10);
      require(v >= info.min && v <= info.max, "an integer out of its bounds");
    }
    if (info.type == OptionType::kStr || value.size() == 0) continue;
    Options copy;
    require(setOption(copy, info, value.c_str()), "a value that is not accepted again");
  }
  require((o.denied.get() & ~CapabilitySet::all().bits()) == 0, "unknown capabilities are denied");
}

std::string valuesOf(const Options& o) {
  std::string all;
  for (const OptionInfo& info : kOptions) {
    Line value;
    formatValue(o, info, value);
    all.append(value.data(), value.size()).push_back('\n');
  }
  return all + std::to_string(o.denied.get());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::string> entries;
  const char* text = size != 0 ? reinterpret_cast<const char*>(data) : "";
  for (size_t at = 0; at < size;) {
    size_t n = strnlen(text + at, size - at);
    entries.push_back(withName(std::string(text + at, n)));
    at += n + 1;
  }
  std::vector<char*> envp;
  for (std::string& e : entries) envp.push_back(e.data());
  envp.push_back(nullptr);

  Options first, second, silent;
  lines = 0;
  parseEnv(first, envp.data(), checkLine);
  size_t reported = lines;
  require(reported <= entries.size() + 64 * entries.size(), "more lines than variables");
  checkWithinBounds(first);
  parseEnv(second, envp.data(), checkLine);
  require(lines == 2 * reported, "a second parse reports something else");
  parseEnv(silent, envp.data(), nullptr);
  require(valuesOf(first) == valuesOf(second), "a second parse gives other values");
  require(valuesOf(first) == valuesOf(silent), "reporting changes the values");

  // The pieces that take free text from elsewhere.
  std::string all(text, strnlen(text, size));
  for (const OptionInfo& info : kOptions) {
    Options o;
    std::string before = valuesOf(o);
    if (!setOption(o, info, all.c_str())) {
      require(valuesOf(o) == before, "a refused text changed something");
    }
  }
  parseDeny(all.c_str(), checkLine);
  findOption(all.data(), all.size());
  listHas(all.c_str(), "x");
  Options o;
  o.only.set(all.c_str());
  o.skip.set(all.c_str());
  enabledFor(o, all.c_str());
  return 0;
}
