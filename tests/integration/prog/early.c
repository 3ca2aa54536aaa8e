// A library whose constructor allocates. Linked with -z initfirst it runs before the constructor of
// the C library itself, so that graft is started while `environ` is still unset.
#include <stdlib.h>

__attribute__((constructor)) static void start(void) { free(malloc(100)); }
