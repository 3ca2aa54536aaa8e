// See roots.h. The kernel lists mappings in the order of their addresses, so one walk does it.
#include "core/gc/roots.h"

namespace graft::gc {

void RootSet::begin(Addr heap_base, size_t heap_limit, size_t heap_reserved) {
  heap_base_ = heap_base;
  heap_limit_ = heap_limit;
  heap_reserved_ = heap_reserved;
  ranges_n_ = left_out_n_ = stacks_n_ = odd_n_ = passed_ = 0;
  too_many_ = false;
  hides_ = nullptr;
  a_.first_job[0] = 0;
}

void RootSet::leaveOut(Addr from, size_t bytes) {
  if (bytes == 0) return;
  if (left_out_n_ == a_.most_left_out) {
    too_many_ = true;
    return;
  }
  a_.left_out[left_out_n_++] = {from, from + bytes};
}

void RootSet::addStack(const StackInfo& s) {
  Addr live = roundDown(s.sp - kRedZone, 8);
  if (s.low != 0) {
    // A stack pointer that is elsewhere (alternate stack, coroutine): all of it is scanned.
    if (s.sp >= s.low && s.sp <= s.high && live > s.low) leaveOut(s.low, live - s.low);
    return;
  }
  if (stacks_n_ == a_.most_stacks) {
    too_many_ = true;
    return;
  }
  a_.stacks[stacks_n_++] = s;
}

bool RootSet::addRange(const Job& range) {
  if (ranges_n_ == a_.most_ranges) return false;
  size_t bytes = range.to - range.from;
  size_t jobs = (bytes + kJob - 1) / kJob;
  if (jobs > kMostJobsOfRange) jobs = kMostJobsOfRange;
  a_.ranges[ranges_n_] = range;
  a_.first_job[ranges_n_ + 1] = a_.first_job[ranges_n_] + static_cast<uint32_t>(jobs);
  ranges_n_++;
  return true;
}

bool RootSet::job(uint32_t i, Job& out) const {
  if (i >= a_.first_job[ranges_n_]) return false;
  size_t low = 0, high = ranges_n_;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    (a_.first_job[middle] <= i ? low : high) = middle;
  }
  const Job& range = a_.ranges[low];
  uint32_t jobs = a_.first_job[low + 1] - a_.first_job[low], at = i - a_.first_job[low];
  size_t step = roundUp((range.to - range.from + jobs - 1) / jobs, kOsPage);
  out = range;
  Addr from = roundDown(range.from, kOsPage) + at * step;
  if (from > out.from) out.from = from;
  if (from >= range.to) out.from = range.to;
  if (from + step < out.to) out.to = from + step;
  if (at + 1 == jobs) out.to = range.to;
  return true;
}

bool RootSet::addOdd(Addr from, Addr to) {
  if (odd_n_ == kMostOdd) return false;
  odd_[odd_n_++] = {from, to};
  return true;
}

bool RootSet::oddHeapSlow(Addr from, Addr to) const {
  for (size_t i = 0; i < odd_n_; i++) {
    if (from < odd_[i].to && odd_[i].from < to) return true;
  }
  return false;
}

// The stacks of stopped threads whose bounds nobody told. The mapping is the first thread's stack,
// or one as glibc makes them: a guard below, at its top the thread's block, and the stack pointer
// in between. Neighbours of one kind are one mapping to the kernel, so without the guard, or with
// the blocks of several threads, it is scanned whole.
void RootSet::leaveDeadStackOut(const Mapping& m, bool guarded) {
  const StackInfo* only = nullptr;
  size_t blocks = 0;
  for (size_t i = 0; i < stacks_n_; i++) {
    const StackInfo& s = a_.stacks[i];
    bool block = s.thread_pointer >= m.from && s.thread_pointer < m.to;
    bool sp = s.sp >= m.from && s.sp < m.to;
    if (block) blocks++;
    bool its_own = m.kind == MapKind::kStack || (block && guarded && s.thread_pointer > s.sp);
    if (sp && its_own) only = only == nullptr ? &s : only;
  }
  if (only == nullptr || blocks > 1 || only->sp - kRedZone <= m.from) return;
  leaveOut(m.from, roundDown(only->sp - kRedZone, 8) - m.from);
}

const char* RootSet::addMapping(const Mapping& m) {
  if (m.kind == MapKind::kDevice || m.kind == MapKind::kKernel) return nullptr;
  if (m.from < heap_base_ + heap_limit_ && m.to > heap_base_) {
    bool plain = m.read && m.write && !m.shared;
    Addr to = m.to < heap_base_ + heap_limit_ ? m.to : heap_base_ + heap_limit_;
    if (!plain && !addOdd(m.from, to)) return "too many mappings inside the heap";
  }
  // A page of a private file mapping that was never written is the file's; a shared mapping that
  // may not be written holds what others put there.
  bool file = m.kind == MapKind::kFile;
  if (file && m.shared && !m.write) return nullptr;
  Job range{m.from, m.to, m.read && !m.shared, file && !m.shared};
  while (passed_ < left_out_n_ && a_.left_out[passed_].to <= m.from) passed_++;
  for (size_t i = passed_; i < left_out_n_ && a_.left_out[i].from < range.to; i++) {
    const Range& out = a_.left_out[i];
    if (out.to <= range.from) continue;
    if (out.from > range.from) {
      Job before = range;
      before.to = out.from;
      if (!addRange(before)) return "too many mappings";
    }
    range.from = out.to;
  }
  if (range.from < range.to && !addRange(range)) return "too many mappings";
  return nullptr;
}

// Shell sort: there are as many as threads, in hardly any order.
void RootSet::sortLeftOut() {
  for (size_t gap = left_out_n_ / 2; gap != 0; gap /= 2) {
    for (size_t i = gap; i < left_out_n_; i++) {
      Range r = a_.left_out[i];
      size_t j = i;
      for (; j >= gap && a_.left_out[j - gap].from > r.from; j -= gap) {
        a_.left_out[j] = a_.left_out[j - gap];
      }
      a_.left_out[j] = r;
    }
  }
}

const char* RootSet::build() {
  leaveOut(heap_base_, heap_reserved_);
  Mapping m;
  if (stacks_n_ != 0) {
    MapsReader maps(a_.text, a_.text_size);
    if (!maps.open()) return "the mappings cannot be read";
    Mapping below;
    while (maps.next(m)) {
      leaveDeadStackOut(m, below.to == m.from && !below.read && !below.write);
      below = m;
    }
    if (maps.failed()) return "the mappings cannot be read";
  }
  sortLeftOut();
  MapsReader maps(a_.text, a_.text_size);
  if (!maps.open()) return "the mappings cannot be read";
  while (maps.next(m)) {
    if (m.hides != nullptr) hides_ = m.hides;
    if (const char* why = addMapping(m)) return why;
  }
  if (maps.failed()) return "the mappings cannot be read";
  return too_many_ ? "too many threads" : nullptr;
}

}  // namespace graft::gc
