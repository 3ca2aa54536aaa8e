// Tests of what `graft compare` computes and reads: statistics with answers worked out by hand,
// texts of /proc as kernels write them, the sampler's sums, throughput figures, the tree of
// processes, and the report in its three forms, from runs that are made up.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include "tools/compare/format.h"
#include "tools/compare/proc_tree.h"
#include "tools/compare/processes.h"
#include "tools/compare/report.h"
#include "tools/compare/run.h"
#include "tools/compare/runtimes.h"
#include "tools/compare/sampler.h"
#include "tools/compare/stats.h"
#include "tools/compare/throughput.h"

namespace graft::tools::compare {
namespace {

using std::chrono::milliseconds;

TEST(CompareStats, QuartilesInterpolate) {
  Summary s = summarize({4, 1, 3, 2});
  EXPECT_EQ(s.n, 4);
  EXPECT_DOUBLE_EQ(s.min, 1);
  EXPECT_DOUBLE_EQ(s.q1, 1.75);
  EXPECT_DOUBLE_EQ(s.median, 2.5);
  EXPECT_DOUBLE_EQ(s.q3, 3.25);
  EXPECT_DOUBLE_EQ(s.max, 4);
  EXPECT_DOUBLE_EQ(summarize({7}).q1, 7);
  EXPECT_EQ(summarize({}).n, 0);
}

TEST(CompareStats, RatioOfFewPairsHasNoInterval) {
  EXPECT_FALSE(ratioOf({}).has_value());
  auto two = ratioOf({0.5, 1.5});
  EXPECT_DOUBLE_EQ(two->median, 1.0);
  EXPECT_FALSE(two->interval.has_value());
}

TEST(CompareStats, IntervalIsThatOfTheMedian) {
  auto equal = ratioOf({0.8, 0.8, 0.8, 0.8});
  ASSERT_TRUE(equal->interval.has_value());
  EXPECT_DOUBLE_EQ(equal->interval->low, 0.8);
  EXPECT_DOUBLE_EQ(equal->interval->high, 0.8);
  // Of three, the median of a resample is the lowest value with probability 7/27: both ends are in.
  auto three = ratioOf({3, 1, 2});
  EXPECT_DOUBLE_EQ(three->median, 2);
  EXPECT_DOUBLE_EQ(three->interval->low, 1);
  EXPECT_DOUBLE_EQ(three->interval->high, 3);
  // 101 values 0..100: the binomial interval of the median's rank is 50 +- 1.96 * sqrt(101) / 2.
  std::vector<double> many;
  for (int i = 0; i <= 100; i++) many.push_back(i);
  auto wide = ratioOf(many);
  EXPECT_NEAR(wide->interval->low, 40, 2);
  EXPECT_NEAR(wide->interval->high, 60, 2);
  std::reverse(many.begin(), many.end());
  EXPECT_DOUBLE_EQ(ratioOf(many)->median, 50);
}

TEST(CompareStats, SameFiguresSameInterval) {
  std::vector<double> values{0.91, 1.02, 0.97, 1.1, 0.88};
  EXPECT_DOUBLE_EQ(ratioOf(values)->interval->low, ratioOf(values)->interval->low);
}

TEST(CompareProc, StatWithAnUnpleasantName) {
  auto stat = parseStat("12 (a) b (c) S 7 9 9 0 -1 4194560 100");
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->pid, 12);
  EXPECT_EQ(stat->name, "a) b (c");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->parent, 7);
  EXPECT_EQ(stat->group, 9);
  for (const char* bad : {"", "12", "12 (", "12 )a( S 1 2", "12 (a)", "12 (a) S", "x (a) S 1 2"}) {
    EXPECT_FALSE(parseStat(bad).has_value()) << bad;
  }
}

TEST(CompareProc, StatmAndRollup) {
  EXPECT_EQ(parseStatm("1000 25 10 1 0 100 0\n"), 25u);
  EXPECT_FALSE(parseStatm("").has_value());
  EXPECT_FALSE(parseStatm("17").has_value());
  auto rollup = parseRollup(
      "55d0-7ffd ---p 00000000 00:00 0    [rollup]\nRss:     884 kB\nPss:     385 kB\n"
      "Pss_Anon:            68 kB\nPss_File:           317 kB\nShared_Clean:        696 kB\n");
  ASSERT_TRUE(rollup.has_value());
  EXPECT_EQ(rollup->rss, 884u * 1024);
  EXPECT_EQ(rollup->pss, 385u * 1024);
  EXPECT_FALSE(parseRollup("Rss: 5 kB\n").has_value());
  EXPECT_FALSE(parseRollup("Rss: 5 kB\nPss: x\n").has_value());
  EXPECT_FALSE(rollupOf(0).has_value());
  EXPECT_EQ(rssOf(0), 0u);
}

TEST(CompareProc, OwnProcess) {
  auto stat = readStat(getpid());
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->parent, getppid());
  EXPECT_EQ(stat->group, getpgrp());
  EXPECT_GT(rssOf(getpid()), 100'000u);
  EXPECT_GT(rollupOf(getpid())->pss, 100'000u);
}

std::vector<std::string> ownEnvironment() {
  std::vector<std::string> all;
  for (char** item = environ; *item != nullptr; item++) all.emplace_back(*item);
  return all;
}

RunRequest shell(const std::string& script) {
  RunRequest request;
  request.command = {"sh", "-c", script};
  request.environment = ownEnvironment();
  request.load_environment = ownEnvironment();
  request.time_limit_s = 20;
  return request;
}

// Looks at the members until there are `count`, or half of ten seconds have gone.
std::vector<pid_t> membersOnceThereAre(Processes& processes, size_t count) {
  for (int i = 0; i < 500 && processes.members().size() != count; i++) {
    processes.wait(Clock::now() + milliseconds(10));
  }
  return processes.members();
}

TEST(CompareProcesses, TreeAndOrphansAndForeigners) {
  pid_t foreign = fork();
  if (foreign == 0) {
    sleep(60);
    _exit(0);
  }
  {
    Processes processes;
    Group group;
    // A grandchild in a session of its own that loses its parent.
    Launch launch{{"sh", "-c", "setsid sleep 60 & sh -c 'sleep 60 & exit'; exec sleep 60"},
                  ownEnvironment()};
    ASSERT_EQ(processes.start(launch, group), 0);
    std::vector<pid_t> members = membersOnceThereAre(processes, 3);
    EXPECT_EQ(members.size(), 3u);
    EXPECT_NE(std::find(members.begin(), members.end(), group.root), members.end());
    EXPECT_EQ(std::find(members.begin(), members.end(), foreign), members.end());
    EXPECT_EQ(processes.endAll(milliseconds(5000)), 3);
    EXPECT_TRUE(processes.members().empty());
    EXPECT_TRUE(group.ended);
    EXPECT_EQ(WTERMSIG(group.status), SIGTERM);
  }
  EXPECT_EQ(kill(foreign, 0), 0) << "a child that was there before has been ended";
  kill(foreign, SIGKILL);
  waitpid(foreign, nullptr, 0);
}

TEST(CompareProcesses, WhoIgnoresSigtermIsKilled) {
  Processes processes;
  Group group;
  Launch launch{{"sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"}, ownEnvironment()};
  ASSERT_EQ(processes.start(launch, group), 0);
  processes.wait(Clock::now() + milliseconds(100));
  processes.endAll(milliseconds(200));
  EXPECT_TRUE(group.ended);
}

TEST(CompareProcesses, NotExecutable) {
  Processes processes;
  Group group;
  EXPECT_EQ(processes.start({{"/no/such/program"}, {}}, group), ENOENT);
  EXPECT_EQ(processes.start({{"/"}, {}}, group), EACCES);
}

TEST(CompareRun, MeasuresOrphansToo) {
  Processes processes;
  // The work is done by a grandchild whose parent does not wait for it; the shell waits on a pipe.
  RunRecord run =
      runOnce(processes, shell("(sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done' &) "
                               "| cat; exit 3"));
  EXPECT_EQ(run.problem, "");
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_GT(*run.measures[Measure::kCpu], 0.02);
  EXPECT_GT(*run.measures[Measure::kWall], 0.02);
  EXPECT_GT(*run.measures[Measure::kPeakRss], 300'000);
  EXPECT_GT(*run.measures[Measure::kMinorFaults], 100);
}

TEST(CompareRun, PeakIsTheProgramsAndNotThatOfTheFork) {
  std::vector<char> ballast(64 << 20, 'x');  // in this process, of which the program is a fork
  Processes processes;
  RunRecord run = runOnce(processes, shell("sleep 0.1"));
  EXPECT_EQ(ballast[12345], 'x');
  EXPECT_LT(*run.measures[Measure::kPeakRss], 32 << 20);
}

TEST(CompareRun, LeftoversSignalsLimitsAndOutput) {
  Processes processes;
  EXPECT_EQ(runOnce(processes, shell("sleep 60 & exit 0")).left_running, 1);
  EXPECT_EQ(runOnce(processes, shell("kill -9 $$")).exit_code, 128 + 9);
  RunRequest slow = shell("echo last words >&2; sleep 60");
  slow.time_limit_s = 0.3;
  std::string problem = runOnce(processes, slow).problem;
  EXPECT_NE(problem.find("0.3 s; it said: last words"), std::string::npos) << problem;
  RunRequest loud = shell("printf abc");
  loud.keep_output = true;
  RunRecord run = runOnce(processes, loud);
  EXPECT_EQ(run.output->bytes, 3u);
  EXPECT_EQ(run.output->hash, 0xe71fa2190541574bu);  // FNV-1a of "abc"
}

TEST(CompareSampler, MeanPeakAndThinning) {
  std::vector<SamplePoint> points{{0, 100}, {1, 300}, {3, 50}};
  EXPECT_DOUBLE_EQ(meanOf(points, 0, 4), (100 * 1 + 300 * 2 + 50 * 1) / 4.0);
  EXPECT_DOUBLE_EQ(meanOf(points, 0.5, 2), (100 * 0.5 + 300 * 1) / 1.5);
  EXPECT_DOUBLE_EQ(meanOf({}, 0, 1), 0);
  EXPECT_EQ(peakOf(points), 300u);
  std::vector<SamplePoint> many;
  for (int i = 0; i < 1000; i++) many.push_back({i * 0.01, i == 777 ? 9999u : 10u});
  std::vector<SamplePoint> few = thinned(many, 50);
  EXPECT_EQ(few.size(), 50u);
  EXPECT_EQ(peakOf(few), 9999u);
  EXPECT_DOUBLE_EQ(few.front().at, 0);
  EXPECT_DOUBLE_EQ(few.back().at, 9.99);
  EXPECT_TRUE(std::is_sorted(few.begin(), few.end(),
                             [](const auto& a, const auto& b) { return a.at < b.at; }));
}

TEST(CompareSampler, PaceFollowsTheCost) {
  Clock::time_point t{};
  Pace pace(milliseconds(10), milliseconds(100), t);
  pace.looked(t, t + std::chrono::microseconds(20));
  EXPECT_EQ(pace.next() - t, milliseconds(10));
  pace.looked(t, t + milliseconds(1));
  EXPECT_EQ(pace.next() - t, milliseconds(50));
  pace.looked(t, t + milliseconds(40));
  EXPECT_EQ(pace.next() - t, milliseconds(100));
  pace.stretch(milliseconds(70));
  pace.looked(t, t);
  EXPECT_EQ(pace.next() - t, milliseconds(70));
}

TEST(CompareSampler, SeesThisProcess) {
  Clock::time_point start = Clock::now();
  Sampler sampler([] { return std::vector<pid_t>{getpid()}; }, start);
  Series series = sampler.stop(true);
  ASSERT_FALSE(series.rss.empty());
  ASSERT_FALSE(series.pss.empty());
  EXPECT_GT(series.rss.back().bytes, 100'000u);
}

TEST(CompareThroughput, KnownTools) {
  EXPECT_DOUBLE_EQ(*throughputIn("SET: 51203.27 requests per second, p50=0.4 msec\n", ""),
                   51203.27);
  EXPECT_DOUBLE_EQ(*throughputIn("Requests per second:    1234.50 [#/sec] (mean)\n", ""), 1234.5);
  EXPECT_DOUBLE_EQ(*throughputIn("Requests/sec:  98765.43\n", ""), 98765.43);
  EXPECT_DOUBLE_EQ(
      *throughputIn("    transactions:         1200   (119.94 per sec.)\n    queries: 1\n", ""),
      119.94);
  EXPECT_DOUBLE_EQ(*throughputIn("tps = 640.1 (without initial connection time)\n", ""), 640.1);
}

TEST(CompareThroughput, SeveralMatchesAndOwnRegex) {
  EXPECT_NEAR(*throughputIn("A: 100 requests per second\rB: 400 requests per second\n", ""), 200,
              1e-9);
  EXPECT_DOUBLE_EQ(*throughputIn("rate=7.5/s\n", "rate=([0-9.]+)"), 7.5);
  EXPECT_FALSE(throughputIn("nothing here", "").has_value());
  EXPECT_FALSE(throughputIn(std::string(100'000, '9'), "").has_value());
  EXPECT_EQ(problemOfRegex("rate=([0-9.]+)"), "");
  EXPECT_NE(problemOfRegex("rate"), "");
  EXPECT_NE(problemOfRegex("(["), "");
}

TEST(CompareRuntimes, NamesAndBadNames) {
  RuntimeList list = findRuntimes({"glibc,mine=/proc/self/exe", "/lib/libgraft.so", ""});
  EXPECT_EQ(list.problem, "");
  ASSERT_EQ(list.runtimes.size(), 3u);
  EXPECT_EQ(list.runtimes[0].library, "");
  EXPECT_EQ(list.runtimes[1].name, "mine");
  EXPECT_EQ(list.runtimes[2].name, "graft");
  EXPECT_EQ(baselineOf(list.runtimes), 0u);
  for (const char* bad :
       {"nosuchmalloc", "a b", "x=/no/such/file.so", "glibc,glibc", ",", "graft"}) {
    EXPECT_NE(findRuntimes({bad, "/lib/libgraft.so", ""}).problem, "") << bad;
  }
}

TEST(CompareRuntimes, AProgramThatBringsAMalloc) {
  EXPECT_EQ(linkedMalloc({"libm.so.6", "libjemalloc.so.2", "libc.so.6"}), "libjemalloc.so.2");
  EXPECT_EQ(linkedMalloc({"libm.so.6", "libc.so.6"}), "");
  RuntimeList list = findRuntimes({"glibc,own", "/lib/libgraft.so", "libjemalloc.so.2"});
  ASSERT_EQ(list.runtimes.size(), 3u);
  EXPECT_NE(list.runtimes[0].library.find("libc.so.6"), std::string::npos);
  EXPECT_EQ(list.runtimes[1].library, "");
  EXPECT_EQ(list.runtimes[1].version, "libjemalloc.so.2");
  EXPECT_EQ(baselineOf(list.runtimes), 1u);
}

TEST(CompareRuntimes, PreloadsOfTheUserStayUnlessTheyAreMallocs) {
  std::vector<std::string> dropped;
  EXPECT_EQ(preloadOf({"glibc", "", ""}, "libfoo.so:/x/libgraft.so libjemalloc.so.2", dropped),
            "libfoo.so");
  EXPECT_EQ(dropped.size(), 2u);
  EXPECT_EQ(preloadOf({"m", "/m.so", ""}, "libfoo.so", dropped), "/m.so:libfoo.so");
  EXPECT_EQ(preloadOf({"m", "/m.so", ""}, nullptr, dropped), "/m.so");
}

TEST(CompareFormat, Figures) {
  EXPECT_EQ(formatValue(1.2345, "s"), "1.23 s");
  EXPECT_EQ(formatValue(0.0123, "s"), "12.3 ms");
  EXPECT_EQ(formatValue(0, "s"), "0 s");
  EXPECT_EQ(formatValue(3.5 * 1024 * 1024, "B"), "3.50 MiB");
  EXPECT_EQ(formatValue(1023.0 * 1024, "B"), "1.00 MiB");
  EXPECT_EQ(formatValue(51203, "1/s"), "51.2 k/s");
  EXPECT_EQ(formatValue(82, "1"), "82");
  EXPECT_EQ(formatDuration(59.2), "1 min 0 s");
  EXPECT_EQ(formatDuration(3700), "1 h 1 min");
}

// Two runtimes, three rounds: graft takes half of glibc's time in each.
Report madeUp() {
  Report report;
  report.command = {"prog", "</script><!--", "caf\xc3"};
  report.runtimes = {{"glibc", "", "2.36"}, {"graft", "/lib/libgraft.so", "0"}};
  report.rounds = 3;
  for (int round = 0; round < 3; round++) {
    report.order.push_back({0, 1});
    for (int runtime = 0; runtime < 2; runtime++) {
      RunRecord run;
      run.runtime = runtime;
      run.round = round;
      run.measures[Measure::kWall] = (round + 1) * (runtime == 0 ? 2.0 : 1.0);
      run.measures[Measure::kMajorFaults] = runtime;
      run.series.rss = {{0, 4096}, {0.5, 8192}};
      run.length = 1;
      report.runs.push_back(run);
    }
  }
  return report;
}

TEST(CompareReport, RatiosArePairedByRound) {
  Report report = madeUp();
  auto graft = resultOf(report, 1, Measure::kWall);
  EXPECT_DOUBLE_EQ(graft->summary.median, 2);
  EXPECT_DOUBLE_EQ(graft->ratio->median, 0.5);
  EXPECT_DOUBLE_EQ(graft->ratio->interval->high, 0.5);
  EXPECT_FALSE(resultOf(report, 0, Measure::kWall)->ratio.has_value());
  EXPECT_FALSE(resultOf(report, 1, Measure::kMajorFaults)->ratio.has_value()) << "baseline is zero";
  EXPECT_FALSE(resultOf(report, 1, Measure::kThroughput).has_value());
  report.runs.erase(report.runs.begin());  // glibc's first run is missing
  EXPECT_EQ(resultOf(report, 1, Measure::kWall)->ratio->pairs, 2);
}

TEST(CompareReport, Findings) {
  Report report = madeUp();
  EXPECT_TRUE(findingsOf(report).lines.empty());
  report.runs[1].exit_code = 139;
  Findings codes = findingsOf(report);
  EXPECT_TRUE(codes.worse_than_baseline);
  EXPECT_NE(codes.lines.at(0).find("139"), std::string::npos);
  for (RunRecord& run : report.runs) run.exit_code = 4;
  EXPECT_FALSE(findingsOf(report).worse_than_baseline);
  EXPECT_EQ(findingsOf(report).lines.size(), 1u) << "that all end with 4 is worth a line";
  report.runs[0].problem = "broken";
  EXPECT_FALSE(findingsOf(report).worse_than_baseline) << "the baseline itself fails";
  report = madeUp();
  report.runs[1].problem = "broken";
  EXPECT_TRUE(findingsOf(report).worse_than_baseline);
  report = madeUp();
  for (RunRecord& run : report.runs) run.output = Output{1, static_cast<uint64_t>(run.runtime)};
  EXPECT_TRUE(findingsOf(report).worse_than_baseline);
  for (RunRecord& run : report.runs) run.output = Output{1, static_cast<uint64_t>(run.round)};
  EXPECT_FALSE(findingsOf(report).worse_than_baseline) << "it differs by itself";
}

TEST(CompareReport, PageHoldsTheDataAndClosesNoScript) {
  std::string page = toHtml(madeUp());
  size_t begin = page.find("id=\"data\">") + 10;
  size_t end = page.find("</script>", begin);
  auto json = nlohmann::json::parse(page.substr(begin, end - begin));
  EXPECT_EQ(json["command"][1], "</script><!--");
  EXPECT_EQ(json["schema"], "graft-compare");
  EXPECT_EQ(page.find("http://"), std::string::npos);
  EXPECT_EQ(page.find("https://"), std::string::npos);
  EXPECT_EQ(page.find("/*SCRIPT*/"), std::string::npos);
}

}  // namespace
}  // namespace graft::tools::compare
