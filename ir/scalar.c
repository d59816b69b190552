#include "ir/scalar.h"

#include <math.h>

// ---- What the rows of scalar.def call --------------------------------------------------------------------------
// Operands are elements of type t: unsigned ones are extended by zeros, so that only u64 needs care in comparing.

static bool int_less(enum dtype t, int64_t a, int64_t b)
{
    return dtype_is_signed(t) ? a < b : (uint64_t)a < (uint64_t)b;
}

static int64_t int_div(enum dtype t, int64_t a, int64_t b)
{
    if (b == 0)
        return 0;
    if (!dtype_is_signed(t))
        return (int64_t)((uint64_t)a / (uint64_t)b);
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b; // the least integer by -1 wraps
}

static int64_t int_rem(enum dtype t, int64_t a, int64_t b)
{
    if (b == 0)
        return 0;
    if (!dtype_is_signed(t))
        return (int64_t)((uint64_t)a % (uint64_t)b);
    return b == -1 ? 0 : a % b;
}

// Whether a / b is below zero before rounding; then truncation rounded up.
static bool quotient_is_negative(enum dtype t, int64_t a, int64_t b)
{
    return dtype_is_signed(t) && (a < 0) != (b < 0);
}

static int64_t int_floordiv(enum dtype t, int64_t a, int64_t b)
{
    return int_div(t, a, b) - (int_rem(t, a, b) != 0 && quotient_is_negative(t, a, b));
}

static int64_t int_ceildiv(enum dtype t, int64_t a, int64_t b)
{
    bool up = int_rem(t, a, b) != 0 && !quotient_is_negative(t, a, b);
    return (int64_t)((uint64_t)int_div(t, a, b) + up);
}

// The remainder of floordiv: has the sign of b.
static int64_t int_mod(enum dtype t, int64_t a, int64_t b)
{
    int64_t rem = int_rem(t, a, b);
    return rem != 0 && quotient_is_negative(t, a, b) ? rem + b : rem;
}

// A negative count is a large one.
static int64_t int_shl(enum dtype t, int64_t a, int64_t b)
{
    return (uint64_t)b < (uint64_t)dtype_info[t].bits ? (int64_t)((uint64_t)a << b) : 0;
}

static int64_t int_shr(enum dtype t, int64_t a, int64_t b)
{
    bool negative = dtype_is_signed(t) && a < 0;
    if ((uint64_t)b >= (uint64_t)dtype_info[t].bits)
        return negative ? -1 : 0;
    uint64_t bits = negative ? ~(uint64_t)a : (uint64_t)a;
    return (int64_t)(negative ? ~(bits >> b) : bits >> b);
}

static double scale_by_power(double a, double b)
{
    if (isnan(a) || isnan(b))
        return NAN;
    if (isinf(b)) // the limits; infinity by zero has none
        return b < 0 ? (isinf(a) ? NAN : copysign(0, a)) : (a == 0 ? NAN : copysign(INFINITY, a));
    b = floor(b);
    return ldexp(a, b < -5000 ? -5000 : b > 5000 ? 5000 : (int)b);
}

static double fused_multiply_add(enum dtype t, double a, double b, double c)
{
    return t == DTYPE_F32 ? fmaf((float)a, (float)b, (float)c) : fma(a, b, c);
}

// ---- Evaluation ------------------------------------------------------------------------------------------------

static double eval_float(enum opcode code, enum dtype t, double a, double b, double c)
{
    switch (code) {
#define SCALAR(e, name, n, types, flags, identity, f, i)                                                               \
    case OP_##e:                                                                                                       \
        return f;
#include "ir/scalar.def"
#undef SCALAR
    default:
        return NAN;
    }
}

static int64_t eval_int(enum opcode code, enum dtype t, int64_t a, int64_t b)
{
    switch (code) {
#define SCALAR(e, name, n, types, flags, identity, f, i)                                                               \
    case OP_##e:                                                                                                       \
        return i;
#include "ir/scalar.def"
#undef SCALAR
    default:
        return 0;
    }
}

bool scalar_is_defined(enum opcode code, enum dtype t)
{
    switch (op_info[code].types) {
    case SCALAR_TYPES_N:
        return t != DTYPE_I1;
    case SCALAR_TYPES_F:
    case SCALAR_TYPES_D:
        return dtype_is_float(t);
    case SCALAR_TYPES_I:
        return dtype_is_int(t);
    case SCALAR_TYPES_B:
        return !dtype_is_float(t);
    case SCALAR_TYPES_C:
    case SCALAR_TYPES_S:
        return true;
    }
    return false;
}

union scalar scalar_eval(enum opcode code, enum dtype t, union scalar a, union scalar b, union scalar c)
{
    if (code == OP_SELECT)
        return a.i ? b : c;
    enum scalar_types types = op_info[code].types;
    bool compares = types == SCALAR_TYPES_C || types == SCALAR_TYPES_D;
    union scalar x;
    if (!dtype_is_float(t)) {
        x.i = eval_int(code, t, a.i, b.i);
        if (!compares)
            x.i = dtype_wrap(t, x.i);
    } else {
        double f = eval_float(code, t, a.f, b.f, c.f);
        if (compares)
            x.i = f != 0;
        else
            x.f = dtype_round(t, f);
    }
    return x;
}

// The greatest float of type t: infinity where there is one.
static double highest_float(enum dtype t)
{
    double x = dtype_round(t, INFINITY);
    return isnan(x) ? 448 : x; // f8e4m3
}

static int64_t highest_int(enum dtype t)
{
    int bits = dtype_info[t].bits - dtype_is_signed(t);
    return (int64_t)(UINT64_MAX >> (64 - bits));
}

union scalar scalar_identity(enum opcode combiner, enum dtype t)
{
    bool is_float = dtype_is_float(t);
    union scalar x = {.i = 0};
    if (is_float)
        x.f = 0;
    switch (op_info[combiner].identity) {
    case IDENTITY_NONE:
    case IDENTITY_ZERO:
        break;
    case IDENTITY_ONE:
        if (is_float)
            x.f = 1;
        else
            x.i = 1;
        break;
    case IDENTITY_LOWEST:
        if (is_float)
            x.f = -highest_float(t);
        else
            x.i = dtype_is_signed(t) ? -highest_int(t) - 1 : 0;
        break;
    case IDENTITY_HIGHEST:
        if (is_float)
            x.f = highest_float(t);
        else
            x.i = highest_int(t);
        break;
    case IDENTITY_ONES:
        x.i = dtype_wrap(t, -1);
        break;
    }
    return x;
}

union scalar scalar_from_number(enum dtype t, struct number n)
{
    if (!n.is_float)
        return dtype_cast(t, DTYPE_I64, (union scalar){.i = n.i});
    return dtype_cast(t, DTYPE_F64, (union scalar){.f = n.f});
}
