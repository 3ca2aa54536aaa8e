// The one instance of os::Host: empty until an embedder fills it in, before the first allocation.
#include "core/os/host.h"

namespace graft::os {

constinit Host host{};

}  // namespace graft::os
