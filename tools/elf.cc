// Bounded reading of ELF headers, dynamic sections and symbol tables (elf.h). Every offset is
// checked against the size of the file before a byte is read, every string ends inside its table.
#include "tools/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

namespace graft::tools {
namespace {

constexpr uint64_t kMaxTable = 1u << 30;  // a larger string or symbol table is not believed

class File {
 public:
  explicit File(const std::string& path)
      : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)) {
    struct stat st;
    if (fd_ >= 0 && fstat(fd_, &st) == 0 && S_ISREG(st.st_mode)) {
      size_ = static_cast<uint64_t>(st.st_size);
    }
  }
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool isOpen() const { return fd_ >= 0; }
  uint64_t size() const { return size_; }

  // All `n` bytes at `offset`, or nothing.
  bool read(uint64_t offset, void* to, uint64_t n) const {
    if (offset > size_ || n > size_ - offset) return false;
    auto* out = static_cast<char*>(to);
    while (n > 0) {
      ssize_t got = pread(fd_, out, n, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      out += got;
      offset += static_cast<uint64_t>(got);
      n -= static_cast<uint64_t>(got);
    }
    return true;
  }

  template <class T>
  std::optional<std::vector<T>> table(uint64_t offset, uint64_t count) const {
    if (count > kMaxTable / sizeof(T)) return std::nullopt;
    if (offset > size_ || count * sizeof(T) > size_ - offset) return std::nullopt;
    std::vector<T> rows(count);  // never more memory than the file has bytes
    if (count != 0 && !read(offset, rows.data(), count * sizeof(T))) return std::nullopt;
    return rows;
  }

 private:
  int fd_;
  uint64_t size_ = 0;
};

std::string_view stringAt(const std::vector<char>& strings, uint64_t offset) {
  if (offset >= strings.size()) return {};
  const char* begin = strings.data() + offset;
  return {begin, strnlen(begin, strings.size() - offset)};
}

struct Headers {
  Elf64_Ehdr file{};
  std::vector<Elf64_Phdr> segments;
};

// The headers of a 64-bit little-endian file; sets info.problem when they do not hold water.
std::optional<Headers> readHeaders(const File& file, ElfInfo& info) {
  Headers h;
  unsigned char ident[EI_NIDENT];
  if (!file.read(0, ident, sizeof ident) || std::memcmp(ident, ELFMAG, SELFMAG) != 0) {
    unsigned char magic[SELFMAG];
    info.is_elf = file.read(0, magic, sizeof magic) && std::memcmp(magic, ELFMAG, SELFMAG) == 0;
    if (info.is_elf) info.problem = "its ELF header is cut short";
    return std::nullopt;
  }
  info.is_elf = true;
  if (!file.read(0, &h.file, EI_NIDENT + 4)) {
    info.problem = "its ELF header is cut short";
    return std::nullopt;
  }
  info.type = h.file.e_type;
  info.machine = h.file.e_machine;
  info.is_64 = ident[EI_CLASS] == ELFCLASS64 && ident[EI_DATA] == ELFDATA2LSB;
  if (!info.is_64) return std::nullopt;
  if (!file.read(0, &h.file, sizeof h.file)) {
    info.problem = "its ELF header is cut short";
    return std::nullopt;
  }
  auto segments = h.file.e_phentsize == sizeof(Elf64_Phdr)
                      ? file.table<Elf64_Phdr>(h.file.e_phoff, h.file.e_phnum)
                      : std::nullopt;
  if (!segments) {
    info.problem = "its program headers are cut short or corrupt";
    return std::nullopt;
  }
  h.segments = std::move(*segments);
  return h;
}

// The offset in the file of what is loaded at `address`.
std::optional<uint64_t> offsetOf(const Headers& h, uint64_t address) {
  for (const Elf64_Phdr& p : h.segments) {
    if (p.p_type == PT_LOAD && address >= p.p_vaddr && address - p.p_vaddr < p.p_filesz) {
      return p.p_offset + (address - p.p_vaddr);
    }
  }
  return std::nullopt;
}

struct Dynamic {
  std::vector<Elf64_Dyn> entries;
  std::vector<char> strings;

  std::optional<uint64_t> value(int64_t tag) const {
    for (const Elf64_Dyn& d : entries) {
      if (d.d_tag == tag) return d.d_un.d_val;
    }
    return std::nullopt;
  }
};

// False: the file has no dynamic section, or one that cannot be followed (`problem` says so).
bool readDynamic(const File& file, const Headers& h, Dynamic& out, std::string& problem) {
  for (const Elf64_Phdr& p : h.segments) {
    if (p.p_type != PT_DYNAMIC) continue;
    auto entries = file.table<Elf64_Dyn>(p.p_offset, p.p_filesz / sizeof(Elf64_Dyn));
    if (!entries) break;
    out.entries = std::move(*entries);
    for (size_t i = 0; i < out.entries.size(); i++) {
      if (out.entries[i].d_tag == DT_NULL) out.entries.resize(i);
    }
    auto address = out.value(DT_STRTAB);
    auto size = out.value(DT_STRSZ);
    auto offset = address ? offsetOf(h, *address) : std::nullopt;
    auto strings = offset && size ? file.table<char>(*offset, *size) : std::nullopt;
    if (!strings) break;
    out.strings = std::move(*strings);
    return true;
  }
  for (const Elf64_Phdr& p : h.segments) {
    if (p.p_type == PT_DYNAMIC) problem = "its dynamic section is cut short or corrupt";
  }
  return false;
}

std::string definedIn(const std::vector<Elf64_Sym>& symbols, const std::vector<char>& strings,
                      std::initializer_list<std::string_view> names) {
  for (const Elf64_Sym& s : symbols) {
    if (s.st_shndx == SHN_UNDEF || ELF64_ST_BIND(s.st_info) == STB_LOCAL) continue;
    std::string_view symbol = stringAt(strings, s.st_name);
    for (std::string_view name : names) {
      if (symbol == name) return std::string(name);
    }
  }
  return "";
}

std::string definedInSections(const File& file, const Headers& h,
                              std::initializer_list<std::string_view> names) {
  if (h.file.e_shentsize != sizeof(Elf64_Shdr)) return "";
  auto sections = file.table<Elf64_Shdr>(h.file.e_shoff, h.file.e_shnum);
  if (!sections) return "";
  for (const Elf64_Shdr& s : *sections) {
    if (s.sh_type != SHT_DYNSYM && s.sh_type != SHT_SYMTAB) continue;
    if (s.sh_link >= sections->size()) continue;
    const Elf64_Shdr& link = (*sections)[s.sh_link];
    auto symbols = file.table<Elf64_Sym>(s.sh_offset, s.sh_size / sizeof(Elf64_Sym));
    auto strings = file.table<char>(link.sh_offset, link.sh_size);
    if (!symbols || !strings) continue;
    std::string found = definedIn(*symbols, *strings, names);
    if (!found.empty()) return found;
  }
  return "";
}

// For files whose section headers were stripped: linkers put the string table right behind the
// dynamic symbols, which gives their number.
std::string definedInDynamic(const File& file, const Headers& h,
                             std::initializer_list<std::string_view> names) {
  Dynamic dynamic;
  std::string problem;
  if (!readDynamic(file, h, dynamic, problem)) return "";
  auto symtab = dynamic.value(DT_SYMTAB);
  auto strtab = dynamic.value(DT_STRTAB);
  if (!symtab || !strtab || *strtab <= *symtab) return "";
  auto offset = offsetOf(h, *symtab);
  if (!offset) return "";
  auto symbols = file.table<Elf64_Sym>(*offset, (*strtab - *symtab) / sizeof(Elf64_Sym));
  return symbols ? definedIn(*symbols, dynamic.strings, names) : "";
}

}  // namespace

bool ElfInfo::isX86_64() const { return is_64 && machine == EM_X86_64; }

ElfInfo readElf(const std::string& path) {
  ElfInfo info;
  File file(path);
  if (!file.isOpen()) {
    info.problem = fmt::format("it cannot be read ({})", std::strerror(errno));
    return info;
  }
  auto headers = readHeaders(file, info);
  if (!headers) return info;
  for (const Elf64_Phdr& p : headers->segments) {
    if (p.p_type != PT_INTERP) continue;
    auto text = file.table<char>(p.p_offset, p.p_filesz);
    if (!text || p.p_filesz == 0 || p.p_filesz > 4096) {
      info.problem = "the path of its loader is cut short or corrupt";
      return info;
    }
    info.interp = stringAt(*text, 0);
  }
  Dynamic dynamic;
  if (!readDynamic(file, *headers, dynamic, info.problem)) return info;
  if (auto soname = dynamic.value(DT_SONAME)) info.soname = stringAt(dynamic.strings, *soname);
  for (const Elf64_Dyn& d : dynamic.entries) {
    if (d.d_tag == DT_NEEDED) info.needed.emplace_back(stringAt(dynamic.strings, d.d_un.d_val));
  }
  return info;
}

std::string definedSymbol(const std::string& path, std::initializer_list<std::string_view> names) {
  File file(path);
  ElfInfo info;
  if (!file.isOpen()) return "";
  auto headers = readHeaders(file, info);
  if (!headers) return "";
  std::string found = definedInSections(file, *headers, names);
  return found.empty() ? definedInDynamic(file, *headers, names) : found;
}

std::string machineName(const ElfInfo& info) {
  switch (info.machine) {
    case EM_X86_64: return info.is_64 ? "x86-64" : "x32";
    case EM_386: return "32-bit x86";
    case EM_AARCH64: return "aarch64";
    case EM_ARM: return "arm";
    case EM_RISCV: return "riscv";
    default: return fmt::format("machine type {}", info.machine);
  }
}

}  // namespace graft::tools
