// A library with a thread variable, opened and closed by many threads at once.
static __thread int value = 100;
int next_value(void);
int next_value(void) { return value++; }
