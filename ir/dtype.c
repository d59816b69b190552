#include "ir/dtype.h"

#include <math.h>
#include <string.h>

const struct dtype_info dtype_info[DTYPE_COUNT] = {
#define DTYPE(e, name, bits, kind) [DTYPE_##e] = {name, bits, DTYPE_KIND_##kind},
#include "ir/dtype.def"
#undef DTYPE
};

// Formats of the floats narrower than f32. `finite_only`: no infinities, the all-ones code is NaN (OCP E4M3).
struct small_float {
    int exponent_bits, mantissa_bits, bias;
    bool finite_only;
};

static const struct small_float *small_float(enum dtype t)
{
    static const struct small_float f16 = {5, 10, 15, false}, bf16 = {8, 7, 127, false}, e4m3 = {4, 3, 7, true},
                                    e5m2 = {5, 2, 15, false};
    switch (t) {
    case DTYPE_F16:
        return &f16;
    case DTYPE_BF16:
        return &bf16;
    case DTYPE_F8E4M3:
        return &e4m3;
    case DTYPE_F8E5M2:
        return &e5m2;
    default:
        return NULL;
    }
}

enum dtype dtype_from_name(const char *name, size_t length)
{
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (strlen(dtype_info[t].name) == length && !memcmp(dtype_info[t].name, name, length))
            return (enum dtype)t;
    return DTYPE_NONE;
}

static uint64_t small_encode(const struct small_float *s, double x)
{
    uint64_t sign = (uint64_t)(signbit(x) != 0) << (s->exponent_bits + s->mantissa_bits);
    uint64_t top = (((uint64_t)1 << s->exponent_bits) - 1) << s->mantissa_bits;
    uint64_t nan =
        s->finite_only ? top | (((uint64_t)1 << s->mantissa_bits) - 1) : top | ((uint64_t)1 << (s->mantissa_bits - 1));
    if (isnan(x))
        return sign | nan;
    if (isinf(x))
        return sign | (s->finite_only ? nan : top);
    x = fabs(x);
    if (x == 0)
        return sign;
    int e;
    frexp(x, &e);
    e -= 1;
    if (e < 1 - s->bias)
        e = 1 - s->bias; // denormal
    // The nearest multiple of the spacing; rint rounds ties to even.
    double steps = rint(ldexp(x, s->mantissa_bits - e));
    uint64_t code = (uint64_t)steps + ((uint64_t)(e + s->bias - 1) << s->mantissa_bits);
    if (code >= (s->finite_only ? nan : top))
        code = s->finite_only ? nan : top;
    return sign | code;
}

static double small_decode(const struct small_float *s, uint64_t bits)
{
    uint64_t mantissa = bits & (((uint64_t)1 << s->mantissa_bits) - 1);
    int exponent = (int)(bits >> s->mantissa_bits) & ((1 << s->exponent_bits) - 1);
    double sign = bits >> (s->exponent_bits + s->mantissa_bits) & 1 ? -1 : 1;
    int top = (1 << s->exponent_bits) - 1;
    if (exponent == top) {
        if (s->finite_only ? mantissa == ((uint64_t)1 << s->mantissa_bits) - 1 : mantissa != 0)
            return copysign(NAN, sign);
        if (!s->finite_only)
            return sign * INFINITY;
    }
    if (exponent == 0)
        return sign * ldexp((double)mantissa, 1 - s->bias - s->mantissa_bits);
    return sign * ldexp((double)(mantissa | (uint64_t)1 << s->mantissa_bits), exponent - s->bias - s->mantissa_bits);
}

uint64_t dtype_bits(enum dtype t, union scalar x)
{
    if (t == DTYPE_F64) {
        uint64_t b;
        memcpy(&b, &x.f, 8);
        return b;
    }
    if (t == DTYPE_F32) {
        float f = (float)x.f;
        uint32_t b;
        memcpy(&b, &f, 4);
        return b;
    }
    if (small_float(t))
        return small_encode(small_float(t), x.f);
    uint64_t b = (uint64_t)x.i;
    return dtype_info[t].bits == 64 ? b : b & (((uint64_t)1 << dtype_info[t].bits) - 1);
}

union scalar dtype_from_bits(enum dtype t, uint64_t bits)
{
    union scalar x;
    if (t == DTYPE_F64) {
        memcpy(&x.f, &bits, 8);
    } else if (t == DTYPE_F32) {
        uint32_t b = (uint32_t)bits;
        float f;
        memcpy(&f, &b, 4);
        x.f = f;
    } else if (small_float(t)) {
        x.f = small_decode(small_float(t), bits);
    } else {
        x.i = dtype_wrap(t, (int64_t)bits);
    }
    return x;
}

double dtype_round(enum dtype t, double x)
{
    if (t == DTYPE_F64)
        return x;
    if (t == DTYPE_F32)
        return (float)x;
    return small_decode(small_float(t), small_encode(small_float(t), x));
}

int64_t dtype_wrap(enum dtype t, int64_t x)
{
    int bits = dtype_info[t].bits;
    if (bits == 64)
        return x;
    uint64_t low = (uint64_t)x & (((uint64_t)1 << bits) - 1);
    if (dtype_is_signed(t) && low >> (bits - 1))
        return (int64_t)(low - ((uint64_t)1 << bits));
    return (int64_t)low;
}

// Elements of a byte; 1 also for those of more bytes.
static int64_t packed(enum dtype t)
{
    return t == DTYPE_I1 || dtype_info[t].bits >= 8 ? 1 : 8 / dtype_info[t].bits;
}

int64_t dtype_array_bytes(enum dtype t, int64_t n)
{
    int64_t per_byte = packed(t), bytes;
    if (per_byte > 1)
        return n / per_byte + (n % per_byte != 0);
    return __builtin_mul_overflow(n, dtype_bytes(t), &bytes) ? -1 : bytes;
}

uint64_t dtype_array_bits(enum dtype t, const void *array, int64_t i)
{
    int64_t per_byte = packed(t);
    uint64_t x = 0;
    if (per_byte == 1) {
        int64_t bytes = dtype_bytes(t);
        memcpy(&x, (const char *)array + i * bytes, (size_t)bytes); // little-endian hosts only, as the targets are
        return x;
    }
    int bits = dtype_info[t].bits;
    return ((const unsigned char *)array)[i / per_byte] >> (i % per_byte * bits) & ((1u << bits) - 1);
}

void dtype_array_set_bits(enum dtype t, void *array, int64_t i, uint64_t x)
{
    int64_t per_byte = packed(t);
    if (per_byte == 1) {
        int64_t bytes = dtype_bytes(t);
        memcpy((char *)array + i * bytes, &x, (size_t)bytes);
        return;
    }
    int bits = dtype_info[t].bits, shift = (int)(i % per_byte) * bits;
    unsigned char *byte = (unsigned char *)array + i / per_byte;
    unsigned mask = ((1u << bits) - 1) << shift;
    *byte = (unsigned char)((*byte & ~mask) | ((unsigned)x << shift & mask));
}

union scalar dtype_array_load(enum dtype t, const void *array, int64_t i)
{
    uint64_t bits = dtype_array_bits(t, array, i);
    return dtype_from_bits(t, t == DTYPE_I1 ? bits != 0 : bits);
}

void dtype_array_store(enum dtype t, void *array, int64_t i, union scalar x)
{
    dtype_array_set_bits(t, array, i, dtype_bits(t, x));
}

union scalar dtype_load(enum dtype t, const void *p)
{
    return dtype_array_load(t, p, 0);
}

void dtype_store(enum dtype t, void *p, union scalar x)
{
    dtype_array_store(t, p, 0, x);
}

static int64_t float_to_int(enum dtype to, double x)
{
    int bits = dtype_info[to].bits;
    if (isnan(x))
        return 0;
    x = trunc(x);
    if (dtype_is_signed(to)) {
        double limit = ldexp(1, bits - 1);
        if (x >= limit)
            return (int64_t)(((uint64_t)1 << (bits - 1)) - 1);
        return x < -limit ? (int64_t)((uint64_t)-1 << (bits - 1)) : (int64_t)x;
    }
    if (x <= 0)
        return 0;
    if (x >= ldexp(1, bits))
        return bits == 64 ? -1 : (int64_t)(((uint64_t)1 << bits) - 1);
    return (int64_t)(uint64_t)x;
}

union scalar dtype_cast(enum dtype to, enum dtype from, union scalar x)
{
    union scalar y;
    if (to == DTYPE_I1)
        y.i = dtype_is_float(from) ? x.f != 0 : x.i != 0;
    else if (dtype_is_float(to)) {
        double f = dtype_is_float(from) ? x.f : from == DTYPE_U64 ? (double)(uint64_t)x.i : (double)x.i;
        // A 64-bit integer goes to f32 with one rounding.
        if (to == DTYPE_F32 && !dtype_is_float(from))
            f = from == DTYPE_U64 ? (float)(uint64_t)x.i : (float)x.i;
        y.f = dtype_round(to, f);
    } else
        y.i = dtype_is_float(from) ? float_to_int(to, x.f) : dtype_wrap(to, x.i);
    return y;
}
