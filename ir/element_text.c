#include "ir/element_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bits_of_float(enum dtype t, double x)
{
    return dtype_bits(t, (union scalar){.f = dtype_round(t, x)});
}

const char *element_string(struct arena *a, enum dtype t, uint64_t bits)
{
    union scalar x = dtype_from_bits(t, bits);
    if (!dtype_is_float(t))
        return dtype_is_signed(t) ? arena_printf(a, "%lld", (long long)x.i)
                                  : arena_printf(a, "%llu", (unsigned long long)bits);
    if (isinf(x.f))
        return x.f < 0 ? "-inf" : "inf";
    if (isnan(x.f))
        return bits == bits_of_float(t, NAN) ? "nan" : arena_printf(a, "0x%llx", (unsigned long long)bits);
    if (x.f == trunc(x.f) && fabs(x.f) < 1e15)
        return arena_printf(a, "%.1f", x.f);
    char s[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, x.f);
        if (bits_of_float(t, strtod(s, NULL)) == bits)
            break;
    }
    return arena_printf(a, "%s%s", s, strpbrk(s, ".e") ? "" : ".0");
}

static const char *parse_float(struct arena *a, enum dtype t, bool negative, const char *s, uint64_t *bits)
{
    bool named = !strcmp(s, "inf") || !strcmp(s, "nan");
    char *end;
    double x = strtod(s, &end);
    if (*end || (!named && (*s < '0' || *s > '9')))
        return arena_printf(a, "'%s' is not a value of type %s", s, dtype_info[t].name);
    *bits = bits_of_float(t, negative ? -x : x);
    return NULL;
}

static const char *parse_int_text(struct arena *a, enum dtype t, bool negative, const char *s, uint64_t *bits)
{
    char *end;
    errno = 0;
    uint64_t x = *s >= '0' && *s <= '9' ? strtoull(s, &end, 10) : 0;
    int width = dtype_info[t].bits;
    bool is_signed = dtype_is_signed(t);
    uint64_t most = ~(uint64_t)0 >> (64 - width + is_signed);
    bool fits = negative ? x == 0 || (is_signed && x <= most + 1) : x <= most;
    if (*s < '0' || *s > '9' || *end || errno || !fits)
        return arena_printf(a, "%s%s is not a value of type %s", negative ? "-" : "", s, dtype_info[t].name);
    *bits = (negative ? 0 - x : x) & (~(uint64_t)0 >> (64 - width));
    return NULL;
}

const char *element_parse(struct arena *a, enum dtype t, bool negative, const char *word, size_t length, uint64_t *bits)
{
    char s[400]; // longer than any double written out
    if (length >= sizeof s)
        return arena_printf(a, "'%.40s...' is not a value of type %s", word, dtype_info[t].name);
    memcpy(s, word, length);
    s[length] = 0;
    if (length > 2 && !memcmp(s, "0x", 2)) {
        char *end;
        errno = 0;
        *bits = strtoull(s, &end, 16);
        bool fits = !*end && !errno && *bits <= ~(uint64_t)0 >> (64 - dtype_info[t].bits) && !negative;
        return fits ? NULL : arena_printf(a, "'%s' is not the bits of a value of type %s", s, dtype_info[t].name);
    }
    return dtype_is_float(t) ? parse_float(a, t, negative, s, bits) : parse_int_text(a, t, negative, s, bits);
}
