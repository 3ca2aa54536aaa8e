// See symbols.h. A chain of inlined functions is read from the debug information; where it has
// none, the symbol table gives the one name there is.
#include "tools/symbols.h"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace graft::tools {
namespace {

// Also a C function may be called as a type is in a mangled name: "f" is not float.
std::string demangled(const char* name) {
  if (std::strncmp(name, "_Z", 2) != 0) return name;
  int status = 0;
  char* plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string out = status == 0 ? plain : name;
  std::free(plain);
  return out;
}

std::string functionOf(Dwarf_Die& die) {
  Dwarf_Attribute attribute;
  for (unsigned kind : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    const char* name = dwarf_formstring(dwarf_attr_integrate(&die, kind, &attribute));
    if (name != nullptr) return demangled(name);
  }
  const char* name = dwarf_diename(&die);
  return name != nullptr ? name : "";
}

// Where an inlined function was called.
void callSite(Dwarf_Die& unit, Dwarf_Die& inlined, Place& to) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  to.file.clear();
  to.line = to.column = 0;
  if (dwarf_formudata(dwarf_attr(&inlined, DW_AT_call_file, &attribute), &value) == 0) {
    Dwarf_Files* files = nullptr;
    size_t n = 0;
    const char* name = dwarf_getsrcfiles(&unit, &files, &n) == 0 && value < n
                           ? dwarf_filesrc(files, value, nullptr, nullptr)
                           : nullptr;
    if (name != nullptr) to.file = name;
  }
  if (dwarf_formudata(dwarf_attr(&inlined, DW_AT_call_line, &attribute), &value) == 0)
    to.line = static_cast<int>(value);
  if (dwarf_formudata(dwarf_attr(&inlined, DW_AT_call_column, &attribute), &value) == 0)
    to.column = static_cast<int>(value);
}

// The function that holds the address, and those around it as far as they were inlined.
std::vector<Dwarf_Die> functionsAt(Dwarf_Die* unit, Dwarf_Addr at) {
  std::vector<Dwarf_Die> chain;
  Dwarf_Die* scopes = nullptr;
  int n = dwarf_getscopes(unit, at, &scopes);
  int first = 0;
  auto isFunction = [](Dwarf_Die* die) {
    int tag = dwarf_tag(die);
    return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_subprogram;
  };
  while (first < n && !isFunction(&scopes[first])) first++;
  if (first >= n) {
    std::free(scopes);
    return chain;
  }
  Dwarf_Die innermost = scopes[first];
  std::free(scopes);
  scopes = nullptr;
  // Of an inlined function the first list goes on with where it was defined, this one with where
  // it was inlined.
  n = dwarf_getscopes_die(&innermost, &scopes);
  for (int i = 0; i < n; i++) {
    if (!isFunction(&scopes[i])) continue;
    chain.push_back(scopes[i]);
    if (dwarf_tag(&scopes[i]) == DW_TAG_subprogram) break;
  }
  std::free(scopes);
  return chain;
}

}  // namespace

Symbols::~Symbols() {
  if (dwfl_ != nullptr) dwfl_end(dwfl_);
}

std::string Symbols::begin() {
  files_.find_elf = dwfl_linux_proc_find_elf;
  files_.find_debuginfo = dwfl_standard_find_debuginfo;
  files_.debuginfo_path = &debug_path_;
  dwfl_ = dwfl_begin(&files_);
  return dwfl_ != nullptr ? "" : dwfl_errmsg(-1);
}

std::string Symbols::openProcess(pid_t pid) {
  if (std::string problem = begin(); !problem.empty()) return problem;
  dwfl_report_begin(dwfl_);
  int error = dwfl_linux_proc_report(dwfl_, pid);
  dwfl_report_end(dwfl_, nullptr, nullptr);
  if (error == 0) return "";
  return error > 0 ? std::strerror(error) : dwfl_errmsg(-1);
}

std::string Symbols::openMaps(const std::string& maps) {
  if (std::string problem = begin(); !problem.empty()) return problem;
  std::unique_ptr<FILE, int (*)(FILE*)> text(
      fmemopen(const_cast<char*>(maps.data()), maps.size(), "r"), fclose);
  if (text == nullptr) return "there is no map of the process";
  dwfl_report_begin(dwfl_);
  int error = dwfl_linux_proc_maps_report(dwfl_, text.get());
  dwfl_report_end(dwfl_, nullptr, nullptr);
  if (error == 0) return "";
  return error > 0 ? std::strerror(error) : dwfl_errmsg(-1);
}

Place Symbols::name(uint64_t at) const {
  Place p;
  p.pc = at;
  Dwfl_Module* module = dwfl_addrmodule(dwfl_, at);
  if (module == nullptr) return p;
  GElf_Off offset = 0;
  GElf_Sym symbol;
  const char* function =
      dwfl_module_addrinfo(module, at, &offset, &symbol, nullptr, nullptr, nullptr);
  if (function != nullptr) p.function = demangled(function);
  p.offset = offset;
  const char* main_file = nullptr;
  const char* path =
      dwfl_module_info(module, nullptr, nullptr, nullptr, nullptr, nullptr, &main_file, nullptr);
  p.module = main_file != nullptr ? main_file : path != nullptr ? path : "";
  Dwarf_Addr in_module = at;
  dwfl_module_relocate_address(module, &in_module);
  p.module_offset = in_module;
  Dwfl_Line* source = dwfl_module_getsrc(module, at);
  const char* name = source == nullptr
                         ? nullptr
                         : dwfl_lineinfo(source, nullptr, &p.line, &p.column, nullptr, nullptr);
  if (name != nullptr) p.file = name;
  return p;
}

std::vector<Place> Symbols::inlined(uint64_t at) const {
  std::vector<Place> places = {name(at)};
  Dwarf_Addr bias = 0;
  Dwarf_Die* unit = dwfl_addrdie(dwfl_, at, &bias);
  if (unit == nullptr) return places;
  std::vector<Dwarf_Die> chain = functionsAt(unit, at - bias);
  for (size_t i = 0; i < chain.size(); i++) {
    bool outermost = i + 1 == chain.size();
    Place& p = places.back();
    // Of the outermost the symbol table's name is right, but for a function that it does not have.
    std::string function = functionOf(chain[i]);
    if (!function.empty() && (!outermost || p.function.empty())) p.function = function;
    if (outermost) break;
    Place next = places[0];
    next.function = name(at).function;
    callSite(*unit, chain[i], next);
    p.inlined = true;
    places.push_back(next);
  }
  return places;
}

}  // namespace graft::tools
