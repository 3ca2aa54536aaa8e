// A line of text built in a fixed buffer: what graft says to people and files is made with it,
// because printf may lock, allocate and read the locale. Text past the end is cut, never written
// outside. Any stack, no locks.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::base {

class Line {
 public:
  Line& chr(char c) {
    if (size_ < sizeof buf_) buf_[size_++] = c;
    return *this;
  }
  Line& str(const char* s);
  Line& str(const char* s, size_t n);
  Line& dec(int64_t v);
  Line& udec(uint64_t v);
  Line& column(uint64_t v, size_t width);  // right-aligned, a blank in front
  Line& hex(uint64_t v);            // with 0x in front
  Line& ptr(const void* p) { return hex(reinterpret_cast<uintptr_t>(p)); }
  Line& bytes(uint64_t v);          // "48 B", "64 KiB", "3 MiB": exact multiples only
  Line& json(const char* s);        // quoted and escaped
  Line& nl() { return chr('\n'); }

  const char* data() const { return buf_; }
  size_t size() const { return size_; }
  // The text as a C string; the last byte is given up if the buffer is full.
  const char* c_str();
  void clear() { size_ = 0; }

 private:
  char buf_[1000];
  size_t size_ = 0;
};

}  // namespace graft::base
