// The switch for planted faults, present only in the copy of core that fault tests link.
#include "core/base/plant.h"

namespace graft::base {

#ifdef GRAFT_PLANTED
constinit Atomic<int> planted_fault{0};
constinit Atomic<void (*)()> delay_hook{nullptr};
#endif

}  // namespace graft::base
