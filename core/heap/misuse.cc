// The wording of misuse reports and the decision to end the process; see misuse.h for who calls
// this and what it may not do.
#include "core/heap/misuse.h"

#include "core/base/format.h"
#include "core/base/options.h"
#include "core/os/message.h"

namespace graft::heap {
namespace {

constinit base::Atomic<uint64_t> reports{0};

const char* stateName(SpanState s) {
  switch (s) {
    case SpanState::kUnused: return "unused";
    case SpanState::kFreeDirty: return "free pages";
    case SpanState::kFreeClean: return "free pages, returned";
    case SpanState::kPurging: return "free pages, being returned";
    case SpanState::kSmall: return "slots";
    case SpanState::kLarge: return "one large block";
  }
  return "corrupt";
}

}  // namespace

const char* misuseOf(AddrKind kind) {
  switch (kind) {
    case AddrKind::kForeign:
    case AddrKind::kSmall:
    case AddrKind::kLarge: return nullptr;
    case AddrKind::kInterior: return "pointer into the middle of a block";
    case AddrKind::kFreeSlot: return "double free, or a block that was never handed out";
    case AddrKind::kFreePages: return "double free, or memory that was never handed out";
    case AddrKind::kTail: return "memory that was never handed out";
  }
  return "corrupt";
}

uint64_t misuseCount() { return reports.loadRelaxed(); }

void reportMisuse(Heap& heap, const char* call, const void* p, const char* what) {
  reports.fetchAddRelaxed(1);
  base::Line line;
  line.str("graft: ").str(call).str("(").ptr(p).str("): ").str(what);
  BlockInfo b = heap.classify(p);
  if (b.span != nullptr) {
    Span* s = b.span;
    Addr start = heap.space.addrOf(s->page.loadRelaxed());
    line.str("; span ").hex(start).str(" of ").bytes(size_t{s->npages.loadRelaxed()} << kPageShift);
    line.str(", ").str(stateName(s->state.loadRelaxed()));
    if (s->state.loadRelaxed() == SpanState::kSmall) {
      line.str(" of ").udec(classSize(s->cls.loadRelaxed())).str(" bytes, slot ").udec(b.index);
      line.str(b.kind == AddrKind::kFreeSlot ? " is free"
               : b.kind == AddrKind::kTail   ? " is no slot"
                                             : " is in use");
    }
    if (b.kind == AddrKind::kInterior) {
      line.str(", offset ")
          .udec(reinterpret_cast<Addr>(p) - b.base)
          .str(" in the block at ")
          .hex(b.base);
    }
  }
  line.nl();
  if (base::options.misuse.get() == base::Misuse::kReport) return os::say(line);
  os::sayLast(line.data(), line.size());
  os::die();
}

}  // namespace graft::heap
