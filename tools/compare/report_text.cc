// The table on the terminal (report.h): a row per measure that is not all
// zeros, a column per runtime. Wide comparisons
// are cut into several tables, each with the baseline in front, so that lines stay readable.
#include <fmt/core.h>

#include <cstdlib>

#include "tools/compare/format.h"
#include "tools/compare/report.h"

namespace graft::tools::compare {
namespace {

constexpr size_t kOthersPerTable = 2;
constexpr size_t kTitleWidth = 14;

// "1.23 s ±0.8 %": the median and half the distance of the quartiles.
std::string medianCell(const Summary& s, const char* unit) {
  std::string text = formatValue(s.median, unit);
  if (s.n >= kPairsForInterval && s.median > 0) {
    text += fmt::format(" ±{:.1f}%", (s.q3 - s.q1) / 2 / s.median * 100);
  }
  return text;
}

std::string cellOf(const Result& result, const char* unit) {
  std::string text = medianCell(result.summary, unit);
  if (!result.ratio) return text;
  text += fmt::format("  {}", formatRatio(result.ratio->median));
  if (result.ratio->interval) {
    text += fmt::format(" ({}..{})", formatRatio(result.ratio->interval->low),
                        formatRatio(result.ratio->interval->high));
  }
  return text;
}

// Columns of a terminal, not bytes: '±' is two of these.
size_t widthOf(const std::string& text) {
  size_t width = 0;
  for (char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return width;
}

using Row = std::vector<std::string>;

void printRows(const std::vector<Row>& rows, FILE* to) {
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); i++) widths[i] = std::max(widths[i], widthOf(row[i]));
  }
  widths[0] = std::max(widths[0], kTitleWidth);
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); i++) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - widthOf(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print(to, "{}\n", line);
  }
}

void printTable(const Report& report, const std::vector<size_t>& columns, FILE* to) {
  std::vector<Row> rows(1, Row{""});
  for (size_t column : columns) rows[0].push_back(report.runtimes[column].name);
  for (const MeasureInfo& info : kMeasures) {
    Row row{info.title};
    bool any = false;
    for (size_t column : columns) {
      auto result = resultOf(report, column, info.measure);
      any = any || (result && result->summary.max != 0);
      row.push_back(result ? cellOf(*result, info.unit) : "-");
    }
    if (any) rows.push_back(row);
  }
  printRows(rows, to);
}

}  // namespace

void writeText(const Report& report, FILE* to) {
  size_t rounds = report.order.size();
  const std::string& base = report.runtimes[report.baseline].name;
  fmt::print(to, "{} {} of {}; medians{}, ratios to {}{}\n\n", rounds,
             rounds == 1 ? "round" : "rounds", report.command[0],
             rounds >= kPairsForInterval ? " (± half the quartiles' distance)" : "", base,
             rounds >= kPairsForInterval ? " (95 % interval)" : "");
  std::vector<size_t> others;
  for (size_t i = 0; i < report.runtimes.size(); i++) {
    if (i != report.baseline) others.push_back(i);
  }
  for (size_t i = 0; i < others.size(); i += kOthersPerTable) {
    if (i != 0) fmt::print(to, "\n");
    std::vector<size_t> columns{report.baseline};
    for (size_t k = i; k < std::min(i + kOthersPerTable, others.size()); k++) {
      columns.push_back(others[k]);
    }
    printTable(report, columns, to);
  }
  double busy = std::strtod(report.load_average_before.c_str(), nullptr);
  if (busy > report.machine.cores && report.machine.cores != 0) {
    fmt::print(to, "\nthe machine was busy before (load average {} on {} cores): expect noise\n",
               busy, report.machine.cores);
  }
  if (rounds < kPairsForInterval) {
    fmt::print(to, "\nfewer than {} rounds: no interval is claimed\n", kPairsForInterval);
  }
}

}  // namespace graft::tools::compare
