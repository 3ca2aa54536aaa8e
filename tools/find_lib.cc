// Search order of libgraft.so and the splitting of LD_PRELOAD lists (find_lib.h). The checks here
// are those that the dynamic loader would answer with a warning and a program without graft.
#include "tools/find_lib.h"

#include <elf.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tools/elf.h"

namespace graft::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "libgraft.so";

std::string absolutePath(const std::string& path) {
  std::error_code error;
  fs::path full = fs::absolute(path, error);
  return error ? path : full.lexically_normal().string();
}

// Why the loader would not load `path`, or "".
std::string problemOf(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return fmt::format("{} does not exist", path);
  if (fs::is_directory(path, error)) return fmt::format("{} is a directory", path);
  if (access(path.c_str(), R_OK) != 0) return fmt::format("{} cannot be read", path);
  ElfInfo info = readElf(path);
  if (!info.is_elf) return fmt::format("{} is not a shared library", path);
  if (!info.problem.empty()) return fmt::format("{} cannot be loaded: {}", path, info.problem);
  if (!info.isX86_64()) return fmt::format("{} is for {}", path, machineName(info));
  if (info.type != ET_DYN) return fmt::format("{} is not a shared library", path);
  if (path.find_first_of(" :$") != std::string::npos) {
    return fmt::format(
        "the path '{}' has a space, ':' or '$', which LD_PRELOAD cannot express; "
        "give --lib a link to the library at a path without one",
        path);
  }
  return "";
}

}  // namespace

Library checkedLibrary(const std::string& path) {
  std::string full = absolutePath(path);
  return {full, problemOf(full)};
}

Library findLibrary(const std::string& explicit_path) {
  if (!explicit_path.empty()) return checkedLibrary(explicit_path);
  const char* from_env = std::getenv("GRAFT_LIB");
  if (from_env != nullptr && *from_env != '\0') return checkedLibrary(from_env);
  std::error_code error;
  fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) return {"", "/proc/self/exe cannot be read; name the library with --lib"};
  fs::path here = self.parent_path();
  fs::path lib = here.parent_path() / "lib";
  for (const fs::path& place : {here / kName, lib / "graft" / kName, lib / kName}) {
    if (fs::exists(place, error)) return checkedLibrary(place.string());
  }
  return {"", fmt::format("libgraft.so is neither in {} nor in {} or {}; name it with --lib or "
                          "GRAFT_LIB",
                          here.string(), (lib / "graft").string(), lib.string())};
}

std::vector<std::string> preloadItems(std::string_view text, bool in_file) {
  std::vector<std::string> items;
  std::string item;
  bool comment = false;
  for (char c : text) {
    if (in_file && c == '#') comment = true;
    if (c == '\n') comment = false;
    bool separator = c == ' ' || c == ':' || (in_file && (c == '\n' || c == '\t')) || comment;
    if (!separator) {
      item += c;
    } else if (!item.empty()) {
      items.push_back(std::move(item));
      item.clear();
    }
  }
  if (!item.empty()) items.push_back(std::move(item));
  return items;
}

std::string findLibraryFile(const std::string& item) {
  std::error_code error;
  if (item.find('/') != std::string::npos) return fs::exists(item, error) ? item : "";
  const char* extra = std::getenv("LD_LIBRARY_PATH");
  std::vector<std::string> folders = preloadItems(extra != nullptr ? extra : "", false);
  for (const char* folder : {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64",
                             "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}) {
    folders.emplace_back(folder);
  }
  for (const std::string& folder : folders) {
    std::string path = folder + "/" + item;
    if (fs::exists(path, error)) return path;
  }
  return "";
}

std::string preloadWith(const std::string& library, const char* current) {
  std::string value = library;
  for (const std::string& item : preloadItems(current != nullptr ? current : "", false)) {
    if (fs::path(item).filename() == kName) continue;
    value += ':';
    value += item;
  }
  return value;
}

}  // namespace graft::tools
