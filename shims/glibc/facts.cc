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
  line.str("glibc ").str(gnu_get_libc_version()).str(": ");
  if (!result.tried) {
    line.str("not tried").nl();
  } else if (calibrated()) {
    line.str("calibrated").nl();
  } else {
    line.str("not calibrated: ").str(whyNotCalibrated()).nl();
  }
  put(line, arg);
  for (size_t i = 0; i < kFactCount; i++) {
    const FactInfo& info = kFacts[i];
    bool ok = proven(static_cast<FactId>(i));
    line.clear();
    line.str(info.name).str(ok ? ": " : ": not proven, ");
    if (ok) {
      line.dec(facts.*info.value).str("; ").str(info.how).str("; ").str(info.check);
    } else {
      line.str(info.otherwise).str("; ").str(info.how);
    }
    line.nl();
    put(line, arg);
  }
}

}  // namespace graft::glibc
