// What the compiler is busy with, for those who want to know where the time of a load goes.
#ifndef TEGULA_IR_PHASE_H
#define TEGULA_IR_PHASE_H

#include <stdint.h>
#include <time.h>

// Is told of each phase when it has ended, with the times of phase_now; by several threads at once.
struct phase_listener {
    void (*call)(void *user, const char *name, int64_t start, int64_t end);
    void *user;
};

static inline int64_t phase_now(void) // in nanoseconds
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// The phase that began at `start` has ended. listener may be NULL.
static inline void phase_end(const struct phase_listener *listener, const char *name, int64_t start)
{
    if (listener)
        listener->call(listener->user, name, start, phase_now());
}

#endif
