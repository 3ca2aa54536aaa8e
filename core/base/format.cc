// Number and string formatting for base::Line: no libc, no locale, no allocation, any stack.
#include "core/base/format.h"

#include "core/base/bits.h"

namespace graft::base {

Line& Line::str(const char* s) { return str(s, stringLength(s)); }

Line& Line::str(const char* s, size_t n) {
  for (size_t i = 0; i < n; i++) chr(s[i]);
  return *this;
}

Line& Line::dec(int64_t v) {
  if (v >= 0) return udec(static_cast<uint64_t>(v));
  chr('-');
  return udec(uint64_t{0} - static_cast<uint64_t>(v));
}

Line& Line::udec(uint64_t v) {
  char digits[20];
  size_t n = 0;
  do {
    digits[n++] = static_cast<char>('0' + v % 10);
    v /= 10;
  } while (v != 0);
  while (n != 0) chr(digits[--n]);
  return *this;
}

Line& Line::column(uint64_t v, size_t width) {
  size_t digits = 1;
  for (uint64_t rest = v; rest >= 10; rest /= 10) digits++;
  chr(' ');
  for (; digits < width; digits++) chr(' ');
  return udec(v);
}

Line& Line::hex(uint64_t v) {
  str("0x");
  int shift = 60;
  while (shift > 0 && (v >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) chr("0123456789abcdef"[(v >> shift) & 15]);
  return *this;
}

Line& Line::bytes(uint64_t v) {
  if (v != 0 && (v & ((1u << 20) - 1)) == 0) return udec(v >> 20).str(" MiB");
  if (v != 0 && (v & 1023) == 0) return udec(v >> 10).str(" KiB");
  return udec(v).str(" B");
}

Line& Line::json(const char* s) {
  chr('"');
  for (; *s != '\0'; s++) {
    unsigned char c = static_cast<unsigned char>(*s);
    if (c == '"' || c == '\\') {
      chr('\\').chr(*s);
    } else if (c < 0x20) {
      str("\\u00").chr("0123456789abcdef"[c >> 4]).chr("0123456789abcdef"[c & 15]);
    } else {
      chr(*s);
    }
  }
  return chr('"');
}

const char* Line::c_str() {
  size_t end = size_ < sizeof buf_ ? size_ : sizeof buf_ - 1;
  buf_[end] = '\0';
  return buf_;
}

}  // namespace graft::base
