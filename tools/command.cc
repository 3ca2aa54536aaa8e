// The few helpers by which all sub-commands of `graft` fail and parse alike (command.h): one line
// per error, empty values, and where the options end and the program begins.
#include "tools/command.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace graft::tools {

int fail(std::string_view command, std::string_view message) {
  fmt::print(stderr, "graft{}{}: {}\n", command.empty() ? "" : " ", command, message);
  return kExitOwnFailure;
}

namespace {

// CLI11 explains some errors in several lines; ours are one line each.
std::string firstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// CLI11 takes the next word as the value of `--log=`; as two words the empty value arrives. Only
// looks at our own options: what follows the program's name is left alone.
std::vector<std::string> withEmptyValues(const CLI::App& app,
                                         const std::vector<std::string>& args) {
  std::vector<std::string> words;
  size_t i = 1;
  for (; i < args.size() && args[i].size() > 2 && args[i].compare(0, 2, "--") == 0; i++) {
    size_t equals = args[i].find('=');
    const CLI::Option* option = app.get_option_no_throw(args[i].substr(0, equals));
    bool takes_value = option != nullptr && option->get_expected_min() > 0;
    if (takes_value && equals == args[i].size() - 1) {
      words.push_back(args[i].substr(0, equals));
      words.emplace_back();
      continue;
    }
    words.push_back(args[i]);
    if (takes_value && equals == std::string::npos && i + 1 < args.size()) {
      words.push_back(args[++i]);
    }
  }
  words.insert(words.end(), args.begin() + static_cast<ptrdiff_t>(i), args.end());
  return words;
}

}  // namespace

std::optional<int> parseArguments(CLI::App& app, const std::vector<std::string>& args) {
  std::vector<std::string> words = withEmptyValues(app, args);
  std::reverse(words.begin(), words.end());  // as CLI11 wants it
  try {
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return 0;
  } catch (const CLI::ArgumentMismatch& e) {
    std::string text = e.what();
    return fail(args[0], text.substr(0, text.find(':')) + " needs a value");
  } catch (const CLI::ParseError& e) {
    return fail(args[0], firstLine(e.what()));
  }
  return std::nullopt;
}

std::optional<pid_t> processId(const std::string& text) {
  pid_t pid = 0;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, pid);
  if (error != std::errc() || at != end || pid <= 0) return std::nullopt;
  return pid;
}

int exitCodeOf(Target::State state) {
  if (state == Target::State::kNotFound) return kExitNotFound;
  return state == Target::State::kNotExecutable ? kExitNotExecutable : kExitOwnFailure;
}

std::vector<std::string> programOf(const CLI::App& app, std::string& unknown) {
  std::vector<std::string> program = app.remaining();
  unknown.clear();
  if (program.empty()) return program;
  if (program[0] == "--") {
    program.erase(program.begin());
  } else if (program[0].size() > 1 && program[0][0] == '-') {
    unknown = program[0];
  }
  return program;
}

}  // namespace graft::tools
