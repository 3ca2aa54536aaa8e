// What `graft doctor` found out: one JSON document, filled section by section (doctor.cc) and then
// printed as it is or as text (doctor_text.cc), so that the two forms cannot tell different
// stories.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace graft::tools {

using Json = nlohmann::ordered_json;

struct Report {
  Json data = Json::object();

  // Something that keeps graft from being fully on: exit code 1.
  void problem(std::string text) { add("problem", std::move(text)); }
  // Something that a user should know, and that costs nothing.
  void note(std::string text) { add("note", std::move(text)); }
  bool degraded() const {
    for (const Json& f : data.value("findings", Json::array())) {
      if (f["level"] == "problem") return true;
    }
    return false;
  }

 private:
  void add(const char* level, std::string text) {
    data["findings"].push_back({{"level", level}, {"text", std::move(text)}});
  }
};

void printReport(const Report& report);

}  // namespace graft::tools
