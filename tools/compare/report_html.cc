// The report as one HTML file (report.h): the page of page.S with the JSON in it. Nothing is
// fetched when it is opened; the script draws from the data.
#include "tools/compare/report.h"

extern "C" {
extern const char graft_page_html[], graft_page_html_end[];
extern const char graft_page_css[], graft_page_css_end[];
extern const char graft_page_js[], graft_page_js_end[];
}

namespace graft::tools::compare {
namespace {

void replaceMark(std::string& page, std::string_view mark, const std::string& with) {
  size_t at = page.find(mark);
  if (at != std::string::npos) page.replace(at, mark.size(), with);
}

// A script element ends at `</script` and changes its rules at `<!--`, also inside of JSON strings.
std::string escaped(const std::string& json) {
  std::string out;
  out.reserve(json.size());
  for (char c : json) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string toHtml(const Report& report) {
  std::string json = toJson(report).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string page(graft_page_html, graft_page_html_end);
  replaceMark(page, "/*STYLE*/", std::string(graft_page_css, graft_page_css_end));
  replaceMark(page, "/*SCRIPT*/", std::string(graft_page_js, graft_page_js_end));
  replaceMark(page, "/*DATA*/", escaped(json));
  return page;
}

}  // namespace graft::tools::compare
