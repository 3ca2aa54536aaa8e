// Switches one planted fault of core/base/plant.h on for the length of a scope, so that a model
// test can run the production templates with a mistake in them and require that the checker sees
// it.
#pragma once

#include "core/base/plant.h"

namespace graft::model {

class Planted {
 public:
  explicit Planted(base::Plant p) { base::planted_fault.storeRelaxed(static_cast<int>(p)); }
  ~Planted() { base::planted_fault.storeRelaxed(0); }
  Planted(const Planted&) = delete;
  Planted& operator=(const Planted&) = delete;
};

}  // namespace graft::model
