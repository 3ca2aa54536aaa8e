// `graft gc PID`: a collection in a running process, and what it cost. Nothing but figures comes
// back; `graft leaks PID` also says what was found.
#include <fmt/core.h>

#include "tools/command.h"
#include "tools/control_client.h"

namespace graft::tools {
namespace {

// A collection of a large heap takes its time before the answer comes.
constexpr int kPatienceSeconds = 300;

void print(const nlohmann::json& cycle) {
  constexpr double kMs = 1e6, kMiB = 1024 * 1024;
  fmt::print(
      "collection {}: {} objects of {:.1f} MiB are in use; the program stood still for "
      "{:.3f} ms, {:.3f} ms of it to mark from {:.1f} MiB of roots\n",
      cycle.at("cycle").get<uint64_t>(), cycle.at("live_objects").get<uint64_t>(),
      cycle.at("live_bytes").get<double>() / kMiB, cycle.at("stw_ns").get<double>() / kMs,
      cycle.at("mark_ns").get<double>() / kMs, cycle.at("roots_bytes").get<double>() / kMiB);
}

}  // namespace

int gcCommand(const std::vector<std::string>& args) {
  CLI::App app(
      "Runs a collection in a program that was started with GRAFT_GC=detect GRAFT_CONTROL=on:\n"
      "graft gc [OPTIONS] PID",
      "graft gc");
  bool json = false;
  std::string word;
  app.add_flag("--json", json, "the process's answer as it is");
  app.add_option("PID", word, "the process")->required();
  if (auto code = parseArguments(app, args)) return *code;
  std::optional<pid_t> pid = processId(word);
  if (!pid) return fail("gc", fmt::format("'{}' is no process id", word));
  ControlClient client;
  std::vector<Answer> answers;
  std::string problem = client.connect(*pid, kPatienceSeconds);
  if (problem.empty()) problem = client.ask("gc", answers);
  if (problem.empty() && answers.empty()) problem = "the process's answer is empty";
  if (!problem.empty()) return fail("gc", problem);
  const nlohmann::json& cycle = answers[0].object;
  bool complete = cycle.at("complete").get<bool>();
  if (json) fmt::print("{}\n", cycle.dump());
  if (!complete) {
    return fail("gc", fmt::format("the collection was not complete: {}",
                                  cycle.at("why").get<std::string>()));
  }
  if (!json) print(cycle);
  return 0;
}

}  // namespace graft::tools
