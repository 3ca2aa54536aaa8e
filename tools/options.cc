// `graft options`: prints the option table of core/base/options.def as text, as the block of
// README.md or as JSON. The value column is what this environment sets, so that
// `graft run --decay-ms=5 -- graft options` shows what a program would get.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/options.h"
#include "tools/command.h"

namespace graft::tools {
namespace {

using base::OptionInfo;
using base::OptionType;

std::string accepted(const OptionInfo& info) {
  if (info.type == OptionType::kInt) return fmt::format("{} to {}", info.min, info.max);
  if (info.type == OptionType::kBool) return "on, off";
  if (info.type == OptionType::kStr) return "text";
  std::string list;
  for (const char* c = info.choices; *c != '\0'; c++) {
    if (*c == '|') {
      list += ", ";
    } else {
      list += *c;
    }
  }
  return list;
}

std::string defaultOf(const OptionInfo& info) {
  base::Line line;
  base::formatDefault(info, line);
  return line.c_str();
}

std::string valueOf(const base::Options& options, const OptionInfo& info) {
  base::Line line;
  base::formatValue(options, info, line);
  return line.c_str();
}

void printMarkdown() {
  fmt::print("| variable | values | default | meaning |\n|---|---|---|---|\n");
  for (const OptionInfo& info : base::kOptions) {
    fmt::print("| `{}` | {} | {} | {} |\n", info.env, accepted(info), defaultOf(info), info.help);
  }
}

nlohmann::ordered_json asNumberOrText(const OptionInfo& info, const std::string& text) {
  if (info.type == OptionType::kInt) return std::stoll(text);
  if (info.type == OptionType::kBool) return text == "on";
  return text;
}

void printJson(const base::Options& options) {
  static constexpr const char* kTypes[] = {"bool", "int", "enum", "string"};
  auto rows = nlohmann::ordered_json::array();
  for (const OptionInfo& info : base::kOptions) {
    nlohmann::ordered_json row;
    row["name"] = info.name;
    row["variable"] = info.env;
    row["type"] = kTypes[static_cast<int>(info.type)];
    row["default"] = asNumberOrText(info, defaultOf(info));
    row["value"] = asNumberOrText(info, valueOf(options, info));
    row["accepted"] = accepted(info);
    row["mutable"] = info.mutability == base::Mutability::kMutable;
    row["help"] = info.help;
    rows.push_back(row);
  }
  fmt::print("{}\n", rows.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void printText(const base::Options& options) {
  for (const OptionInfo& info : base::kOptions) {
    std::string fallback = defaultOf(info);
    std::string value = valueOf(options, info);
    fmt::print("{:<19}{}{}{}\n", info.env, accepted(info),
               fallback.empty() ? "" : fmt::format("; default {}", fallback),
               value == fallback ? "" : fmt::format("; set to {}", value));
    fmt::print("{:<19}{}\n", "", info.help);
  }
  fmt::print("\nAs a flag of `graft run`: GRAFT_DECAY_MS is --decay-ms, GRAFT is --enabled.\n");
}

}  // namespace

int optionsCommand(const std::vector<std::string>& args) {
  CLI::App app("Lists the options, their environment variables and their values", "graft options");
  bool markdown = false;
  bool json = false;
  app.add_flag("--markdown", markdown, "the table as it stands in README.md");
  app.add_flag("--json", json, "everything, for scripts")->excludes("--markdown");
  if (auto code = parseArguments(app, args)) return *code;
  if (markdown) {
    printMarkdown();
    return 0;
  }
  base::Options options;
  base::parseEnv(options, environ, [](const char* line, size_t n) {
    fmt::print(stderr, "{}", std::string_view(line, n));
  });
  if (json) {
    printJson(options);
  } else {
    printText(options);
  }
  return 0;
}

}  // namespace graft::tools
