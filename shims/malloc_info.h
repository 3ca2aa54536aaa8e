// mallinfo and relatives; see malloc_info.cc for what each field means on graft.
// May be called from any thread at any time; the figures are a snapshot taken while others run.
#pragma once

#include <malloc.h>
#include <stdio.h>

namespace graft::shims {

struct mallinfo2 mallinfo2Any();
struct mallinfo mallinfoAny();
void mallocStats();
int mallocInfo(int options, FILE* out);
int malloptAny(int param, int value);

}  // namespace graft::shims
