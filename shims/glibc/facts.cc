// The one instance of what calibration found, and its printing; see facts.h. Any stack once
// written.
#include "shims/glibc/facts.h"

#include <gnu/libc-version.h>

#include "shims/glibc/calibration.h"

namespace graft::glibc {

constinit Facts facts{};
constinit PrivateFunctions fns{};
constinit Template pristine{};

namespace {

constinit CalibrationResult result{};

}  // namespace

bool calibrate() {
  if (!result.tried) {
    result.tried = true;
    runCalibration(result);
  }
  return calibrated();
}

bool calibrated() { return result.tried && result.why_not[0] == '\0'; }

const char* whyNotCalibrated() { return result.why_not; }

bool proven(FactId id) { return (result.proven >> static_cast<unsigned>(id) & 1) != 0; }

void printFacts(void (*put)(const base::Line& line, void* arg), void* arg) {
  base::Line line;
  line.str("{\"glibc\": ").json(gnu_get_libc_version());
  line.str(", \"calibrated\": ").str(calibrated() ? "true" : "false");
  line.str(", \"why_not\": ").json(result.tried ? whyNotCalibrated() : "not tried");
  line.str(", \"facts\": [").nl();
  put(line, arg);
  for (size_t i = 0; i < kFactCount; i++) {
    const FactInfo& info = kFacts[i];
    line.clear();
    line.str(" {\"name\": ").json(info.name).str(", \"value\": ").dec(facts.*info.value);
    line.str(", \"proven\": ").str(proven(static_cast<FactId>(i)) ? "true" : "false");
    line.str(", \"required\": ").str(info.need == Need::kRequired ? "true" : "false");
    line.str(", \"how\": ").json(info.how).str(", \"check\": ").json(info.check);
    line.str(", \"otherwise\": ").json(info.otherwise);
    line.str(i + 1 < kFactCount ? "}," : "}]}").nl();
    put(line, arg);
  }
}

}  // namespace graft::glibc
