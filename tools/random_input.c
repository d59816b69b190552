#include "tools/random_input.h"

#include <math.h>

#define LARGE_INTEGER_BITS 4 // of the integers wider than 8 bits

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

// Significant bits: 1 - 2^-p is the greatest value below 1.
static int precision(enum dtype t)
{
    int p = 1;
    while (p < 53 && dtype_round(t, 1 - ldexp(1, -p - 1)) == 1 - ldexp(1, -p - 1))
        p++;
    return p;
}

void random_input(enum dtype t, uint64_t seed, uint64_t stream, void *data, int64_t n)
{
    uint64_t key = mix(mix(seed) ^ stream);
    int width = dtype_info[t].bits, bits = dtype_is_float(t) ? precision(t) : width <= 8 ? width : LARGE_INTEGER_BITS;
    for (int64_t i = 0; i < n; i++) {
        uint64_t v = mix(key + ((uint64_t)i + 1) * 0x9E3779B97F4A7C15u) >> (64 - bits);
        union scalar x;
        if (dtype_is_float(t))
            x.f = ldexp((double)v, 1 - bits) - 1;
        else
            x.i = dtype_wrap(t, (int64_t)v);
        dtype_store(t, (char *)data + i * dtype_bytes(t), x);
    }
}
