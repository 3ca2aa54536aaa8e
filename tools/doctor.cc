// `graft doctor`: collects what decides whether graft can be fully on here (system, environment,
// other mallocs, the program, each capability, a trial run of the library) and gives a verdict.
// Exit code 0: fully on; 1: something falls back or is off, and the report says what and why.
#include <fmt/core.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "core/base/hiders.h"
#include "core/base/options.h"
#include "core/base/thread_rules.h"
#include "core/base/version.h"
#include "tools/command.h"
#include "tools/doctor_report.h"
#include "tools/find_lib.h"
#include "tools/probe.h"
#include "tools/system_facts.h"
#include "tools/target.h"
#include "tools/trial.h"

namespace graft::tools {
namespace {

constexpr int64_t kUsualMapCount = 65'530;  // the kernel's default

std::vector<std::string> environment_messages;  // filled by parseEnv(), which takes a function

void addSystem(Report& r, int64_t reserve_gib) {
  SystemFacts facts = readSystemFacts();
  r.data["system"] = {{"kernel", facts.kernel},
                      {"libc", gnu_get_libc_version()},
                      {"transparent_huge_pages", facts.huge_pages},
                      {"overcommit_memory", facts.overcommit},
                      {"max_map_count", facts.max_map_count},
                      {"address_space_limit_kib", facts.address_space_kib}};
  if (facts.overcommit == 2) {
    r.note(
        "vm.overcommit_memory is 2: memory that graft holds counts against the commit limit, "
        "and malloc fails when it is reached");
  }
  if (facts.max_map_count >= 0 && facts.max_map_count < kUsualMapCount) {
    r.note(
        fmt::format("vm.max_map_count is {}, below the usual {}: a program with many mappings "
                    "may run out of them",
                    facts.max_map_count, kUsualMapCount));
  }
  if (facts.address_space_kib >= 0 && facts.address_space_kib >> 20 < reserve_gib) {
    r.note(fmt::format("RLIMIT_AS (ulimit -v) is {} KiB, less than the {} GiB that graft reserves",
                       facts.address_space_kib, reserve_gib));
  }
}

void addEnvironment(Report& r, const base::Options& options) {
  Json set = Json::object();
  for (const base::OptionInfo& info : base::kOptions) {
    base::Line value, fallback;
    base::formatValue(options, info, value);
    base::formatDefault(info, fallback);
    if (std::string_view(value.c_str()) != fallback.c_str()) set[info.env] = value.c_str();
  }
  r.data["options"] = set;
  for (const std::string& message : environment_messages) r.note(message);
  if (!options.enabled) r.problem("GRAFT=off: every program runs untouched on its own malloc");
}

void addPreloads(Report& r) {
  Json list = Json::array();
  for (const Preloaded& p : otherPreloads()) {
    list.push_back({{"path", p.path}, {"source", p.source}, {"malloc", p.malloc}});
    if (p.malloc.empty()) continue;
    r.problem(
        fmt::format("{} preloads {}, which brings a malloc of its own ({}): `graft run` puts "
                    "graft first, but both are loaded",
                    p.source, p.path, p.malloc));
  }
  r.data["other_preloads"] = list;
}

const char* nameOf(Target::State state) {
  switch (state) {
    case Target::State::kOk: return "ok";
    case Target::State::kRefused: return "refused";
    case Target::State::kNotExecutable: return "not executable";
    case Target::State::kNotFound: return "not found";
  }
  return "";
}

bool threadsMayBeGs(const base::Options& options) {
  return options.threads.get() == base::Threads::kMToN;
}

// What only threads that are Gs need.
bool forThreads(base::Capability c) {
  return c == base::Capability::guard_install || c == base::Capability::fsgsbase ||
         c == base::Capability::calibration;
}

void addThreads(Report& r, const base::Options& options) {
  Json rules = Json::array();
  for (const base::ThreadRule& rule : base::kThreadRules) {
    rules.push_back(
        {{"executable", rule.executable}, {"library", rule.library}, {"why", rule.why}});
  }
  Json hiders = Json::array();
  for (const base::Hider& h : base::kHiders) hiders.push_back({{"name", h.name}, {"why", h.why}});
  r.data["collector"] = {{"hiders", hiders}};
  r.data["threads"] = {{"mode", threadsMayBeGs(options) ? "m:n" : "1:1"}, {"rules", rules}};
}

// The libraries that the program's own loader would load, as paths; nothing of it is run.
std::vector<std::string> librariesOf(const Target& t) {
  std::vector<std::string> paths;
  ChildResult listed =
      runChild({t.elf.interp, "--list", t.executable}, {{"LD_PRELOAD", ""}, {"LD_AUDIT", ""}});
  if (!listed.finished || listed.code != 0) return paths;
  std::istringstream words(listed.output);
  std::string word;
  while (words >> word) {
    if (word[0] == '/') paths.push_back(word);
  }
  return paths;
}

std::string baseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void addLibraries(Report& r, const Target& t, bool gs) {
  for (const std::string& path : librariesOf(t)) {
    std::string name = baseName(path);
    for (const base::ThreadRule& rule : base::kThreadRules) {
      if (gs && rule.library[0] != '\0' && name.rfind(rule.library, 0) == 0) {
        r.problem(fmt::format("its threads stay kernel threads: {} ({})", rule.why, name));
      }
    }
    if (name == "libc.so.6") {
      r.data["target"]["libc"] = libcVersionOf(path);
    } else if (name.compare(0, 3, "ld-") != 0) {
      std::string reason = mallocOf(path);
      if (!reason.empty()) {
        r.note(fmt::format("{} is linked with {} ({}); graft's malloc comes first", t.executable,
                           path, reason));
      }
    }
  }
}

void addTarget(Report& r, const base::Options& options, const std::string& command) {
  Target t = inspectTarget(command);
  r.data["target"] = {{"command", command},
                      {"executable", t.executable},
                      {"state", nameOf(t.state)},
                      {"reason", t.reason}};
  if (t.state != Target::State::kOk) return r.problem(t.reason);
  if (baseName(command).find("valgrind") != std::string::npos) {
    r.problem("under valgrind graft leaves malloc to valgrind");
  }
  std::error_code error;  // the library goes by the name that /proc/self/exe has, links resolved
  std::string real = std::filesystem::canonical(t.executable, error).string();
  if (options.enabled && !base::enabledFor(options, real.c_str())) {
    r.problem(fmt::format("GRAFT_ONLY or GRAFT_SKIP switches graft off in {}", baseName(real)));
  }
  if (!t.elf.interp.empty()) addLibraries(r, t, threadsMayBeGs(options));
}

Json answerOf(ProbeResult::Answer answer) {
  if (answer == ProbeResult::Answer::kUnknown) return nullptr;
  return answer == ProbeResult::Answer::kYes;
}

void addCapabilities(Report& r, const base::Options& options) {
  base::CapabilitySet denied(options.denied);
  for (size_t i = 0; i < base::kCapabilityCount; i++) {
    const base::CapabilityInfo& info = base::kCapabilities[i];
    auto capability = static_cast<base::Capability>(i);
    ProbeResult found = probe(capability, options.reserve_gib);
    bool in_use = info.in_use || (forThreads(capability) && threadsMayBeGs(options));
    bool available = found.answer != ProbeResult::Answer::kNo;
    r.data["capabilities"][info.name] = {{"in_use", in_use},
                                         {"for_threads", forThreads(capability)},
                                         {"available", answerOf(found.answer)},
                                         {"denied", denied.has(capability)},
                                         {"detail", found.detail},
                                         {"needed_for", info.needed_for},
                                         {"otherwise", info.otherwise}};
    if (!in_use) continue;
    if (denied.has(capability)) {
      r.problem(fmt::format("{} is denied by GRAFT_DENY: {}", info.name, info.otherwise));
    } else if (!available) {
      r.problem(fmt::format("{} is missing ({}): {}", info.name, found.detail, info.otherwise));
    }
  }
}

// The library's summary has a word per capability: on, denied, missing or unused. It may find
// missing what the probe found (and the other way round: then the probe's finding stands).
void compareWithLibrary(Report& r, const nlohmann::json& said) {
  const nlohmann::json capabilities = said.value("capabilities", nlohmann::json::object());
  for (const auto& [name, state] : capabilities.items()) {
    if (!r.data["capabilities"].contains(name)) continue;
    Json& ours = r.data["capabilities"][name];
    ours["library"] = state;
    if (state == "missing" && ours["available"] != false) {
      r.problem(fmt::format("the library does without {}: {}", name,
                            ours["otherwise"].get<std::string>()));
    }
  }
}

// The library proves what it has to know about glibc before it may switch threads by itself.
void addFacts(Report& r, const nlohmann::json& facts) {
  if (facts.is_null()) return;
  r.data["glibc"] = facts;
  bool calibrated = facts.value("calibrated", false);
  Json& ours = r.data["capabilities"]["calibration"];
  ours["available"] = calibrated;
  ours["detail"] = facts.value("why_not", "");
}

void addLibrary(Report& r, const base::Options& options, const std::string& explicit_path) {
  Library library = findLibrary(explicit_path);
  r.data["library"] = {{"path", library.path}, {"loads", false}};
  if (!library.problem.empty()) return r.problem(library.problem);
  Trial trial = tryPreload(library.path);
  r.data["library"]["tried_with"] = trial.command;
  if (!trial.problem.empty()) {
    // GRAFT=off is a problem already, and a library that is off need not write a summary.
    return options.enabled ? r.problem(trial.problem) : r.note(trial.problem);
  }
  addFacts(r, trial.facts);
  const nlohmann::json& said = trial.summary["graft"];
  Json& out = r.data["library"];  // only now: a new key in r.data moves the others
  out["loads"] = true;
  out["version"] = said.value("version", "");
  out["enabled"] = said.value("enabled", false);
  out["why_off"] = said.value("why_off", "");
  if (!said.value("enabled", false) && options.enabled) {
    r.problem(fmt::format("libgraft.so loads and stays off: {}",
                          said.value("why_off", "no reason given")));
  }
  if (said.value("version", GRAFT_VERSION) != std::string(GRAFT_VERSION)) {
    r.note(fmt::format("libgraft.so is version {}, this command is {}", said.value("version", ""),
                       GRAFT_VERSION));
  }
  compareWithLibrary(r, said);
}

}  // namespace

int doctorCommand(const std::vector<std::string>& args) {
  CLI::App app("Tells whether graft can be fully on here: graft doctor [OPTIONS] [-- PROGRAM]",
               "graft doctor");
  app.prefix_command();
  bool json = false;
  std::string explicit_library;
  app.add_flag("--json", json, "the whole report, for scripts");
  app.add_option("--lib", explicit_library, "libgraft.so to try")->take_last();
  if (auto code = parseArguments(app, args)) return *code;
  std::string unknown;
  std::vector<std::string> program = programOf(app, unknown);
  if (!unknown.empty()) return fail("doctor", fmt::format("unknown option {}", unknown));

  base::Options options;
  base::parseEnv(options, environ, [](const char* line, size_t n) {
    environment_messages.emplace_back(line, n - 1);
  });
  Report report;
  report.data["version"] = GRAFT_VERSION;
  report.data["verdict"] = "";
  addSystem(report, options.reserve_gib);
  addEnvironment(report, options);
  addPreloads(report);
  if (!program.empty()) addTarget(report, options, program[0]);
  addCapabilities(report, options);
  addThreads(report, options);
  addLibrary(report, options, explicit_library);
  if (!report.data.contains("findings")) report.data["findings"] = Json::array();
  report.data["verdict"] = report.degraded() ? "degraded" : "on";

  if (json) {
    fmt::print("{}\n", report.data.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    printReport(report);
  }
  return report.degraded() ? kExitDegraded : 0;
}

}  // namespace graft::tools
