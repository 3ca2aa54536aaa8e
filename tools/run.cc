// `graft run`: checks the program, puts every option into the environment, puts libgraft.so first
// into LD_PRELOAD and becomes the program. Options are the rows of core/base/options.def; what this
// command refuses and with which code follows env(1), and 125 means that graft itself said no.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

#include "core/base/options.h"
#include "tools/command.h"
#include "tools/find_lib.h"
#include "tools/target.h"

namespace graft::tools {
namespace {

std::string flagOf(const base::OptionInfo& info) {
  std::string flag = fmt::format("--{}", info.name);
  for (char& c : flag) c = c == '_' ? '-' : c;
  return flag;
}

// How the help shows what a flag takes.
std::string typeOf(const base::OptionInfo& info) {
  if (info.type == base::OptionType::kInt) return fmt::format("{}..{}", info.min, info.max);
  return info.type == base::OptionType::kEnum ? info.choices : "TEXT";
}

using Values = std::map<const base::OptionInfo*, std::string>;

void addFlags(CLI::App& app, Values& values) {
  for (const base::OptionInfo& info : base::kOptions) {
    base::Line fallback;
    base::formatDefault(info, fallback);
    std::string help = info.help;
    if (fallback.size() != 0) help += fmt::format(" [{}]", fallback.c_str());
    // A Bool may stand alone (--verbose) and takes its value behind '=' only.
    CLI::Option* option = info.type == base::OptionType::kBool
                              ? app.add_flag(flagOf(info), values[&info], help)
                              : app.add_option(flagOf(info), values[&info], help);
    option->take_last();
    if (info.type != base::OptionType::kBool) option->type_name(typeOf(info));
  }
}

std::string unknown_capability;  // set by parseDeny() below, which takes a plain function

// Why the value cannot be used, or "".
std::string problemOf(const base::OptionInfo& info, const std::string& value) {
  base::Options scratch;
  if (!base::setOption(scratch, info, value.c_str())) {
    base::Line line;
    line.str(flagOf(info).c_str()).chr('=');
    base::quoteValue(value.data(), value.size(), line);
    line.str(": expected ");
    base::describeAccepted(info, line);
    return line.c_str();
  }
  if (std::string_view(info.name) != "deny") return "";
  unknown_capability.clear();
  base::parseDeny(value.c_str(), [](const char* line, size_t n) {
    if (unknown_capability.empty()) unknown_capability.assign(line, n - 1);
  });
  constexpr std::string_view kHead = "graft: GRAFT_DENY";
  if (unknown_capability.empty()) return "";
  return "--deny" + unknown_capability.substr(kHead.size());
}

int exitCodeOf(Target::State state) {
  if (state == Target::State::kNotFound) return kExitNotFound;
  return state == Target::State::kNotExecutable ? kExitNotExecutable : kExitOwnFailure;
}

int become(const std::vector<std::string>& program) {
  std::vector<char*> argv;
  for (const std::string& word : program) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  int error = errno;
  fail("run", fmt::format("{}: {}", program[0], std::strerror(error)));
  return error == ENOENT ? kExitNotFound : kExitNotExecutable;
}

}  // namespace

int runCommand(const std::vector<std::string>& args) {
  CLI::App app("Starts a program on graft: graft run [OPTIONS] -- PROGRAM [ARGUMENTS]",
               "graft run");
  app.prefix_command();
  app.footer("A switch takes =on or =off, or stands alone for on.");
  std::string explicit_library;
  app.add_option("--lib", explicit_library,
                 "libgraft.so to preload [GRAFT_LIB, or beside graft, ../lib/graft, ../lib]")
      ->take_last();
  Values values;
  addFlags(app, values);
  if (auto code = parseArguments(app, args)) return *code;

  std::string unknown;
  std::vector<std::string> program = programOf(app, unknown);
  if (!unknown.empty()) return fail("run", fmt::format("unknown option {}", unknown));
  if (program.empty())
    return fail("run", "no program given; usage: graft run [OPTIONS] -- PROGRAM");

  for (const auto& [info, value] : values) {
    if (app.count(flagOf(*info)) == 0) continue;
    std::string problem = problemOf(*info, value);
    if (!problem.empty()) return fail("run", problem);
  }
  Library library = findLibrary(explicit_library);
  if (!library.problem.empty()) return fail("run", library.problem);
  Target target = inspectTarget(program[0]);
  if (target.state != Target::State::kOk) {
    fail("run", target.reason);
    return exitCodeOf(target.state);
  }
  for (const auto& [info, value] : values) {
    if (app.count(flagOf(*info)) != 0) setenv(info->env, value.c_str(), 1);
  }
  setenv("LD_PRELOAD", preloadWith(library.path, std::getenv("LD_PRELOAD")).c_str(), 1);
  return become(program);
}

}  // namespace graft::tools
