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

double check_distance(enum dtype t, union scalar x, union scalar y, double tolerance)
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
