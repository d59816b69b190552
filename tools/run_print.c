// The results of a run as text and as JSON.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>

#include "codegen/data_type.h"
#include "ir/dtype.h"
#include "tools/json.h"
#include "tools/run_model.h"

struct summary {
    int64_t n, nans;
    union scalar least, most;
};

static struct summary summarize(enum dtype t, const tg_tensor *x)
{
    struct summary sum = {.n = 1};
    for (int d = 0; d < x->ndim; d++)
        sum.n *= x->shape[d];
    bool any = false;
    for (int64_t i = 0; i < sum.n; i++) {
        union scalar v = dtype_load(t, (const char *)x->data + i * dtype_bytes(t));
        if (dtype_is_float(t) && isnan(v.f)) {
            sum.nans++;
            continue;
        }
        bool below = dtype_is_float(t)    ? v.f < sum.least.f
                     : dtype_is_signed(t) ? v.i < sum.least.i
                                          : (uint64_t)v.i < (uint64_t)sum.least.i;
        bool above = dtype_is_float(t)    ? v.f > sum.most.f
                     : dtype_is_signed(t) ? v.i > sum.most.i
                                          : (uint64_t)v.i > (uint64_t)sum.most.i;
        if (below || !any)
            sum.least = v;
        if (above || !any)
            sum.most = v;
        any = true;
    }
    return sum;
}

static void print_number(enum dtype t, union scalar v)
{
    if (dtype_is_float(t))
        printf("%.9g", v.f);
    else if (dtype_is_signed(t))
        printf("%" PRId64, v.i);
    else
        printf("%" PRIu64, (uint64_t)v.i);
}

// JSON has no infinities.
static void print_json_number(enum dtype t, union scalar v)
{
    if (dtype_is_float(t) && !isfinite(v.f))
        fputs(v.f > 0 ? "\"inf\"" : "\"-inf\"", stdout);
    else
        print_number(t, v);
}

void run_print_name(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int n = *c < ' ' || *c == 0x7f ? 0 : utf8_length(c);
        if (n)
            printf("%.*s", n, (const char *)c);
        else
            printf("\\x%02x", *c);
        c += n ? n : 1;
    }
}

static double peak_mb(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (double)usage.ru_maxrss / 1024;
}

static double percentile(const struct run_results *r, double p)
{
    return r->run_ms[(int64_t)ceil(p * (double)r->n_runs) - 1];
}

static double median(const struct run_results *r)
{
    int64_t n = r->n_runs;
    return (r->run_ms[(n - 1) / 2] + r->run_ms[n / 2]) / 2;
}

void run_print_text(const struct run_results *r)
{
    for (int i = 0; i < r->code->n_outputs; i++) {
        enum dtype t = data_type_dtype(r->code->outputs[i].dtype);
        struct summary sum = summarize(t, &r->out[i]);
        run_print_name(r->code->outputs[i].name);
        printf(": %s [", dtype_info[t].name);
        for (int d = 0; d < r->out[i].ndim; d++)
            printf("%s%" PRId64, d ? ", " : "", r->out[i].shape[d]);
        printf("]");
        if (sum.nans < sum.n) {
            putchar(' ');
            print_number(t, sum.least);
            fputs("..", stdout);
            print_number(t, sum.most);
        } else {
            printf(sum.n ? " all nan" : " empty");
        }
        printf(sum.nans ? ", %" PRId64 " nan\n" : "\n", sum.nans);
    }
    if (r->n_runs)
        printf("min_ms %.4f median_ms %.4f p99_ms %.4f load_ms %.2f peak_rss_mb %.1f%s\n", r->run_ms[0], median(r),
               percentile(r, 0.99), r->load.ms, peak_mb(), r->load.cached ? " cached" : "");
    if (r->watch)
        r->watch->print(r->watch->data, false);
}

void run_print_json(const struct run_results *r)
{
    printf("{\"outputs\": [");
    for (int i = 0; i < r->code->n_outputs; i++) {
        enum dtype t = data_type_dtype(r->code->outputs[i].dtype);
        struct summary sum = summarize(t, &r->out[i]);
        printf("%s{\"name\": ", i ? ", " : "");
        json_string(stdout, r->code->outputs[i].name);
        printf(", \"dtype\": \"%s\", \"shape\": [", dtype_info[t].name);
        for (int d = 0; d < r->out[i].ndim; d++)
            printf("%s%" PRId64, d ? ", " : "", r->out[i].shape[d]);
        printf("], \"nan\": %" PRId64, sum.nans);
        if (sum.nans < sum.n) {
            fputs(", \"min\": ", stdout);
            print_json_number(t, sum.least);
            fputs(", \"max\": ", stdout);
            print_json_number(t, sum.most);
        }
        printf("}");
    }
    printf("], \"target\": ");
    json_string(stdout, r->target);
    printf(", \"load_ms\": %.3f, \"cached\": %s, \"peak_rss_mb\": %.1f", r->load.ms, r->load.cached ? "true" : "false",
           peak_mb());
    if (r->n_runs)
        printf(", \"runs\": %" PRId64 ", \"min_ms\": %.4f, \"median_ms\": %.4f, \"p99_ms\": %.4f", r->n_runs,
               r->run_ms[0], median(r), percentile(r, 0.99));
    if (r->watch)
        r->watch->print(r->watch->data, true);
    printf("}\n");
}
