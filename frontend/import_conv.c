// Convolution and pooling: windows that move over the spatial dimensions, those behind batch and channels.
#include <string.h>

#include "frontend/import_internal.h"

// Of each spatial dimension.
struct windows {
    int n;
    dim kernel[MAX_RANK], low[MAX_RANK], high[MAX_RANK];
    int64_t strides[MAX_RANK], dilations[MAX_RANK];
};

void node_steps(struct node *n, const char *name, int count, int64_t *out)
{
    struct ints list = node_ints(n, name);
    if (list.n && list.n != count)
        node_error(n, "'%s' has %d entries for %d spatial dimensions", name, list.n, count);
    for (int d = 0; d < count; d++) {
        out[d] = list.n == count ? list.v[d] : 1;
        if (out[d] < 1 || out[d] > INT32_MAX) {
            node_error(n, "'%s' holds %lld; entries are 1 to %d", name, (long long)out[d], INT32_MAX);
            for (; d < count; d++)
                out[d] = 1;
        }
    }
}

// From the first to the last element that a window touches.
static dim reach(struct module *m, const struct windows *w, int d)
{
    return dims_add(m, dims_mul(m, dims_sub(m, w->kernel[d], 1), w->dilations[d]), 1);
}

// As many windows as ceil(size / stride), the padding shared by both ends; the odd element goes to one of them.
static void pad_same(struct node *n, struct windows *w, const dim *sizes, bool upper)
{
    struct module *m = n->im->module;
    for (int d = 0; d < w->n; d++) {
        dim count = dims_ceildiv(m, sizes[d], w->strides[d]);
        dim last = dims_mul(m, dims_sub(m, count, 1), w->strides[d]);
        dim all = dims_max(m, dims_sub(m, dims_add(m, last, reach(m, w, d)), sizes[d]), 0);
        if (w->strides[d] == 1) // the size cancels, but not inside ceildiv
            all = dims_sub(m, reach(m, w, d), 1);
        dim half = dims_floordiv(m, all, 2), rest = dims_sub(m, all, half);
        w->low[d] = upper ? half : rest;
        w->high[d] = upper ? rest : half;
    }
}

static void read_pads(struct node *n, struct windows *w, const dim *sizes)
{
    const char *automatic = node_string(n, "auto_pad", "NOTSET");
    struct ints pads = node_ints(n, "pads");
    bool set = !strcmp(automatic, "NOTSET") || !*automatic;
    memset(w->low, 0, sizeof w->low);
    memset(w->high, 0, sizeof w->high);
    if (!strcmp(automatic, "SAME_UPPER") || !strcmp(automatic, "SAME_LOWER")) {
        pad_same(n, w, sizes, automatic[5] == 'U');
        return;
    }
    if (!set && strcmp(automatic, "VALID")) {
        node_error(n, "'auto_pad' must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not %s",
                   model_quote(n->im->model, automatic));
        return;
    }
    if (!set || !pads.n)
        return;
    if (pads.n != 2 * w->n) {
        node_error(n, "'pads' has %d entries; %d spatial dimensions have %d", pads.n, w->n, 2 * w->n);
        return;
    }
    for (int i = 0; i < pads.n; i++)
        if (pads.v[i] < 0 || pads.v[i] > INT32_MAX) {
            node_error(n, "'pads' holds %lld; entries are 0 to %d", (long long)pads.v[i], INT32_MAX);
            return;
        }
    memcpy(w->low, pads.v, sizeof(dim) * (size_t)w->n);
    memcpy(w->high, pads.v + w->n, sizeof(dim) * (size_t)w->n);
}

// Adds to the high padding what makes the last window whole, unless it would start behind the input.
static void round_up(struct node *n, struct windows *w, const dim *sizes)
{
    struct module *m = n->im->module;
    for (int d = 0; d < w->n; d++) {
        dim begun = dims_add(m, sizes[d], w->low[d]), padded = dims_add(m, begun, w->high[d]);
        dim count = dims_add(m, dims_ceildiv(m, dims_sub(m, padded, reach(m, w, d)), w->strides[d]), 1);
        count = dims_min(m, count, dims_ceildiv(m, begun, w->strides[d]));
        dim last = dims_mul(m, dims_sub(m, count, 1), w->strides[d]);
        w->high[d] = dims_sub(m, dims_add(m, last, reach(m, w, d)), begun);
    }
}

// ---- Convolution -----------------------------------------------------------------------------------------------

bool import_check_weights(struct node *n, const struct type *w)
{
    for (int d = 0; d < w->rank && !n->failed; d++)
        if (w->dims[d] == 0)
            node_error(n, "the weights %s are empty", type_string(&n->im->arena, n->im->module, w));
    return !n->failed;
}

static bool check_conv(struct node *n, const struct type *x, const struct type *w)
{
    struct import *im = n->im;
    if (x->dtype != w->dtype || !dtype_is_float(x->dtype))
        node_error(n, "input %s, %s, and the weights %s, %s, must be floats of one type",
                   model_quote(im->model, n->inputs[0]->name), dtype_info[x->dtype].name,
                   model_quote(im->model, n->inputs[1]->name), dtype_info[w->dtype].name);
    else if (x->rank < 3 || x->rank != w->rank)
        node_error(n, "input %s and the weights %s must have the same rank of at least 3",
                   type_string(&im->arena, im->module, x), type_string(&im->arena, im->module, w));
    return !n->failed && import_check_weights(n, w);
}

struct value *import_bias(struct node *n, enum dtype t, dim filters)
{
    struct value *bias = node_input(n, 2);
    if (bias->type->rank != 1 || bias->type->dtype != t) {
        node_error(n, "the bias %s must be a list of %s, not %s", model_quote(n->im->model, n->inputs[2]->name),
                   dtype_info[t].name, type_string(&n->im->arena, n->im->module, bias->type));
        return NULL;
    }
    return import_match(n, bias, 0, filters);
}

void import_op_conv(struct node *n)
{
    struct import *im = n->im;
    struct module *m = im->module;
    struct value *x = node_input(n, 0), *w = node_input(n, 1);
    int64_t groups = node_int(n, "group", 1);
    struct ints kernel = node_ints(n, "kernel_shape");
    struct windows windows = {.n = x->type->rank - 2};
    if (!check_conv(n, x->type, w->type))
        return;
    node_steps(n, "strides", windows.n, windows.strides);
    node_steps(n, "dilations", windows.n, windows.dilations);
    memcpy(windows.kernel, w->type->dims + 2, sizeof(dim) * (size_t)windows.n);
    bool fits = !kernel.n || kernel.n == windows.n;
    for (int d = 0; d < kernel.n && fits; d++)
        fits = windows.kernel[d] == kernel.v[d];
    if (!fits)
        node_error(n, "'kernel_shape' is not that of the weights, %s", type_string(&im->arena, m, w->type));
    read_pads(n, &windows, x->type->dims + 2);
    if (groups < 1 || groups > INT32_MAX)
        node_error(n, "'group' is %lld; it must be positive", (long long)groups);
    if (n->failed || !import_assert_divides(n, w->type->dims[0], groups))
        return;
    dim channels = import_agree(n, x->type->dims[1], dims_mul(m, w->type->dims[1], groups));
    if (channels == DIM_UNKNOWN)
        return;
    x = import_match(n, x, 1, dims_mul(m, w->type->dims[1], groups));
    dim pads[2 * MAX_RANK];
    memcpy(pads, windows.low, sizeof(dim) * (size_t)windows.n);
    memcpy(pads + windows.n, windows.high, sizeof(dim) * (size_t)windows.n);
    struct attr attrs[] = {{ATTR_STRIDES, {.ints = {windows.n, windows.strides}}},
                           {ATTR_DILATIONS, {.ints = {windows.n, windows.dilations}}},
                           {ATTR_PADS, {.dims = {2 * windows.n, pads}}},
                           {ATTR_GROUPS, {.i = groups}}};
    struct value *y = build_value(&im->b, OP_CONV, 2, (struct value *[]){x, w}, 4, attrs, NULL);
    if (node_has_input(n, 2)) {
        struct value *bias = import_bias(n, x->type->dtype, w->type->dims[0]);
        dim dims[MAX_RANK] = {1, w->type->dims[0], 1, 1, 1, 1, 1, 1};
        y = bias ? import_binary(n, OP_ADD, y, import_reshape(im, bias, x->type->rank, dims)) : NULL;
    }
    node_output(n, 0, y);
}

// ---- Pooling ---------------------------------------------------------------------------------------------------

static bool read_windows(struct node *n, struct windows *w)
{
    const struct type *x = node_type(n, 0);
    struct ints kernel = node_ints(n, "kernel_shape");
    *w = (struct windows){.n = x->rank - 2};
    if (x->rank < 3) {
        node_error(n, "input %s has no spatial dimensions", type_string(&n->im->arena, n->im->module, x));
        return false;
    }
    if (x->dtype == DTYPE_I1) {
        node_error(n, "is not defined for %s", dtype_info[x->dtype].name);
        return false;
    }
    node_steps(n, "strides", w->n, w->strides);
    node_steps(n, "dilations", w->n, w->dilations);
    int64_t sizes[MAX_RANK];
    node_steps(n, "kernel_shape", w->n, sizes);
    if (!kernel.n)
        node_error(n, "'kernel_shape' is empty");
    memcpy(w->kernel, sizes, sizeof(dim) * (size_t)w->n);
    read_pads(n, w, x->dims + 2);
    return !n->failed;
}

// In a type that may be wider than that of the elements.
static struct value *window_reduce(struct node *n, enum opcode combine, struct value *x, const struct windows *w,
                                   enum dtype t)
{
    int rank = x->type->rank;
    dim pads[2 * MAX_RANK] = {0};
    int64_t sizes[MAX_RANK] = {1, 1}, strides[MAX_RANK] = {1, 1}, dilations[MAX_RANK] = {1, 1};
    for (int d = 0; d < w->n; d++) {
        sizes[2 + d] = w->kernel[d];
        strides[2 + d] = w->strides[d];
        dilations[2 + d] = w->dilations[d];
        pads[2 + d] = w->low[d];
        pads[rank + 2 + d] = w->high[d];
    }
    struct attr attrs[] = {{ATTR_COMBINE, {.opcode = combine}},       {ATTR_SIZES, {.ints = {rank, sizes}}},
                           {ATTR_STRIDES, {.ints = {rank, strides}}}, {ATTR_DILATIONS, {.ints = {rank, dilations}}},
                           {ATTR_PADS, {.dims = {2 * rank, pads}}},   {ATTR_TO, {.dtype = t}}};
    return build_value(&n->im->b, OP_WINDOW_REDUCE, 1, &x, t == x->type->dtype ? 5 : 6, attrs, NULL);
}

void import_op_max_pool(struct node *n)
{
    struct windows w;
    if (!read_windows(n, &w))
        return;
    if (node_int(n, "ceil_mode", 0))
        round_up(n, &w, node_type(n, 0)->dims + 2);
    if (node_wants(n, 1))
        node_error(n, "the indices of the maxima, output 2, are not supported; leave them out if nothing needs them");
    else
        node_output(n, 0, window_reduce(n, OP_MAX, node_input(n, 0), &w, node_type(n, 0)->dtype));
}

// How many elements each window holds: those of ones, padded or not.
static struct value *window_counts(struct node *n, const struct type *t, const struct windows *given,
                                   const struct windows *w, bool count_padding)
{
    struct import *im = n->im;
    struct windows rest = *w;
    dim dims[MAX_RANK] = {1, 1};
    for (int d = 0; d < w->n; d++) {
        dims[2 + d] = t->dims[2 + d];
        if (!count_padding)
            continue;
        dims[2 + d] = dims_add(im->module, dims[2 + d], dims_add(im->module, given->low[d], given->high[d]));
        rest.low[d] = 0;
        rest.high[d] = dims_sub(im->module, w->high[d], given->high[d]);
    }
    enum dtype wide = import_wide(t->dtype);
    struct value *ones = import_constant(im, type_tensor(im->module, wide, t->rank, dims), 1);
    return window_reduce(n, OP_ADD, ones, &rest, wide);
}

void import_op_average_pool(struct node *n)
{
    struct windows w, given;
    if (!read_windows(n, &w))
        return;
    struct value *x = node_input(n, 0);
    bool count_padding = node_int(n, "count_include_pad", 0), padded = false, rounded = node_int(n, "ceil_mode", 0);
    double size = 1;
    given = w;
    if (!dtype_is_float(x->type->dtype)) {
        node_error(n, "is defined for floats, not %s", dtype_info[x->type->dtype].name);
        return;
    }
    for (int d = 0; d < w.n; d++) {
        padded |= w.low[d] || w.high[d];
        size *= (double)w.kernel[d];
    }
    if (rounded)
        round_up(n, &w, x->type->dims + 2);
    bool whole = !rounded && (count_padding || !padded); // every window holds as many
    enum dtype t = x->type->dtype, wide = import_wide(t);
    struct value *sum = window_reduce(n, OP_ADD, x, &w, wide);
    struct value *count = whole ? import_number(n, wide, size) : window_counts(n, x->type, &given, &w, count_padding);
    node_output(n, 0, import_cast(n->im, import_binary(n, OP_DIV, sum, count), t));
}

void import_op_global_pool(struct node *n)
{
    const struct type *t = node_type(n, 0);
    enum opcode code = (enum opcode)n->row->parameter;
    bool axes[MAX_RANK] = {false};
    double count = 1;
    dim all = 1;
    int64_t constant;
    if (t->rank < 3 || !dtype_is_float(t->dtype)) {
        node_error(n, "input %s must be floats with spatial dimensions", type_string(&n->im->arena, n->im->module, t));
        return;
    }
    for (int d = 2; d < t->rank; d++) {
        axes[d] = true;
        all = dims_mul(n->im->module, all, t->dims[d]);
    }
    enum dtype wide = code == OP_ADD ? import_wide(t->dtype) : t->dtype;
    struct value *y = import_reduce(n->im, code, import_cast(n->im, node_input(n, 0), wide), axes), *divisor;
    if (code == OP_ADD) {
        if (dims_to_int(n->im->module, all, &constant)) {
            count = (double)constant;
            divisor = import_number(n, wide, count);
        } else {
            divisor = import_size(n->im, all, wide);
        }
        y = import_binary(n, OP_DIV, y, divisor);
    }
    node_output(n, 0, import_cast(n->im, y, t->dtype));
}

// x / (bias + alpha / size * sum of squares over `size` channels around each)^beta, the channels being positions of a
// window.
void import_op_lrn(struct node *n)
{
    struct import *im = n->im;
    struct module *m = im->module;
    const struct type *t = node_type(n, 0);
    enum dtype f = import_wide(t->dtype);
    int64_t size = node_int(n, "size", 1);
    if (t->rank < 2 || !dtype_is_float(t->dtype))
        node_error(n, "input %s must be floats with channels", type_string(&im->arena, m, t));
    else if (size < 1 || size > INT32_MAX)
        node_error(n, "'size' is %lld; it must be positive", (long long)size);
    if (n->failed)
        return;
    struct value *x = import_cast(im, node_input(n, 0), f), *square = import_binary(n, OP_MUL, x, x);
    dim dims[4] = {t->dims[0], 1, t->dims[1], dims_product(m, t->rank - 2, t->dims + 2)};
    struct windows w = {.n = 2, .kernel = {size, 1}, .low = {(size - 1) / 2}, .high = {size / 2}};
    for (int d = 0; d < w.n; d++)
        w.strides[d] = w.dilations[d] = 1;
    struct value *sum = window_reduce(n, OP_ADD, import_reshape(im, square, 4, dims), &w, f);
    sum = import_reshape(im, sum, t->rank, t->dims);
    double alpha = node_float(n, "alpha", (double)1e-4f) / (double)size;
    struct value *base = import_binary(n, OP_MUL, sum, import_number(n, f, alpha));
    base = import_binary(n, OP_ADD, base, import_number(n, f, node_float(n, "bias", 1)));
    struct value *scale = import_binary(n, OP_POW, base, import_number(n, f, -node_float(n, "beta", 0.75)));
    node_output(n, 0, import_cast(im, import_binary(n, OP_MUL, x, scale), t->dtype));
}
