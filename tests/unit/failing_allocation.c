#include "tests/unit/failing_allocation.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

static atomic_long left = LONG_MAX; // may fall below 0
static enum allocation_failures failures;

void allocations_fail_after(long n, enum allocation_failures which)
{
    failures = which;
    left = n;
}

bool allocations_recover(void)
{
    return atomic_exchange(&left, LONG_MAX) < 0;
}

static bool may_allocate(void)
{
    long before = atomic_fetch_sub(&left, 1);
    return before > 0 || (before < 0 && failures == FAIL_ONCE);
}

// FUNCTION(returns, name, parameters, arguments, what it returns on failure)
#define FUNCTION(type, name, parameters, arguments, failed)                                                            \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        if (may_allocate())                                                                                            \
            return __real_##name arguments;                                                                            \
        errno = ENOMEM;                                                                                                \
        return failed;                                                                                                 \
    }

FUNCTION(void *, malloc, (size_t size), (size), NULL)
FUNCTION(void *, calloc, (size_t n, size_t size), (n, size), NULL)
FUNCTION(void *, realloc, (void *old, size_t size), (old, size), NULL)
FUNCTION(int, posix_memalign, (void **out, size_t alignment, size_t size), (out, alignment, size), ENOMEM)
FUNCTION(char *, strdup, (const char *text), (text), NULL)
FUNCTION(char *, realpath, (const char *path, char *out), (path, out), NULL)
FUNCTION(int, vasprintf, (char **out, const char *format, va_list args), (out, format, args), -1)

int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = __wrap_vasprintf(out, format, args);
    va_end(args);
    return n;
}
