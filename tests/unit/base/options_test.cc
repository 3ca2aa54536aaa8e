// Tests of the option table and its parser: good values of each type, bad, out-of-range, unknown,
// over-long and duplicate ones, the lines that are reported, the deny list, the executable lists.
#include "core/base/options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace graft::base {
namespace {

std::vector<std::string> reported;  // ReportFn is a plain function

void keepLine(const char* line, size_t n) { reported.emplace_back(line, n); }

// Parses an environment made of `entries`, into a fresh set of options.
Options parsed(const std::vector<std::string>& entries) {
  static std::vector<std::string> kept;  // Str options point into it
  kept = entries;
  std::vector<char*> envp;
  for (std::string& e : kept) envp.push_back(e.data());
  envp.push_back(nullptr);
  reported.clear();
  Options options;
  parseEnv(options, envp.data(), keepLine);
  return options;
}

TEST(Options, DefaultsWithoutVariables) {
  Options o = parsed({"PATH=/bin", "GRA=1", "GRAFTED=1", "GRAFTX_DECAY_MS=1", "_GRAFT=off", ""});
  EXPECT_TRUE(o.enabled);
  EXPECT_TRUE(o.child);
  EXPECT_STREQ(o.only, "");
  EXPECT_EQ(o.misuse.get(), Misuse::kAbort);
  EXPECT_EQ(o.decay_ms.get(), 100);
  EXPECT_EQ(o.max_caches.get(), 256);
  EXPECT_EQ(o.reserve_gib.get(), 1024);
  EXPECT_TRUE(reported.empty());
}

TEST(Options, NullEnvironmentAndNullReport) {
  Options o;
  parseEnv(o, nullptr, keepLine);
  std::string bad = "GRAFT_DECAY_MS=x";
  char* envp[] = {bad.data(), nullptr};
  parseEnv(o, envp, nullptr);
  EXPECT_EQ(o.decay_ms.get(), 100);
}

TEST(Options, EachTypeIsParsed) {
  Options o = parsed({"GRAFT=1", "GRAFT_CHILD=0", "GRAFT_ONLY=a,b", "GRAFT_MISUSE=report",
                      "GRAFT_HEAP_CHECK=2", "GRAFT_DECAY_MS=-1", "GRAFT_VERBOSE=yes"});
  EXPECT_TRUE(o.enabled);
  EXPECT_FALSE(o.child);
  EXPECT_STREQ(o.only, "a,b");
  EXPECT_EQ(o.misuse.get(), Misuse::kReport);
  EXPECT_EQ(o.heap_check.get(), 2);
  EXPECT_EQ(o.decay_ms.get(), -1);
  EXPECT_TRUE(o.verbose);
  EXPECT_TRUE(reported.empty());
}

TEST(Options, BoolWords) {
  for (const char* yes : {"1", "on", "yes", "true"}) {
    EXPECT_TRUE(parsed({std::string("GRAFT_SITE_IDS=") + yes}).site_ids) << yes;
  }
  for (const char* no : {"0", "off", "no", "false"}) {
    EXPECT_FALSE(parsed({std::string("GRAFT=") + no}).enabled) << no;
  }
  EXPECT_TRUE(reported.empty());
}

TEST(Options, BadIntegerKeepsTheDefault) {
  Options o = parsed({"GRAFT_DECAY_MS=abc"});
  EXPECT_EQ(o.decay_ms.get(), 100);
  ASSERT_EQ(reported.size(), 1u);
  EXPECT_EQ(reported[0],
            "graft: GRAFT_DECAY_MS=abc: expected an integer from -1 to 3600000; using 100\n");
}

TEST(Options, MalformedIntegers) {
  for (const char* text : {"-", "+", "1x", " 1", "1 ", "0x10", "1e3", "--1", "1.0"}) {
    Options o = parsed({std::string("GRAFT_DECAY_MS=") + text});
    EXPECT_EQ(o.decay_ms.get(), 100) << text;
    EXPECT_EQ(reported.size(), 1u) << text;
  }
}

// As Go's GOGC=off; only where -1 says "never".
TEST(Options, OffForNever) {
  EXPECT_EQ(parsed({"GOGC=off"}).gogc.get(), -1);
  EXPECT_EQ(parsed({"GRAFT_DECAY_MS=off"}).decay_ms.get(), -1);
  EXPECT_TRUE(reported.empty());
  EXPECT_EQ(parsed({"GRAFT_MAX_CACHES=off"}).max_caches.get(), 256);
  EXPECT_EQ(reported.size(), 1u);
}

TEST(Options, IntegerBounds) {
  EXPECT_EQ(parsed({"GRAFT_MAX_CACHES=1"}).max_caches.get(), 1);
  EXPECT_EQ(parsed({"GRAFT_MAX_CACHES=4096"}).max_caches.get(), 4096);
  EXPECT_EQ(parsed({"GRAFT_MAX_CACHES=+16"}).max_caches.get(), 16);
  EXPECT_TRUE(reported.empty());
  for (const char* text : {"0", "4097", "-9223372036854775808", "-9223372036854775809",
                           "9223372036854775808", "99999999999999999999999999"}) {
    Options o = parsed({std::string("GRAFT_MAX_CACHES=") + text});
    EXPECT_EQ(o.max_caches.get(), 256) << text;
    EXPECT_EQ(reported.size(), 1u) << text;
  }
}

TEST(Options, BadEnumAndBool) {
  Options o = parsed({"GRAFT_MISUSE=abor", "GRAFT_CHILD=maybe"});
  EXPECT_EQ(o.misuse.get(), Misuse::kAbort);
  EXPECT_TRUE(o.child);
  ASSERT_EQ(reported.size(), 2u);
  EXPECT_EQ(reported[0], "graft: GRAFT_MISUSE=abor: expected one of abort, report; using abort\n");
  EXPECT_EQ(reported[1], "graft: GRAFT_CHILD=maybe: expected on or off; using on\n");
  for (const char* text : {"abort|report", "|", "abort|", "report|"}) {
    parsed({std::string("GRAFT_MISUSE=") + text});
    EXPECT_EQ(reported.size(), 1u) << text;
  }
}

TEST(Options, UnknownNameGetsASuggestion) {
  parsed({"GRAFT_DECAYMS=5", "GRAFT_QUANTUM_FLUX=1", "GRAFT_=1", "GRAFT_LIB=/x"});
  ASSERT_EQ(reported.size(), 3u);
  EXPECT_EQ(reported[0], "graft: GRAFT_DECAYMS: unknown option; did you mean GRAFT_DECAY_MS?\n");
  EXPECT_EQ(reported[1], "graft: GRAFT_QUANTUM_FLUX: unknown option\n");
}

TEST(Options, GosNamesAreTakenAndItsOthersLeftAlone) {
  Options o = parsed({"GOPATH=/x", "GOMAXPROC=4", "GO=1", "GOMAXPROCS=3", "GODEBUG=schedtrace=5"});
  EXPECT_EQ(o.gomaxprocs.get(), 3);
  EXPECT_TRUE(reported.empty());
  EXPECT_EQ(parsed({"GOMAXPROCS=some"}).gomaxprocs.get(), 0);
  EXPECT_EQ(reported.size(), 1u);
}

TEST(Options, LongNamesAndValuesAreCut) {
  std::string huge(200'000, 'x');
  Options o = parsed({"GRAFT_" + huge + "=1", "GRAFT_DECAY_MS=" + huge, "GRAFT_LOG=" + huge});
  EXPECT_EQ(std::string(o.log).size(), huge.size());
  ASSERT_EQ(reported.size(), 2u);
  for (const std::string& line : reported) {
    EXPECT_LT(line.size(), 200u);
    EXPECT_NE(line.find("xxx..."), std::string::npos);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
  }
}

TEST(Options, UnprintableTextIsMasked) {
  parsed({"GRAFT_DECAY_MS=a\nb\x1b[31m\xff"});
  ASSERT_EQ(reported.size(), 1u);
  EXPECT_EQ(reported[0].find("GRAFT_DECAY_MS=a?b?[31m?:"), 7u);
}

TEST(Options, EmptyValueCountsAsUnset) {
  Options o = parsed({"GRAFT=", "GRAFT_DECAY_MS=", "GRAFT_MISUSE=", "GRAFT_VERBOSE"});
  EXPECT_TRUE(o.enabled);
  EXPECT_EQ(o.decay_ms.get(), 100);
  EXPECT_FALSE(o.verbose);
  EXPECT_TRUE(reported.empty());
}

TEST(Options, FirstOfTwoCounts) {
  EXPECT_EQ(parsed({"GRAFT_DECAY_MS=1", "GRAFT_DECAY_MS=2"}).decay_ms.get(), 1);
  EXPECT_EQ(parsed({"GRAFT_DECAY_MS=bad", "GRAFT_DECAY_MS=2"}).decay_ms.get(), 100);
  EXPECT_EQ(reported.size(), 1u);
}

TEST(Options, SwitchedOffSaysNothing) {
  EXPECT_FALSE(
      parsed({"GRAFT_DECAY_MS=abc", "GRAFT_NONSENSE=1", "GRAFT_DENY=x", "GRAFT=off"}).enabled);
  EXPECT_TRUE(reported.empty());
}

TEST(Options, ReportComesAfterAllValuesAreSet) {
  static Options o;
  static std::string log_seen;
  std::string bad = "GRAFT_DECAY_MS=abc", log = "GRAFT_LOG=file";
  char* envp[] = {bad.data(), log.data(), nullptr};
  parseEnv(o, envp, [](const char*, size_t) { log_seen = o.log; });
  EXPECT_EQ(log_seen, "file");
}

TEST(Options, FormatAndSetAgreeForEveryRow) {
  for (const OptionInfo& info : kOptions) {
    Options o;
    Line fallback, value;
    formatDefault(info, fallback);
    formatValue(o, info, value);
    EXPECT_STREQ(fallback.c_str(), value.c_str()) << info.env;
    EXPECT_TRUE(setOption(o, info, fallback.c_str())) << info.env;
    if (info.type == OptionType::kInt) {
      std::string max = std::to_string(info.max);
      EXPECT_TRUE(setOption(o, info, max.c_str()));
      value.clear();
      formatValue(o, info, value);
      EXPECT_EQ(value.c_str(), max);
    }
    EXPECT_EQ(findOption(info.name, std::string(info.name).size()), &info);
  }
}

TEST(Options, FindTakesDashes) {
  ASSERT_NE(findOption("decay-ms", 8), nullptr);
  EXPECT_STREQ(findOption("decay-ms", 8)->env, "GRAFT_DECAY_MS");
  EXPECT_EQ(findOption("decay", 5), nullptr);
  EXPECT_EQ(findOption("decay-msx", 9), nullptr);
}

TEST(Deny, NamesAllAndUnknown) {
  Options o = parsed({"GRAFT_DENY= mremap ,,purge,"});
  CapabilitySet set(o.denied);
  EXPECT_TRUE(set.has(Capability::mremap));
  EXPECT_TRUE(set.has(Capability::purge));
  EXPECT_FALSE(set.has(Capability::reserve));
  EXPECT_TRUE(reported.empty());

  EXPECT_EQ(parsed({"GRAFT_DENY=all"}).denied.get(), CapabilitySet::all().bits());

  o = parsed({"GRAFT_DENY=mreap,purge,nothing_of_the_kind,al"});
  EXPECT_TRUE(CapabilitySet(o.denied).has(Capability::purge));
  EXPECT_FALSE(CapabilitySet(o.denied).has(Capability::mremap));
  ASSERT_EQ(reported.size(), 3u);
  EXPECT_EQ(reported[0], "graft: GRAFT_DENY: unknown capability mreap; did you mean mremap?\n");
  EXPECT_EQ(reported[1], "graft: GRAFT_DENY: unknown capability nothing_of_the_kind\n");
}

TEST(Deny, EachNameIsItsOwnBit) {
  for (size_t i = 0; i < kCapabilityCount; i++) {
    EXPECT_EQ(parseDeny(kCapabilities[i].name, nullptr).bits(), 1u << i) << kCapabilities[i].name;
  }
}

TEST(Lists, ItemsAreWholeWords) {
  EXPECT_TRUE(listHas("redis-server, python3", "python3"));
  EXPECT_TRUE(listHas("a", "a"));
  EXPECT_FALSE(listHas("", ""));
  EXPECT_FALSE(listHas(",,", ""));
  EXPECT_FALSE(listHas("python3", "python"));
  EXPECT_FALSE(listHas("python", "python3"));
}

TEST(Lists, EnabledForExecutable) {
  EXPECT_TRUE(enabledFor(parsed({}), "/usr/bin/x"));
  EXPECT_FALSE(enabledFor(parsed({"GRAFT=off"}), "/usr/bin/x"));
  EXPECT_TRUE(enabledFor(parsed({"GRAFT_ONLY=x,y"}), "/usr/bin/x"));
  EXPECT_FALSE(enabledFor(parsed({"GRAFT_ONLY=x,y"}), "/x/z"));
  EXPECT_FALSE(enabledFor(parsed({"GRAFT_SKIP=x"}), "x"));
  EXPECT_FALSE(enabledFor(parsed({"GRAFT_ONLY=x", "GRAFT_SKIP=x"}), "x"));
}

}  // namespace
}  // namespace graft::base
