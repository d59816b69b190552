/* Calls a launcher in a loop, so that no Python lies between two calls.
 *
 * A launcher takes pointers and int64_t values only and returns int. In the System V ABI of x86-64 (and in AAPCS64)
 * such a function may be called with more arguments than it declares: the rest are ignored registers and caller-owned
 * stack. */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>

typedef int64_t word;
typedef int launcher(word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word);

double timer_run(launcher *launch, const word a[16], int64_t calls, int *status);

/* Nanoseconds per call over `calls` calls; -1 once a call returns non-zero, with that value in *status. */
double timer_run(launcher *launch, const word a[16], int64_t calls, int *status)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int64_t i = 0; i < calls; i++) {
        *status = launch(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14],
                         a[15]);
        if (*status != 0)
            return -1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (1e9 * (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec)) / (double)calls;
}
