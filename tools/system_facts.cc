// Reads kernel settings, limits and preload lists (system_facts.h). Whatever cannot be read, as in
// a container without /proc, is left at its "unknown" value.
#include "tools/system_facts.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/elf.h"
#include "tools/find_lib.h"

namespace graft::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPreloadFile = "/etc/ld.so.preload";

// Libraries that replace malloc or hook it, by a part of their file name.
constexpr const char* kKnownMallocs[] = {
    "jemalloc", "tcmalloc", "mimalloc",  "snmalloc",       "rpmalloc",  "tbbmalloc",
    "hoard",    "scudo",    "heaptrack", "bytehound",      "vgpreload", "libasan",
    "libtsan",  "liblsan",  "memusage",  "c_malloc_debug", "libefence", "libgc",
};

std::string readText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

int64_t readNumber(const char* path) {
  std::ifstream file(path);
  int64_t value = -1;
  return file >> value ? value : -1;
}

// The word in brackets of "always [madvise] never".
std::string chosenWord(const std::string& text) {
  size_t begin = text.find('[');
  size_t end = text.find(']', begin);
  if (begin == std::string::npos || end == std::string::npos) return "";
  return text.substr(begin + 1, end - begin - 1);
}

}  // namespace

std::string mallocOf(const std::string& library) {
  std::string name = fs::path(library).filename().string();
  for (const char* known : kKnownMallocs) {
    if (name.find(known) != std::string::npos) return fmt::format("its name says {}", known);
  }
  std::string path = findLibraryFile(library);
  if (path.empty()) return "";
  std::string symbol = definedSymbol(path, {"malloc", "calloc", "realloc"});
  return symbol.empty() ? "" : fmt::format("it exports {}", symbol);
}

SystemFacts readSystemFacts() {
  SystemFacts facts;
  utsname name;
  if (uname(&name) == 0) facts.kernel = name.release;
  facts.huge_pages = chosenWord(readText("/sys/kernel/mm/transparent_hugepage/enabled"));
  facts.overcommit = readNumber("/proc/sys/vm/overcommit_memory");
  facts.max_map_count = readNumber("/proc/sys/vm/max_map_count");
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    facts.address_space_kib = static_cast<int64_t>(limit.rlim_cur >> 10);
  }
  return facts;
}

namespace {

void addItems(const std::vector<std::string>& items, const char* source,
              std::vector<Preloaded>& out) {
  for (const std::string& item : items) {
    if (fs::path(item).filename() == "libgraft.so") continue;
    out.push_back({item, source, mallocOf(item)});
  }
}

}  // namespace

std::vector<Preloaded> otherPreloads() {
  std::vector<Preloaded> found;
  const char* variable = std::getenv("LD_PRELOAD");
  addItems(preloadItems(variable != nullptr ? variable : "", false), "LD_PRELOAD", found);
  addItems(preloadItems(readText(kPreloadFile), true), kPreloadFile, found);
  return found;
}

std::string libcVersionOf(const std::string& path) {
  constexpr std::string_view kMark = "release version ";
  std::string text = readText(path);
  size_t at = text.find(kMark);
  if (at == std::string::npos) return "";
  std::string version = text.substr(at + kMark.size(), 16);
  version.resize(std::min(version.find_first_not_of("0123456789."), version.size()));
  while (!version.empty() && version.back() == '.') version.pop_back();
  return version;
}

}  // namespace graft::tools
