// Starting, feeding and reaping the child processes of `graft doctor` (trial.h). Only children that
// were started here are waited for or killed, by their process id.
#include "tools/trial.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "tools/find_lib.h"

namespace graft::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kTimeLimit{10};
constexpr size_t kMaxOutput = 64 * 1024;

[[noreturn]] void becomeChild(const std::vector<std::string>& command, const Environment& changes,
                              int output) {
  for (const auto& [name, value] : changes) {
    if (value.empty()) {
      unsetenv(name.c_str());
    } else {
      setenv(name.c_str(), value.c_str(), 1);
    }
  }
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execv(argv[0], argv.data());
  _exit(127);
}

// Collects output until the child closes it. False: the time is up.
bool collect(int from, std::string& output) {
  Clock::time_point deadline = Clock::now() + kTimeLimit;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd p{from, POLLIN, 0};
    if (poll(&p, 1, static_cast<int>(left.count())) <= 0) continue;
    char buffer[4096];
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    if (output.size() < kMaxOutput) output.append(buffer, static_cast<size_t>(n));
  }
}

// An empty file that is removed again. Its name has no '%', which the library would expand.
class TemporaryFile {
 public:
  TemporaryFile() {
    const char* folder = std::getenv("TMPDIR");
    if (folder == nullptr || *folder == '\0' || std::strchr(folder, '%') != nullptr)
      folder = "/tmp";
    path_ = fmt::format("{}/graft-doctor-XXXXXX", folder);
    int fd = mkstemp(path_.data());
    if (fd < 0) {
      path_.clear();
    } else {
      close(fd);
    }
  }
  ~TemporaryFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<std::string> smallProgram() {
  if (access("/bin/true", X_OK) == 0) return {"/bin/true"};
  std::error_code error;
  return {std::filesystem::read_symlink("/proc/self/exe", error).string(), "--version"};
}

std::string firstLineOf(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

ChildResult runChild(const std::vector<std::string>& command, const Environment& changes) {
  ChildResult result;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return result;
  pid_t pid = fork();
  if (pid == 0) becomeChild(command, changes, ends[1]);
  close(ends[1]);
  if (pid > 0) {
    result.finished = collect(ends[0], result.output);
    if (!result.finished) kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    result.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  close(ends[0]);
  return result;
}

Trial tryPreload(const std::string& library) {
  Trial trial;
  TemporaryFile file, facts;
  if (file.path().empty() || facts.path().empty()) {
    trial.problem = "no temporary file can be made for the library's summary";
    return trial;
  }
  std::vector<std::string> program = smallProgram();
  trial.command = program[0];
  ChildResult run =
      runChild(program, {{"LD_PRELOAD", preloadWith(library, std::getenv("LD_PRELOAD"))},
                         {"GRAFT_SUMMARY", file.path()},
                         {"GRAFT_FACTS", facts.path()},
                         {"GRAFT_ONLY", ""},
                         {"GRAFT_SKIP", ""},
                         {"GRAFT_LOG", ""}});
  std::ifstream stream(file.path());
  trial.summary = nlohmann::json::parse(stream, nullptr, false);
  std::ifstream facts_stream(facts.path());
  trial.facts = nlohmann::json::parse(facts_stream, nullptr, false);
  if (!trial.facts.is_object() || !trial.facts.contains("facts")) trial.facts = nullptr;
  std::string said = run.output.empty() ? "" : fmt::format(" ({})", firstLineOf(run.output));
  if (!run.finished) {
    trial.problem = fmt::format("{} preloaded does not end{}", program[0], said);
  } else if (run.code != 0) {
    trial.problem = fmt::format("{} preloaded ends with {}{}", program[0], run.code, said);
  } else if (trial.summary.is_discarded() || !trial.summary.contains("graft")) {
    trial.problem = fmt::format("{} preloaded writes no summary: the library was not loaded{}",
                                program[0], said);
  }
  return trial;
}

}  // namespace graft::tools
