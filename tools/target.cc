// Looks up a command and decides whether it can run under graft (target.h). Every refusal names
// the file and the reason, because the loader itself ignores a preload without a word.
#include "tools/target.h"

#include <elf.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace graft::tools {
namespace {

constexpr int kMaxScripts = 5;  // the kernel follows as many interpreters before ELOOP
constexpr size_t kScriptLine = 256;

std::string baseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool isExecutableFile(const std::string& path) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return false;
  if (!S_ISREG(st.st_mode)) {
    errno = EACCES;
    return false;
  }
  return access(path.c_str(), X_OK) == 0;
}

void set(Target& t, Target::State state, std::string reason) {
  t.state = state;
  t.reason = std::move(reason);
}

// The words of a `#!` line, "" for none: the interpreter and what follows it.
struct Shebang {
  bool present = false;
  std::string interpreter;
  std::string argument;
};

Shebang readShebang(const std::string& path) {
  Shebang s;
  std::ifstream file(path, std::ios::binary);
  std::string text(kScriptLine, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.compare(0, 2, "#!") != 0) return s;
  s.present = true;
  text = text.substr(2, text.find('\n') - 2);
  size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return s;
  size_t end = text.find_first_of(" \t", begin);
  s.interpreter = text.substr(begin, end - begin);
  if (end == std::string::npos) return s;
  begin = text.find_first_not_of(" \t", end);
  if (begin != std::string::npos) s.argument = text.substr(begin);
  return s;
}

// `#!/usr/bin/env python3` runs python3: the first word that is neither a flag nor NAME=VALUE.
std::string programOfEnv(const std::string& argument) {
  std::istringstream words(argument);
  std::string word;
  while (words >> word) {
    if (word[0] != '-' && word.find('=') == std::string::npos) return word;
  }
  return "";
}

// Bits that make the kernel start the program in secure mode, where LD_PRELOAD paths are ignored.
std::string privilegeReason(const std::string& path) {
  struct stat st;
  struct statvfs fs;
  if (stat(path.c_str(), &st) != 0) return "";
  if (statvfs(path.c_str(), &fs) == 0 && (fs.f_flag & ST_NOSUID) != 0) return "";
  if ((st.st_mode & S_ISUID) != 0 && (st.st_uid != geteuid() || st.st_uid != getuid())) {
    return fmt::format("{} is setuid (to uid {}): the loader ignores preloads in it", path,
                       st.st_uid);
  }
  if ((st.st_mode & S_ISGID) != 0 && (st.st_mode & S_IXGRP) != 0 &&
      (st.st_gid != getegid() || st.st_gid != getgid())) {
    return fmt::format("{} is setgid (to gid {}): the loader ignores preloads in it", path,
                       st.st_gid);
  }
  if (getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    return fmt::format("{} has file capabilities: the loader ignores preloads in it", path);
  }
  return "";
}

std::string sanitizerReason(const std::string& path, const ElfInfo& elf) {
  static constexpr const char* kRuntimes[] = {
      "libasan.so",       "libtsan.so",         "liblsan.so",
      "libhwasan.so",     "libclang_rt.asan",   "libclang_rt.tsan",
      "libclang_rt.msan", "libclang_rt.hwasan", "libclang_rt.lsan"};
  for (const std::string& library : elf.needed) {
    for (const char* runtime : kRuntimes) {
      if (library.compare(0, std::strlen(runtime), runtime) == 0) {
        return fmt::format("{} was built with a sanitizer ({}), which owns malloc itself", path,
                           library);
      }
    }
  }
  std::string symbol = definedSymbol(
      path, {"__asan_init", "__tsan_init", "__msan_init", "__hwasan_init", "__lsan_init"});
  if (symbol.empty()) return "";
  return fmt::format("{} was built with a sanitizer (it defines {}), which owns malloc itself",
                     path, symbol);
}

// The loader started as a program has no loader of its own, and does honour LD_PRELOAD.
bool isLoader(const ElfInfo& elf) { return elf.soname == "ld-linux-x86-64.so.2"; }

void judgeElf(const std::string& path, Target& t) {
  const ElfInfo& elf = t.elf;
  if (elf.problem.empty() && !elf.isX86_64()) {
    return set(t, Target::State::kRefused,
               fmt::format("{} is for {}; graft supports x86-64 only", path, machineName(elf)));
  }
  if (!elf.problem.empty()) {
    return set(t, Target::State::kNotExecutable,
               fmt::format("{} cannot be executed: {}", path, elf.problem));
  }
  if (elf.type != ET_EXEC && elf.type != ET_DYN) {
    return set(t, Target::State::kNotExecutable,
               fmt::format("{} cannot be executed: it is an object or core file", path));
  }
  std::string reason;
  if (elf.interp.empty() && !isLoader(elf)) {
    reason = fmt::format("{} is statically linked: nothing can be preloaded into it", path);
  } else if (baseName(elf.interp).compare(0, 7, "ld-musl") == 0) {
    reason = fmt::format("{} uses musl; graft supports glibc only", path);
  }
  if (reason.empty()) reason = privilegeReason(path);
  if (reason.empty()) reason = sanitizerReason(path, elf);
  set(t, reason.empty() ? Target::State::kOk : Target::State::kRefused, reason);
}

// The file that runs when `path` is executed: itself, or the interpreter of a script.
// "" when there is none; `t` says why.
std::string followScripts(std::string path, Target& t) {
  for (int depth = 0; depth <= kMaxScripts; depth++) {
    Shebang line = readShebang(path);
    if (!line.present) return path;
    std::string next = line.interpreter;
    if (next.empty()) {
      set(t, Target::State::kNotExecutable, fmt::format("{}: its #! line names nothing", path));
      return "";
    }
    if (!isExecutableFile(next)) {
      int error = errno;
      set(t, error == ENOENT ? Target::State::kNotFound : Target::State::kNotExecutable,
          fmt::format("{}: its interpreter {}: {}", path, next, std::strerror(error)));
      return "";
    }
    if (baseName(next) == "env") {
      Target ignored;
      std::string program = programOfEnv(line.argument);
      program = program.empty() ? "" : findInPath(program, ignored);
      if (!program.empty()) next = program;
    }
    path = next;
  }
  set(t, Target::State::kNotExecutable, fmt::format("{}: too many interpreters in a row", path));
  return "";
}

}  // namespace

std::string findInPath(const std::string& command, Target& out) {
  const char* path = std::getenv("PATH");
  std::string list = path != nullptr ? path : "/bin:/usr/bin";
  bool denied = false;
  if (command.find('/') != std::string::npos) {
    if (isExecutableFile(command)) return command;
    denied = errno != ENOENT && errno != ENOTDIR;
    set(out, denied ? Target::State::kNotExecutable : Target::State::kNotFound,
        fmt::format("{}: {}", command, std::strerror(errno)));
    return "";
  }
  for (size_t begin = 0; !command.empty() && begin <= list.size();) {
    size_t end = std::min(list.find(':', begin), list.size());
    std::string folder = list.substr(begin, end - begin);
    std::string candidate = folder.empty() ? command : folder + "/" + command;
    if (isExecutableFile(candidate)) return candidate;
    denied = denied || errno == EACCES;
    begin = end + 1;
  }
  set(out, denied ? Target::State::kNotExecutable : Target::State::kNotFound,
      fmt::format("{}: {}", command, std::strerror(denied ? EACCES : ENOENT)));
  return "";
}

Target inspectTarget(const std::string& command) {
  Target t;
  std::string path = findInPath(command, t);
  if (!path.empty()) path = followScripts(path, t);
  if (path.empty()) return t;
  if (access(path.c_str(), R_OK) != 0) {  // executable but secret: let the kernel and loader judge
    t.executable = path;
    t.state = Target::State::kOk;
    return t;
  }
  t.elf = readElf(path);
  if (!t.elf.is_elf) {  // execvp() hands a file that is neither ELF nor #! to the shell
    path = "/bin/sh";
    t.elf = readElf(path);
  }
  t.executable = path;
  judgeElf(path, t);
  return t;
}

}  // namespace graft::tools
