// When two results of the same computation count as equal.
#include <inttypes.h>
#include <math.h>

#include "tools/check.h"

double check_tolerance(enum dtype t)
{
    switch (t) {
    case DTYPE_F64:
        return 1e-12;
    case DTYPE_F32:
        return 2e-5;
    case DTYPE_F16:
        return 2e-3;
    case DTYPE_BF16:
        return 1.6e-2;
    case DTYPE_F8E4M3:
        return 0.25;
    case DTYPE_F8E5M2:
        return 0.5;
    default:
        return 0;
    }
}

const char *check_scalar_text(enum dtype t, union scalar x, struct diags *diags)
{
    if (dtype_is_float(t))
        return arena_printf(&diags->arena, "%.9g", x.f);
    return arena_printf(&diags->arena, dtype_is_signed(t) ? "%" PRId64 : "%" PRIu64, x.i);
}

double check_limit(enum dtype t, double tolerance)
{
    return tolerance >= 0 ? tolerance : check_tolerance(t);
}

static double distance(enum dtype t, union scalar x, union scalar y, double tolerance)
{
    if (!dtype_is_float(t)) {
        double apart = fabs((double)x.i - (double)y.i);
        return x.i == y.i ? 0 : tolerance > 0 ? apart / (tolerance * fmax(1, fabs((double)x.i))) : INFINITY;
    }
    if (x.f == y.f || (isnan(x.f) && isnan(y.f)))
        return 0;
    double d = fabs(x.f - y.f) / (tolerance * fmax(1, fabs(x.f)));
    return isnan(d) ? INFINITY : d;
}

// The position among the type's numbers in order, 0 for both zeros: those of neighbours are one apart.
static double rank(enum dtype t, union scalar x)
{
    uint64_t bits = dtype_bits(t, x), sign = (uint64_t)1 << (dtype_info[t].bits - 1);
    return bits & sign ? -(double)(bits ^ sign) : (double)bits;
}

static void note_error(struct check_difference *d, enum dtype t, union scalar want, union scalar have)
{
    bool is_float = dtype_is_float(t);
    double x = is_float ? want.f : (double)want.i, y = is_float ? have.f : (double)have.i;
    d->absolute = fmax(d->absolute, fabs(x - y));
    if (x != 0)
        d->relative = fmax(d->relative, fabs((x - y) / x));
    if (is_float)
        d->ulp = fmax(d->ulp, fabs(rank(t, want) - rank(t, have)));
}

static void compare_element(struct check_difference *d, enum dtype t, int64_t at, union scalar want, union scalar have,
                            double tolerance)
{
    double apart = distance(t, want, have, tolerance);
    bool finite[2] = {!dtype_is_float(t) || isfinite(want.f), !dtype_is_float(t) || isfinite(have.f)};
    if (apart > d->worst) {
        d->worst = apart;
        d->at = at;
        d->want = want;
        d->have = have;
    }
    d->n_wrong += apart > 1;
    if (finite[0] && finite[1]) {
        note_error(d, t, want, have);
    } else if (finite[0] != finite[1]) {
        d->lost_at = d->n_lost++ ? d->lost_at : at;
    } else {
        d->nonfinite_at = d->n_nan + d->n_infinite ? d->nonfinite_at : at;
        *(isnan(have.f) ? &d->n_nan : &d->n_infinite) += 1;
    }
}

struct check_difference check_compare(enum dtype t, const void *want, const void *have, int64_t n, double tolerance)
{
    struct check_difference d = {0};
    int64_t width = dtype_bytes(t);
    for (int64_t i = 0; i < n; i++)
        compare_element(&d, t, i, dtype_load(t, (const char *)want + i * width),
                        dtype_load(t, (const char *)have + i * width), tolerance);
    return d;
}
