// The rungs of ladder.h, each one walk over the white objects.
#include "core/gc/ladder.h"

namespace graft::gc {

bool Ladder::init(heap::Heap& heap, Leaks& leaks, const Rules& rules) {
  if (!reclaimed_.init(heap.space)) return false;
  heap_ = &heap;
  leaks_ = &leaks;
  rules_ = rules;
  return true;
}

// Never 0, which stands for "not known yet".
uint32_t Ladder::hashOf(const White& w, const Marker::Shared& marking) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15u;
  uint64_t h = w.size;
  Leaks::forEachPiece(w.at, w.size, marking, [&h](const uint64_t* from, size_t n) {
    for (size_t i = 0; i < n; i++) {
      h = (h ^ from[i]) * kOdd;
      h ^= h >> 29;
    }
  });
  uint32_t top = static_cast<uint32_t>(h >> (64 - Record::kHashBits));
  return top != 0 ? top : 1;
}

bool Ladder::isCandidate(const White& w, uint32_t cycle, uint64_t now_ms,
                         const Marker::Shared& marking) {
  Record& r = leaks_->recordOf(w.at);
  uint16_t site = heap_->siteOf(reinterpret_cast<void*>(w.at));
  if (leaks_->at(site).pardon != Pardon::kNone) return false;
  if (r.hash == 0) {
    r.hash = hashOf(w, marking) & ((1u << Record::kHashBits) - 1);
    return false;
  }
  if (r.birth == cycle % Record::kBirths || now_ms - born_ms_[r.birth] < rules_.wait_ms) {
    return false;
  }
  if (r.hash == hashOf(w, marking)) return true;
  leaks_->pardon(site, Pardon::kChanged);
  return false;
}

bool Ladder::assess(uint32_t cycle, uint64_t now_ms, uint64_t in_use,
                    const Marker::Shared& marking) {
  constexpr uint64_t kWorthIt = 32_MiB;
  taken_ = {};
  born_ms_[cycle % Record::kBirths] = now_ms;
  uint64_t bytes = 0;
  Leaks::forEachWhite(*heap_, [&](const White& w) {
    bool is = isCandidate(w, cycle, now_ms, marking);
    leaks_->recordOf(w.at).candidate = is ? 1 : 0;
    if (is) bytes += w.size;
  });
  return bytes != 0 && (rules_.always || bytes >= kWorthIt || bytes >= in_use / 20);
}

void Ladder::hold(const White& w, Marker& marker) {
  heap::Heap::mark(w.span, w.index);
  marker.grey(w.at, w.cls);
}

void Ladder::holdBack(Marker& marker) {
  Leaks::forEachWhite(*heap_, [&](const White& w) {
    if (leaks_->recordOf(w.at).candidate == 0) hold(w, marker);
  });
}

void Ladder::quarantine(Marker& marker) {
  auto number = [](uint32_t scan) { return scan % 7 + 1; };
  scan_++;
  Leaks::forEachWhite(*heap_, [&](const White& w) {
    Record& r = leaks_->recordOf(w.at);
    if (r.passed == number(scan_ - 1)) return;
    r.passed = number(scan_) & 7;
    taken_.quarantined++;
    hold(w, marker);
  });
}

Ladder::Taken Ladder::take() {
  Leaks::forEachWhite(*heap_, [&](const White& w) {
    SiteLeaks& s = leaks_->site(heap_->siteOf(reinterpret_cast<void*>(w.at)));
    s.reclaimed_objects++;
    s.reclaimed_bytes += w.size;
    taken_.objects++;
    taken_.bytes += w.size;
    leaks_->forget(w.at);
    reclaimed_.set(w.at);
    constexpr int kPoison = 0xdb;
    if (rules_.poison) base::fillBytes(reinterpret_cast<void*>(w.at), kPoison, w.size);
  });
  if (taken_.objects != 0) any_.storeRelaxed(1);
  return taken_;
}

bool Ladder::freed(Addr object) {
  if (any_.loadRelaxed() == 0 || object - heap_->space.base() >= heap_->space.limit() ||
      object % 16 != 0 || !reclaimed_.take(object)) {
    return false;
  }
  leaks_->pardon(heap_->siteOf(reinterpret_cast<void*>(object)), Pardon::kFreed);
  return true;
}

}  // namespace graft::gc
