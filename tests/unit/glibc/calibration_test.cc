// The facts about this machine's glibc come out proven, a denied capability makes a fallback with a
// reason, and nothing of the attempt is left behind.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "core/base/capability.h"
#include "core/base/options.h"
#include "shims/glibc/facts.h"

namespace graft::glibc {
namespace {

std::string table() {
  std::string text;
  printFacts([](const base::Line& line,
                void* arg) { static_cast<std::string*>(arg)->append(line.data(), line.size()); },
             &text);
  return text;
}

TEST(Calibration, DeniedIsAReasonNotACrash) {
  if (calibrated()) GTEST_SKIP() << "only in a process that has not calibrated yet (ctest's are)";
  for (auto c : {base::Capability::calibration, base::Capability::fsgsbase}) {
    if (fork() == 0) {
      base::CapabilitySet set;
      set.add(c);
      base::options.denied.set(set.bits());
      bool ok = !calibrate() && !calibrated() && whyNotCalibrated()[0] != '\0' &&
                table().find("\"why_not\": \"GRAFT_DENY names") != std::string::npos;
      _exit(ok ? 0 : 1);
    }
    int status = -1;
    wait(&status);
    EXPECT_EQ(status, 0);
  }
}

TEST(Calibration, EveryFactIsProven) {
  ASSERT_TRUE(calibrate()) << whyNotCalibrated();
  EXPECT_STREQ(whyNotCalibrated(), "");
  for (size_t i = 0; i < kFactCount; i++) {
    EXPECT_TRUE(proven(static_cast<FactId>(i))) << kFacts[i].name;
  }
  EXPECT_NE(table().find("\"calibrated\": true"), std::string::npos) << table();
}

}  // namespace
}  // namespace graft::glibc
