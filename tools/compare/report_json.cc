// The report as JSON (report.h). This file is the schema, which tests/unit/tools/compare_test.py
// holds it to: "version" grows when a reader of an older one would be misled. Times are seconds,
// memory is bytes; what is not known is absent, never zero.
//
//   schema, version         "graft-compare", 1
//   command, environment, graft_options, load {command, port, regex, idle_s} or null
//   started, ended, interrupted, rounds, warmup, baseline, order [[runtime ...] per round]
//   machine                 kernel, cpu, cores, memory, huge_pages, load_average {before, after}
//   sampling                rss_period, pss_period {median, longest} over all runs, or null
//   runtimes                [{name, library or null, version}]
//   measures                [{id, title, unit, higher_is_better, meaning}]: those that were
//   measured runs                    [{runtime, round, exit_code, problem?, left_running, values
//   {id: number},
//                             output? {bytes, hash}, length, load? {began, ended},
//                             rss, pss {t [...], bytes [...]}: thinned to kPointsPerSeries,
//                             samples {rss, pss}: how many were taken}]
//   results                 [{runtime, measure, n, min, q1, median, q3, max,
//                             ratio? {pairs, median, low?, high?}}]
//   findings                ["..."]
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tools/compare/report.h"

namespace graft::tools::compare {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kPointsPerSeries = 400;

// Microseconds and whole bytes are enough, and keep the file small.
double rounded(double value) { return std::round(value * 1e6) / 1e6; }

Json seriesJson(const std::vector<SamplePoint>& points) {
  Json times = Json::array();
  Json bytes = Json::array();
  for (const SamplePoint& point : thinned(points, kPointsPerSeries)) {
    times.push_back(std::round(point.at * 1e4) / 1e4);
    bytes.push_back(point.bytes);
  }
  return {{"t", times}, {"bytes", bytes}};
}

Json runJson(const Report& report, const RunRecord& run) {
  Json json;
  json["runtime"] = report.runtimes[static_cast<size_t>(run.runtime)].name;
  json["round"] = run.round;
  json["exit_code"] = run.exit_code;
  if (!run.problem.empty()) json["problem"] = run.problem;
  json["left_running"] = run.left_running;
  json["values"] = Json::object();
  for (const MeasureInfo& info : kMeasures) {
    if (auto value = run.measures[info.measure]) json["values"][info.id] = rounded(*value);
  }
  if (run.output) {
    json["output"] = {{"bytes", run.output->bytes},
                      {"hash", fmt::format("{:016x}", run.output->hash)}};
  }
  json["length"] = rounded(run.length);
  if (run.load_began && run.load_ended) {
    json["load"] = {{"began", rounded(*run.load_began)}, {"ended", rounded(*run.load_ended)}};
  }
  json["rss"] = seriesJson(run.series.rss);
  json["pss"] = seriesJson(run.series.pss);
  json["samples"] = {{"rss", run.series.rss.size()}, {"pss", run.series.pss.size()}};
  return json;
}

void addPeriods(const std::vector<SamplePoint>& points, std::vector<double>& periods) {
  for (size_t i = 1; i < points.size(); i++) periods.push_back(points[i].at - points[i - 1].at);
}

Json periodJson(const std::vector<double>& periods) {
  if (periods.empty()) return nullptr;
  Summary s = summarize(periods);
  return {{"median", rounded(s.median)}, {"longest", rounded(s.max)}};
}

Json samplingJson(const Report& report) {
  std::vector<double> rss;
  std::vector<double> pss;
  for (const RunRecord& run : report.runs) {
    addPeriods(run.series.rss, rss);
    addPeriods(run.series.pss, pss);
  }
  return {{"rss_period", periodJson(rss)}, {"pss_period", periodJson(pss)}};
}

Json resultJson(const Report& report, size_t runtime, const MeasureInfo& info,
                const Result& result) {
  const Summary& s = result.summary;
  Json json{{"runtime", report.runtimes[runtime].name},
            {"measure", info.id},
            {"n", s.n},
            {"min", rounded(s.min)},
            {"q1", rounded(s.q1)},
            {"median", rounded(s.median)},
            {"q3", rounded(s.q3)},
            {"max", rounded(s.max)}};
  if (result.ratio) {
    json["ratio"] = {{"pairs", result.ratio->pairs}, {"median", rounded(result.ratio->median)}};
    if (result.ratio->interval) {
      json["ratio"]["low"] = rounded(result.ratio->interval->low);
      json["ratio"]["high"] = rounded(result.ratio->interval->high);
    }
  }
  return json;
}

void addResults(const Report& report, Json& json) {
  json["measures"] = Json::array();
  json["results"] = Json::array();
  for (const MeasureInfo& info : kMeasures) {
    bool any = false;
    for (size_t i = 0; i < report.runtimes.size(); i++) {
      auto result = resultOf(report, i, info.measure);
      if (!result) continue;
      any = true;
      json["results"].push_back(resultJson(report, i, info, *result));
    }
    if (!any) continue;
    json["measures"].push_back({{"id", info.id},
                                {"title", info.title},
                                {"unit", info.unit},
                                {"higher_is_better", info.higher_is_better},
                                {"meaning", info.meaning}});
  }
}

Json machineJson(const Report& report) {
  const Machine& m = report.machine;
  return {{"kernel", m.kernel},
          {"cpu", m.cpu},
          {"cores", m.cores},
          {"memory", m.memory},
          {"huge_pages", m.huge_pages},
          {"load_average",
           {{"before", report.load_average_before}, {"after", report.load_average_after}}}};
}

Json loadJson(const std::optional<Load>& load) {
  if (!load) return nullptr;
  return {{"command", load->command},
          {"port", load->port},
          {"regex", load->regex},
          {"idle_s", load->idle_s}};
}

}  // namespace

Json toJson(const Report& report) {
  Json json{{"schema", "graft-compare"}, {"version", 1}};
  json["command"] = report.command;
  json["environment"] = report.environment;
  json["graft_options"] = report.graft_options;
  json["load"] = loadJson(report.load);
  json["started"] = report.started;
  json["ended"] = report.ended;
  json["interrupted"] = report.interrupted;
  json["rounds"] = report.rounds;
  json["warmup"] = report.warmup;
  json["baseline"] = report.runtimes[report.baseline].name;
  json["order"] = Json::array();
  for (const std::vector<int>& round : report.order) {
    Json names = Json::array();
    for (int runtime : round) names.push_back(report.runtimes[static_cast<size_t>(runtime)].name);
    json["order"].push_back(names);
  }
  json["machine"] = machineJson(report);
  json["sampling"] = samplingJson(report);
  json["runtimes"] = Json::array();
  for (const Runtime& runtime : report.runtimes) {
    json["runtimes"].push_back(
        {{"name", runtime.name},
         {"library", runtime.library.empty() ? Json() : Json(runtime.library)},
         {"version", runtime.version}});
  }
  addResults(report, json);
  json["runs"] = Json::array();
  for (const RunRecord& run : report.runs) json["runs"].push_back(runJson(report, run));
  json["findings"] = findingsOf(report).lines;
  return json;
}

}  // namespace graft::tools::compare
