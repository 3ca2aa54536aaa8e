// `graft stacks PID`: what every thread of a program on graft does, in the layout of Go's
// tracebacks, which people and tools know how to read. The process gives registers and stack bytes;
// unwinding and naming happen here. graft's own frames on both ends are left out: of a wait it is
// the function that the program called that tells why.
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tools/command.h"
#include "tools/control_client.h"
#include "tools/unwind.h"

namespace graft::tools {
namespace {

using Json = nlohmann::json;

struct Wanted {
  std::string pid;
  uint64_t only = 0;
  bool one = false;
  bool all_frames = false;
};

// Where the exported function is a jump into one of graft's, that one is on the stack.
struct Exported {
  const char* ours;
  const char* name;
};
constexpr Exported kExported[] = {
    {"mutexLock", "pthread_mutex_lock"},
    {"mutexTimedLock", "pthread_mutex_timedlock"},
    {"condWait", "pthread_cond_wait"},
    {"condTimedWait", "pthread_cond_timedwait"},
    {"readLock", "pthread_rwlock_rdlock"},
    {"writeLock", "pthread_rwlock_wrlock"},
    {"semWait", "sem_wait"},
    {"barrierWait", "pthread_barrier_wait"},
    {"once", "pthread_once"},
    {"joinThread", "pthread_join"},
    {"spinLockSlow", "pthread_spin_lock"},
    {"sleepFor", "nanosleep"},
    {"futexCall", "syscall"},
};

// "graft::preload::gs::sem_wait(sem_t*)" is sem_wait.
std::string plainName(const std::string& function) {
  std::string name = function.substr(0, function.find('('));
  size_t colons = name.rfind("::");
  if (colons != std::string::npos) name = name.substr(colons + 2);
  for (const Exported& e : kExported) {
    if (name == e.ours) return e.name;
  }
  return name;
}

StackCopy copyOf(const Answer& answer) {
  StackCopy out;
  const Json& registers = answer.object.at("registers");
  for (size_t i = 0; i < registers.size() && i < 17; i++) {
    if (!registers[i].is_null()) out.registers[i] = registers[i].get<uint64_t>();
  }
  out.bytes = answer.bytes;
  return out;
}

// Leaves the function by which the program came into graft, and nothing of graft's behind the
// program's first.
void withoutGraft(std::vector<Frame>& frames) {
  size_t first = 0;
  while (first < frames.size() && frames[first].of_graft) first++;
  bool waits = first != 0 && first < frames.size();
  frames.erase(frames.begin(), frames.begin() + static_cast<ptrdiff_t>(waits ? first - 1 : first));
  if (waits) {
    frames[0].function = plainName(frames[0].function);
    frames[0].place = "libgraft.so";
  }
  while (!frames.empty() && frames.back().of_graft && frames.size() > 1) frames.pop_back();
}

std::string forHowLong(const Json& g) {
  constexpr double kSecond = 1e9, kMinute = 60 * kSecond;
  if (!g.contains("ns")) return "";
  double ns = g.at("ns").get<double>();
  if (ns >= kMinute) return fmt::format(", {} minutes", static_cast<uint64_t>(ns / kMinute));
  return fmt::format(", {:.3f} s", ns / kSecond);
}

std::string reasonOf(const Json& g, const std::vector<Frame>& frames) {
  std::string state = g.at("state").get<std::string>();
  size_t first = 0;
  while (first < frames.size() && frames[first].of_graft) first++;
  if (state != "waiting" || first == 0 || frames[first - 1].function.empty()) return state;
  return plainName(frames[first - 1].function);
}

void printFrames(const std::vector<Frame>& frames) {
  for (const Frame& f : frames) {
    std::string name = f.function.empty() ? fmt::format("{:#x}", f.pc) : f.function;
    if (name.find('(') == std::string::npos) name += "()";
    fmt::print("{}\n\t{} +{:#x}\n", name, f.place.empty() ? "?" : f.place, f.offset);
  }
}

void printG(const Json& g, ControlClient& client, Unwinder& unwinder, bool all_frames) {
  std::vector<Answer> answers;
  uint64_t id = g.at("g").get<uint64_t>();
  std::string problem =
      client.ask(fmt::format("stack {}", id), answers, ControlClient::Bytes::kFollow);
  std::vector<Frame> frames;
  bool guessed = false;
  if (problem.empty() && !answers.empty()) {
    StackCopy copy = copyOf(answers[0]);
    guessed = answers[0].object.at("how") == "kernel";
    frames = unwinder.walk(copy);
  }
  std::string reason = reasonOf(g, frames);
  if (!all_frames) withoutGraft(frames);
  std::string more;
  if (g.contains("name")) {
    more = fmt::format(", \"{}\", tid {}", g.at("name").get<std::string>(), g.at("tid").dump());
  }
  if (g.contains("m")) more += fmt::format(", on kernel thread {}", g.at("m").dump());
  if (guessed) more += ", frames may be missing";
  fmt::print("goroutine {} [{}{}{}]:\n", id, reason, forHowLong(g), more);
  printFrames(frames);
  if (!problem.empty()) fmt::print("\t{}\n", problem);
  fmt::print("\n");
}

const char* stateOf(char letter) {
  switch (letter) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "in disk sleep";
    case 'T':
    case 't': return "stopped";
    case 'Z': return "zombie";
    default: return "unknown";
  }
}

// Kernel threads: what the kernel says of them.
void printKernelThreads(pid_t pid) {
  std::error_code error;
  std::filesystem::directory_iterator at(fmt::format("/proc/{}/task", pid), error), end;
  for (; !error && at != end; at.increment(error)) {
    std::ifstream file(at->path() / "stat");
    std::string text;
    std::getline(file, text, '\0');
    size_t open = text.find('('), close = text.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close + 2 >= text.size())
      continue;
    fmt::print("thread {} [{}]: \"{}\"\n", at->path().filename().string(), stateOf(text[close + 2]),
               text.substr(open + 1, close - open - 1));
  }
}

int show(pid_t pid, const Wanted& wanted) {
  ControlClient client;
  std::vector<Answer> answers;
  std::string problem = client.connect(pid);
  if (problem.empty()) problem = client.ask("process", answers);
  if (problem.empty() && answers.empty()) problem = "the process's answer is empty";
  if (!problem.empty()) return fail("stacks", problem);
  std::string mode = answers[0].object.value("mode", "");
  if (mode != "m:n" && mode != "1:1")
    return fail("stacks", "the process's answer is not understood");
  if (mode == "1:1") {
    fmt::print("threads of process {} are kernel threads\n\n", pid);
    printKernelThreads(pid);
    return 0;
  }
  Unwinder unwinder;
  problem = client.ask("gs", answers);
  if (problem.empty()) problem = unwinder.open(pid);
  if (!problem.empty()) return fail("stacks", problem);
  bool found = false;
  for (const Answer& a : answers) {
    if (wanted.one && a.object.at("g").get<uint64_t>() != wanted.only) continue;
    printG(a.object, client, unwinder, wanted.all_frames);
    found = true;
  }
  if (!found) return fail("stacks", fmt::format("process {} has no G {}", pid, wanted.only));
  return 0;
}

}  // namespace

int stacksCommand(const std::vector<std::string>& args) {
  CLI::App app(
      "Shows what every thread of a program does that was started with GRAFT_CONTROL=on:\n"
      "graft stacks [OPTIONS] PID",
      "graft stacks");
  Wanted wanted;
  CLI::Option* only = app.add_option("--g", wanted.only, "this G alone");
  app.add_flag("--all-frames", wanted.all_frames, "graft's own functions, too");
  app.add_option("PID", wanted.pid, "the process")->required();
  if (auto code = parseArguments(app, args)) return *code;
  wanted.one = only->count() != 0;
  std::optional<pid_t> pid = processId(wanted.pid);
  if (!pid) return fail("stacks", fmt::format("'{}' is no process id", wanted.pid));
  return show(*pid, wanted);
}

}  // namespace graft::tools
