#include "tests/unit/random_elements.h"

static uint32_t state;

void random_begin(uint32_t seed)
{
    state = seed;
}

uint32_t random32(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8 ^ state << 13;
}

void fill_plain(enum dtype t, char *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++, p += dtype_bytes(t)) {
        union scalar x;
        if (dtype_is_float(t))
            x.f = dtype_round(t, ((int)(random32() % 2001) - 1000) / 250.0);
        else
            x.i = dtype_wrap(t, (int)(random32() % 201) - 100);
        if (t == DTYPE_I1)
            x.i &= 1;
        dtype_store(t, p, x);
    }
}
