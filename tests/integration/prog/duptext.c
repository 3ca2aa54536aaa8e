// A small library that hands out memory from its malloc and frees what it is given: what a plugin
// does whose caller owns the result. Loaded by foreign.c and by the RUNPATH cases.
#include <stdlib.h>
#include <string.h>

char* dupText(const char* text) { return strdup(text); }

char* replaceText(char* text) {
  char* copy = strdup(text);
  free(text);
  return copy;
}
