// Bump allocation with one lifetime: everything dies with the arena.
#ifndef TEGULA_IR_ARENA_H
#define TEGULA_IR_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; // newest first
    size_t used, size;          // of the newest chunk
};

void arena_init(struct arena *a);
void arena_finish(struct arena *a);

// Zeroed memory, aligned for any type. Running out of memory ends in arena_out_of_memory, see below.
void *arena_alloc(struct arena *a, size_t bytes);
void *arena_copy(struct arena *a, const void *data, size_t bytes);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_vprintf(struct arena *a, const char *format, va_list args);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_alloc((a), sizeof(T) * (size_t)(n)))

// Allocation failure inside the compiler unwinds to the public entry point that was called, which returns an error:
// the entry point sets a recovery point with setjmp and every arena belongs to it.
struct arena_recovery;
void arena_set_recovery(struct arena_recovery *r); // NULL: none (then running out of memory ends the process)
struct arena_recovery *arena_get_recovery(void);

#include <setjmp.h>
struct arena_recovery {
    jmp_buf jump;
};

// Calls body(data) for a caller that holds what no arena does. Where there is a recovery point and memory runs out,
// returns false: the caller releases what it holds and goes on unwinding.
bool arena_attempt(void (*body)(void *), void *data);
_Noreturn void arena_unwind(void);

// What a function holds, if only by its own variables, while it calls what may run out of memory: unwinding releases
// it, what was held last first. The struct lives in the function's frame.
struct arena_hold {
    void (*release)(void *data);
    void *data;
    struct arena_hold *outer;
    struct arena_recovery *recovery;
};
void arena_hold(struct arena_hold *h, void (*release)(void *data), void *data);
void arena_let_go(struct arena_hold *h); // of what was held last; does not release it

#endif
