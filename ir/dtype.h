// Element types and their numbers: names, sizes, rounding of a value to a type, reading and writing memory.
#ifndef TEGULA_IR_DTYPE_H
#define TEGULA_IR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
#define DTYPE(e, name, bits, kind) DTYPE_##e,
#include "ir/dtype.def"
#undef DTYPE
    DTYPE_COUNT,
    DTYPE_NONE = -1
};

enum dtype_kind { DTYPE_KIND_FLOAT, DTYPE_KIND_SIGNED, DTYPE_KIND_UNSIGNED, DTYPE_KIND_BOOL };

struct dtype_info {
    const char *name;
    int bits;
    enum dtype_kind kind;
};

extern const struct dtype_info dtype_info[DTYPE_COUNT];

enum dtype dtype_from_name(const char *name, size_t length); // DTYPE_NONE if there is none

static inline bool dtype_is_float(enum dtype t)
{
    return dtype_info[t].kind == DTYPE_KIND_FLOAT;
}

static inline bool dtype_is_int(enum dtype t) // i1 is not an integer
{
    return dtype_info[t].kind == DTYPE_KIND_SIGNED || dtype_info[t].kind == DTYPE_KIND_UNSIGNED;
}

static inline bool dtype_is_signed(enum dtype t)
{
    return dtype_info[t].kind == DTYPE_KIND_SIGNED;
}

static inline int64_t dtype_bytes(enum dtype t) // in memory; i1 takes a byte
{
    return (dtype_info[t].bits + 7) / 8;
}

// One element of any type: floats in f (already rounded to the type), integers and booleans in i (unsigned 64-bit
// numbers by their bits).
union scalar {
    double f;
    int64_t i;
};

// Rounds a float to the nearest value of a float type (ties to even; f8e4m3 overflows to NaN, others to infinity).
double dtype_round(enum dtype t, double x);
// Wraps an integer to the type's width.
int64_t dtype_wrap(enum dtype t, int64_t x);

union scalar dtype_load(enum dtype t, const void *p);
void dtype_store(enum dtype t, void *p, union scalar x);
// Arrays without gaps: types below 8 bits are packed from the low end of each byte on, but for i1, which takes a byte.
int64_t dtype_array_bytes(enum dtype t, int64_t n); // -1 if that overflows
union scalar dtype_array_load(enum dtype t, const void *array, int64_t i);
void dtype_array_store(enum dtype t, void *array, int64_t i, union scalar x);
// The same as bits, of which an i1 has a byte's.
uint64_t dtype_array_bits(enum dtype t, const void *array, int64_t i);
void dtype_array_set_bits(enum dtype t, void *array, int64_t i, uint64_t bits);

// Converts as the `cast` operation does: float to integer truncates and saturates (NaN gives 0), integer to integer
// wraps, anything to i1 is "not equal to zero".
union scalar dtype_cast(enum dtype to, enum dtype from, union scalar x);
// The bits of a value as an unsigned number, and back (the `bitcast` operation).
uint64_t dtype_bits(enum dtype t, union scalar x);
union scalar dtype_from_bits(enum dtype t, uint64_t bits);

#endif
