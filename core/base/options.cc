// Fills the options from the environment and explains what it cannot use; walks the table of
// options.h, so a new row in options.def needs no code here.
//
// Runs at the start of every process that inherits the preload, before the heap exists: one pass,
// no allocation, no locks, no libc, bounded stack. Messages go through the caller's callback.
#include "core/base/options.h"

#include "core/base/bits.h"

namespace graft::base {

constinit Options options;

namespace {

constexpr char kPrefix[] = {'G', 'R', 'A', 'F', 'T'};
constexpr size_t kShownValue = 40;

// Variables of this prefix that the `graft` command reads; the library has no use for them.
constexpr const char* kToolVariables[] = {"GRAFT_LIB"};

constexpr bool equal(const char* a, const char* b) {
  while (*a == *b && *a != '\0') a++, b++;
  return *a == *b;
}

constexpr size_t choiceCount(const char* choices) {
  size_t n = 1;
  for (; *choices != '\0'; choices++) n += *choices == '|';
  return n;
}

// Names that Go's users know are taken as they are; the other GO... are Go's own business.
constexpr bool isGos(const char* entry) { return entry[0] == 'G' && entry[1] == 'O'; }

constexpr bool tableIsSound() {
  for (size_t i = 0; i < kOptionCount; i++) {
    const OptionInfo& o = kOptions[i];
    if (o.type != OptionType::kStr && (o.default_value < o.min || o.default_value > o.max)) {
      return false;
    }
    if (o.type == OptionType::kEnum &&
        (o.min != 0 || static_cast<size_t>(o.max) + 1 != choiceCount(o.choices))) {
      return false;
    }
    for (size_t j = 0; j < sizeof kPrefix && !isGos(o.env); j++) {
      if (o.env[j] != kPrefix[j]) return false;
    }
  }
  return true;
}
static_assert(tableIsSound(), "options.def: a default out of range, or a wrong name");

constexpr bool namesAreUnique() {
  for (size_t i = 0; i < kOptionCount; i++) {
    for (size_t j = 0; j < i; j++) {
      if (equal(kOptions[i].env, kOptions[j].env)) return false;
    }
  }
  return true;
}
static_assert(namesAreUnique(), "options.def: two rows with one environment name");

constexpr const char* kBoolWords[2][4] = {{"0", "off", "no", "false"}, {"1", "on", "yes", "true"}};

}  // namespace

bool parseBool(const char* text, Int& out) {
  for (int v = 0; v < 2; v++) {
    for (const char* word : kBoolWords[v]) {
      if (equal(text, word)) {
        out = v;
        return true;
      }
    }
  }
  return false;
}

namespace {

bool parseInt(const char* text, Int& out) {
  bool negative = *text == '-';
  if (*text == '-' || *text == '+') text++;
  if (*text == '\0') return false;
  Int v = 0;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return false;
    Int digit = *text - '0';
    if (__builtin_mul_overflow(v, Int{10}, &v) ||
        __builtin_add_overflow(v, negative ? -digit : digit, &v)) {
      return false;
    }
  }
  out = v;
  return true;
}

bool parseEnum(const char* choices, const char* text, Int& out) {
  for (Int index = 0;; index++) {
    const char* t = text;
    while (*choices != '\0' && *choices != '|' && *choices == *t) choices++, t++;
    if (*t == '\0' && (*choices == '\0' || *choices == '|')) {
      out = index;
      return true;
    }
    while (*choices != '\0' && *choices != '|') choices++;
    if (*choices++ == '\0') return false;
  }
}

// The OptionValue of `info` inside `o`. T is the type the row's OptionType stands for.
template <class T, class O>
auto& valueAt(O& o, const OptionInfo& info) {
  static_assert(sizeof(OptionValue<T>) == sizeof(T));
  if constexpr (__is_same(O, const Options)) {
    return *reinterpret_cast<const OptionValue<T>*>(reinterpret_cast<const char*>(&o) +
                                                    info.offset);
  } else {
    return *reinterpret_cast<OptionValue<T>*>(reinterpret_cast<char*>(&o) + info.offset);
  }
}

void formatAs(const OptionInfo& info, Int value, const char* text, Line& out) {
  if (info.type == OptionType::kStr) {
    out.str(text);
  } else if (info.type == OptionType::kBool) {
    out.str(value != 0 ? "on" : "off");
  } else if (info.type == OptionType::kInt) {
    out.dec(value);
  } else {
    const char* c = info.choices;
    for (; value > 0 && *c != '\0'; c++) value -= *c == '|';
    for (; *c != '\0' && *c != '|'; c++) out.chr(*c);
  }
}

// The row whose environment name is the n bytes at `name`; kOptionCount if none.
size_t rowOfEnv(const char* name, size_t n) {
  for (size_t i = 0; i < kOptionCount; i++) {
    const char* env = kOptions[i].env;
    size_t j = 0;
    while (j < n && env[j] == name[j]) j++;
    if (j == n && env[n] == '\0') return i;
  }
  return kOptionCount;
}

bool isToolVariable(const char* name, size_t n) {
  for (const char* known : kToolVariables) {
    size_t j = 0;
    while (j < n && known[j] == name[j] && known[j] != '\0') j++;
    if (j == n && known[n] == '\0') return true;
  }
  return false;
}

const char* optionEnv(size_t i) { return kOptions[i].env; }

bool isOurs(const char* entry) {
  if (isGos(entry)) return true;
  for (size_t i = 0; i < sizeof kPrefix; i++) {
    if (entry[i] != kPrefix[i]) return false;
  }
  return entry[sizeof kPrefix] == '=' || entry[sizeof kPrefix] == '_';
}

size_t nameLength(const char* entry) {
  size_t n = 0;
  while (entry[n] != '=' && entry[n] != '\0') n++;
  return n;
}

[[gnu::cold, gnu::noinline]] void reportUnknown(const char* name, size_t n, ReportFn report) {
  Line line;
  line.str("graft: ");
  quoteValue(name, n, line);
  line.str(": unknown option");
  suggestName(name, n, kOptionCount, optionEnv, line);
  line.nl();
  report(line.data(), line.size());
}

[[gnu::cold, gnu::noinline]] void reportBad(const OptionInfo& info, const char* value,
                                            ReportFn report) {
  Line line;
  line.str("graft: ").str(info.env).chr('=');
  quoteValue(value, stringLength(value), line);
  line.str(": expected ");
  describeAccepted(info, line);
  line.str("; using ");
  formatDefault(info, line);
  line.nl();
  report(line.data(), line.size());
}

// Pass 1 (report null) sets values; pass 2 sets them again and reports what cannot be used. Returns
// whether there is such.
[[gnu::cold, gnu::noinline]] bool walk(Options& out, char* const* envp, ReportFn report) {
  static_assert(kOptionCount <= 64);
  uint64_t seen = 0;
  bool skipped = false;
  for (; *envp != nullptr; envp++) {
    if (!isOurs(*envp)) continue;
    size_t n = nameLength(*envp);
    size_t i = rowOfEnv(*envp, n);
    if (i == kOptionCount) {
      if (isGos(*envp) || isToolVariable(*envp, n)) continue;
      skipped = true;
      if (report != nullptr) reportUnknown(*envp, n, report);
      continue;
    }
    const char* value = (*envp)[n] == '=' ? *envp + n + 1 : "";
    if ((seen >> i & 1) != 0 || *value == '\0') continue;
    seen |= uint64_t{1} << i;
    if (setOption(out, kOptions[i], value)) continue;
    skipped = true;
    if (report != nullptr) reportBad(kOptions[i], value, report);
  }
  return skipped;
}

// Edit distance of two names of at most kMaxName bytes.
constexpr size_t kMaxName = 40;
size_t distance(const char* a, size_t na, const char* b, size_t nb) {
  unsigned char row[kMaxName + 1];
  for (size_t j = 0; j <= nb; j++) row[j] = static_cast<unsigned char>(j);
  for (size_t i = 1; i <= na; i++) {
    unsigned char diagonal = row[0];
    row[0] = static_cast<unsigned char>(i);
    for (size_t j = 1; j <= nb; j++) {
      int best = diagonal + (a[i - 1] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = static_cast<unsigned char>(best);
    }
  }
  return row[nb];
}

}  // namespace

void parseEnv(Options& out, char* const* envp, ReportFn report) {
  if (envp == nullptr) return;
  char* const* first = envp;
  while (*first != nullptr && !isOurs(*first)) first++;
  if (*first == nullptr) return;
  bool skipped = walk(out, first, nullptr);
  if (!out.enabled) report = nullptr;
  if (skipped && report != nullptr) walk(out, first, report);
  if (*out.deny.get() != '\0') out.denied.set(parseDeny(out.deny, report).bits());
}

bool setOption(Options& out, const OptionInfo& info, const char* text) {
  Int v = 0;
  switch (info.type) {
    case OptionType::kStr: valueAt<Str>(out, info).set(text); return true;
    case OptionType::kBool:
      if (!parseBool(text, v)) return false;
      valueAt<Bool>(out, info).set(v != 0);
      return true;
    case OptionType::kInt:
      // Where -1 says "never", `off` does too: Go's GOGC is written so.
      if (info.min == -1 && equal(text, "off")) v = -1;
      if (v != -1 && !parseInt(text, v)) return false;
      if (v < info.min || v > info.max) return false;
      valueAt<Int>(out, info).set(v);
      return true;
    case OptionType::kEnum:
      if (!parseEnum(info.choices, text, v)) return false;
      valueAt<unsigned char>(out, info).set(static_cast<unsigned char>(v));
      return true;
  }
  return false;
}

const OptionInfo* findOption(const char* name, size_t n) {
  for (const OptionInfo& info : kOptions) {
    size_t j = 0;
    while (j < n && info.name[j] == (name[j] == '-' ? '_' : name[j]) && info.name[j] != '\0') j++;
    if (j == n && info.name[n] == '\0') return &info;
  }
  return nullptr;
}

void describeAccepted(const OptionInfo& info, Line& out) {
  switch (info.type) {
    case OptionType::kStr: out.str("text"); return;
    case OptionType::kBool: out.str("on or off"); return;
    case OptionType::kInt:
      out.str("an integer from ").dec(info.min).str(" to ").dec(info.max);
      return;
    case OptionType::kEnum:
      out.str("one of ");
      for (const char* c = info.choices; *c != '\0'; c++) {
        if (*c == '|') {
          out.str(", ");
        } else {
          out.chr(*c);
        }
      }
      return;
  }
}

void formatDefault(const OptionInfo& info, Line& out) {
  formatAs(info, info.default_value, info.default_text, out);
}

void formatValue(const Options& from, const OptionInfo& info, Line& out) {
  switch (info.type) {
    case OptionType::kStr: return formatAs(info, 0, valueAt<Str>(from, info), out);
    case OptionType::kBool: return formatAs(info, valueAt<Bool>(from, info) ? 1 : 0, "", out);
    case OptionType::kInt: return formatAs(info, valueAt<Int>(from, info), "", out);
    case OptionType::kEnum: return formatAs(info, valueAt<unsigned char>(from, info), "", out);
  }
}

void quoteValue(const char* text, size_t n, Line& out) {
  size_t shown = n < kShownValue ? n : kShownValue;
  for (size_t i = 0; i < shown; i++) {
    bool printable = text[i] >= ' ' && text[i] <= '~';
    out.chr(printable ? text[i] : '?');
  }
  if (shown < n) out.str("...");
}

void suggestName(const char* name, size_t n, size_t count, const char* (*nameAt)(size_t),
                 Line& out) {
  if (n > kMaxName) return;
  size_t best = 4;  // more than three edits is another word
  const char* closest = nullptr;
  for (size_t i = 0; i < count; i++) {
    size_t length = stringLength(nameAt(i));
    if (length > kMaxName) continue;
    size_t d = distance(name, n, nameAt(i), length);
    if (d < best && 2 * d < length) {
      best = d;
      closest = nameAt(i);
    }
  }
  if (closest != nullptr) out.str("; did you mean ").str(closest).chr('?');
}

size_t nextItem(const char*& p, const char*& item) {
  while (*p == ' ') p++;
  item = p;
  while (*p != '\0' && *p != ',') p++;
  const char* end = p;
  if (*p == ',') p++;
  while (end > item && end[-1] == ' ') end--;
  return static_cast<size_t>(end - item);
}

bool listHas(const char* list, const char* name) {
  while (*list != '\0') {
    const char* item;
    size_t n = nextItem(list, item);
    size_t i = 0;
    while (i < n && name[i] == item[i]) i++;
    if (n != 0 && i == n && name[n] == '\0') return true;
  }
  return false;
}

bool enabledFor(const Options& o, const char* executable) {
  if (!o.enabled) return false;
  const char* name = executable;
  for (const char* p = executable; *p != '\0'; p++) {
    if (*p == '/') name = p + 1;
  }
  if (*o.only.get() != '\0' && !listHas(o.only, name)) return false;
  return !listHas(o.skip, name);
}

}  // namespace graft::base
