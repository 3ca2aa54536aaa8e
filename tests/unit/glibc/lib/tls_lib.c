/* A library with thread variables that have an initial value, loaded while other threads exist.
   Built once with dynamic and once with initial-exec TLS. */
static __thread long value = 0x5ca1ab1e;
static __thread char zeroed[64];

long* tls_value(void) { return &value; }
char* tls_zeroed(void) { return zeroed; }
