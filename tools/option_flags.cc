// Option rows to flags, and the checks of their values (option_flags.h). A bad value is an error
// here, where the runtime itself would keep the default with one line.
#include "tools/option_flags.h"

#include <fmt/core.h>

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

}  // namespace

void OptionFlags::addTo(CLI::App& app) {
  for (const base::OptionInfo& info : base::kOptions) {
    base::Line fallback;
    base::formatDefault(info, fallback);
    std::string help = info.help;
    if (fallback.size() != 0) help += fmt::format(" [{}]", fallback.c_str());
    // A Bool may stand alone (--verbose) and takes its value behind '=' only.
    CLI::Option* option = info.type == base::OptionType::kBool
                              ? app.add_flag(flagOf(info), values_[&info], help)
                              : app.add_option(flagOf(info), values_[&info], help);
    option->take_last();
    if (info.type != base::OptionType::kBool) option->type_name(typeOf(info));
  }
}

std::string OptionFlags::problem(const CLI::App& app) const {
  for (const auto& [info, value] : values_) {
    if (app.count(flagOf(*info)) == 0) continue;
    std::string problem = problemOf(*info, value);
    if (!problem.empty()) return problem;
  }
  return "";
}

std::vector<std::pair<std::string, std::string>> OptionFlags::given(const CLI::App& app) const {
  std::vector<std::pair<std::string, std::string>> list;
  for (const auto& [info, value] : values_) {
    if (app.count(flagOf(*info)) != 0) list.emplace_back(info->env, value);
  }
  return list;
}

}  // namespace graft::tools
