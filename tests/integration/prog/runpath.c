// Opens a plugin by its bare name, from the executable and through a library: each of the two finds
// the plugin only by its own RUNPATH. Built as the program, and with -DMIDDLE as the library
// between.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef char* (*Dup)(const char*);

#ifdef MIDDLE
void* openFromMiddle(const char* name) { return dlopen(name, RTLD_NOW); }
void* openFromMiddleDeep(const char* name) { return dlopen(name, RTLD_NOW | RTLD_DEEPBIND); }
#else
void* openFromMiddle(const char* name);
void* openFromMiddleDeep(const char* name);

static void use(const char* what, void* lib) {
  Dup dup = lib != NULL ? (Dup)dlsym(lib, "dupText") : NULL;
  char* text = dup != NULL ? dup("here") : NULL;
  printf("%s: %s\n", what, text != NULL ? text : "not found");
  free(text);
}

int main(void) {
  use("own", dlopen("libown.so", RTLD_LAZY));
  use("own in a namespace", dlmopen(LM_ID_BASE, "libown.so", RTLD_NOW));
  use("middle's, from the program", dlopen("libmiddles.so", RTLD_NOW));
  use("middle's, from middle", openFromMiddle("libmiddles.so"));
  use("own, by now loaded", openFromMiddle("libown.so"));
  use("middle's other", openFromMiddleDeep("libother.so"));
  use("nobody's", dlopen("libnobodys.so", RTLD_NOW));
  return 0;
}
#endif
