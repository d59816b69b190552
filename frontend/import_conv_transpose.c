// ConvTranspose, as convolutions with steps of 1.
//
// Element i of x adds x[i] * w[k] to element i * stride + k * dilation - low of the result. Elements of the result that
// are `stride` apart are sums of neighbours of x with every stride-th weight. So with o = q * stride + phase - begin
//
//     y[o] = sum over t of x[q + t - before] * v[phase][t],    v[phase][t] = w[(taps - 1 - t) * stride + phase - shift]
//
// which is a convolution with more filters, one for each phase, weights of 0 where w has none, and the phases of its
// result side by side afterwards. `begin` elements in front are not wanted; they are there where fewer taps do then.
// Where one tap does along every axis, as with strides as large as the window, it is a product.
#include <string.h>

#include "frontend/import_internal.h"

struct upsampled_axis {
    int64_t kernel, stride, dilation;
    dim in, out;
    int64_t more; // out = in * stride + more
    int64_t low;
    int64_t taps, before, shift, begin;
    int64_t blocks; // in + blocks of them, of `stride` elements of the result each
};

struct conv_transpose {
    struct node *n;
    int n_axes;
    int64_t groups, phases;
    bool phases_first; // filters count phases, then channels; else channels, then phases
    struct upsampled_axis axes[MAX_RANK];
};

static int64_t floor_of(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t ceil_of(int64_t a, int64_t b)
{
    return -floor_of(-a, b);
}

// From the first to the last element of the window.
static int64_t reach(const struct upsampled_axis *a)
{
    return (a->kernel - 1) * a->dilation + 1;
}

// ---- Reading ---------------------------------------------------------------------------------------------------

// What is cut off where the result's size is given: the part at the low end.
static int64_t share(int64_t all, bool upper)
{
    if (all < 0) // more than there is: 0s at the high end
        return 0;
    return upper ? all / 2 : all - all / 2;
}

static void set_size(struct node *n, struct upsampled_axis *a)
{
    struct module *m = n->im->module;
    a->out = dims_add(m, dims_mul(m, a->in, a->stride), dims_from_int(m, a->more));
    import_assert_size(n, a->out);
}

// The result of `given` elements; all of them would be `most` more than the strides are.
static void fit(struct node *n, struct upsampled_axis *a, int64_t given, int64_t most, bool upper)
{
    int64_t in;
    if (!dims_to_int(n->im->module, a->in, &in)) {
        node_error(n, "'output_shape' needs a constant size of the input, not %s",
                   dim_string(&n->im->arena, n->im->module, a->in));
        return;
    }
    a->more = given - in * a->stride;
    a->low = share(most - a->more, upper);
}

static void read_padding(struct conv_transpose *c)
{
    struct node *n = c->n;
    const char *automatic = node_string(n, "auto_pad", "NOTSET");
    struct ints pads = node_ints(n, "pads"), added = node_ints(n, "output_padding"), out = node_ints(n, "output_shape");
    bool same = !strncmp(automatic, "SAME_", 5), upper = !strcmp(automatic, "SAME_UPPER");
    bool set = !strcmp(automatic, "NOTSET") || !*automatic;
    if (!set && !upper && strcmp(automatic, "SAME_LOWER") && strcmp(automatic, "VALID"))
        node_error(n, "'auto_pad' must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not %s",
                   model_quote(n->im->model, automatic));
    if ((pads.n && pads.n != 2 * c->n_axes) || (added.n && added.n != c->n_axes) || (out.n && out.n != c->n_axes))
        node_error(n, "'pads', 'output_padding' or 'output_shape' does not fit %d spatial dimensions", c->n_axes);
    for (int d = 0; d < c->n_axes && !n->failed; d++) {
        struct upsampled_axis *a = &c->axes[d];
        int64_t most = reach(a) - a->stride + (added.n ? added.v[d] : 0);
        int64_t low = pads.n && set ? pads.v[d] : 0, high = pads.n && set ? pads.v[c->n_axes + d] : 0;
        if (low < 0 || high < 0 || low > INT32_MAX || high > INT32_MAX || (added.n && added.v[d] < 0) ||
            (added.n && added.v[d] > INT32_MAX) || (out.n && (out.v[d] < 0 || out.v[d] > INT32_MAX))) {
            node_error(n, "'pads', 'output_padding' or 'output_shape' holds an entry that is out of range");
        } else if (out.n) {
            fit(n, a, out.v[d], most, upper);
        } else if (same) {
            a->low = share(most, upper);
        } else {
            a->low = low;
            a->more = most - low - high;
        }
        set_size(n, a);
    }
}

static bool read(struct node *n, struct conv_transpose *c)
{
    struct import *im = n->im;
    const struct type *x = node_type(n, 0), *w = node_type(n, 1);
    struct ints kernel = node_ints(n, "kernel_shape");
    int64_t strides[MAX_RANK], dilations[MAX_RANK];
    *c = (struct conv_transpose){.n = n, .n_axes = x->rank - 2, .groups = node_int(n, "group", 1), .phases = 1};
    if (x->dtype != w->dtype || !dtype_is_float(x->dtype) || x->rank < 3 || x->rank != w->rank) {
        node_error(n, "input %s and the weights %s must be floats of one type, and of the same rank of at least 3",
                   type_string(&im->arena, im->module, x), type_string(&im->arena, im->module, w));
        return false;
    }
    if (!import_check_weights(n, w))
        return false;
    node_steps(n, "strides", c->n_axes, strides);
    node_steps(n, "dilations", c->n_axes, dilations);
    if (c->groups < 1 || c->groups > INT32_MAX)
        node_error(n, "'group' is %lld; it must be positive", (long long)c->groups);
    for (int d = 0; d < c->n_axes; d++) {
        struct upsampled_axis *a = &c->axes[d];
        *a = (struct upsampled_axis){.stride = strides[d], .dilation = dilations[d], .in = x->dims[2 + d]};
        if (!dims_to_int(im->module, w->dims[2 + d], &a->kernel) || a->kernel < 1 || a->kernel > INT32_MAX)
            node_error(n, "the spatial sizes of the weights, %s, must be constant and positive",
                       type_string(&im->arena, im->module, w));
        else if (kernel.n && (kernel.n != c->n_axes || kernel.v[d] != a->kernel))
            node_error(n, "'kernel_shape' is not that of the weights, %s", type_string(&im->arena, im->module, w));
        if (n->failed)
            return false;
        c->phases *= a->stride;
        if (a->dilation * a->kernel > 1 << 20 || c->phases > 1 << 20) {
            node_error(n, "strides or dilations are too large");
            return false;
        }
    }
    c->phases_first = c->groups == 1;
    read_padding(c);
    return !n->failed;
}

// ---- Weights ---------------------------------------------------------------------------------------------------

// The taps that all phases together have, if `begin` elements are dropped: they are of x[q + least ..].
static int64_t count_taps(const struct upsampled_axis *a, int64_t begin, int64_t *least)
{
    int64_t last = ceil_of(a->low - begin, a->stride);
    *least = floor_of(a->low - begin - reach(a) + a->stride, a->stride);
    return last - *least + 1;
}

static void choose_phases(struct upsampled_axis *a)
{
    int64_t least;
    if (a->stride == 1) { // one phase: a convolution with the window mirrored
        a->taps = a->kernel;
        a->before = reach(a) - 1 - a->low;
        a->blocks = a->more;
        return;
    }
    a->taps = INT64_MAX;
    for (int64_t begin = 0; begin < a->stride; begin++)
        if (count_taps(a, begin, &least) < a->taps) {
            a->begin = begin;
            a->taps = count_taps(a, begin, &least);
            a->before = -least;
        }
    a->shift = ceil_of(a->low - a->begin, a->stride) * a->stride - (a->low - a->begin);
    a->blocks = ceil_of(a->more + a->begin, a->stride);
}

static struct value *pad_axis(struct node *n, struct value *v, int axis, int64_t low, int64_t high)
{
    struct module *m = n->im->module;
    int rank = v->type->rank;
    dim lows[MAX_RANK] = {0}, highs[MAX_RANK] = {0};
    lows[axis] = dims_from_int(m, low);
    highs[axis] = dims_from_int(m, high);
    struct attr attrs[] = {{ATTR_LOW, {.dims = {rank, lows}}}, {ATTR_HIGH, {.dims = {rank, highs}}}};
    return low || high ? build_value(&n->im->b, OP_PAD, 1, &v, 2, attrs, NULL) : v;
}

// [.., n, ..] as [.., n / parts, parts, ..].
static struct value *split(struct node *n, struct value *v, int axis, int64_t parts)
{
    dim dims[MAX_RANK];
    int rank = v->type->rank;
    memcpy(dims, v->type->dims, sizeof(dim) * (size_t)(axis + 1));
    memcpy(dims + axis + 1, v->type->dims + axis, sizeof(dim) * (size_t)(rank - axis));
    dims[axis] = dims_exact(n->im->module, v->type->dims[axis], parts);
    dims[axis + 1] = parts;
    return import_reshape(n->im, v, rank + 1, dims);
}

// [.., a, b, ..] as [.., a * b, ..].
static struct value *join(struct node *n, struct value *v, int axis)
{
    dim dims[MAX_RANK];
    int rank = v->type->rank;
    memcpy(dims, v->type->dims, sizeof dims);
    dims[axis] = dims_mul(n->im->module, dims[axis], dims[axis + 1]);
    memmove(dims + axis + 1, v->type->dims + axis + 2, sizeof(dim) * (size_t)(rank - axis - 2));
    return import_reshape(n->im, v, rank - 1, dims);
}

static struct value *move(struct node *n, struct value *v, int from, int to)
{
    int64_t axes[MAX_RANK];
    for (int d = 0, next = 0; d < v->type->rank; d++) {
        if (next == from)
            next++;
        axes[d] = d == to ? from : next++;
    }
    return import_transpose(n->im, v, axes);
}

// 0s between the weights, as a dilation has them.
static struct value *dilate(struct node *n, struct value *v, int axis, int64_t dilation)
{
    int rank = v->type->rank;
    dim dims[MAX_RANK], size = v->type->dims[axis];
    if (dilation == 1)
        return v;
    memcpy(dims, v->type->dims, sizeof dims);
    v = pad_axis(n, split(n, v, axis, 1), axis + 1, 0, dilation - 1);
    dims[axis] = size * dilation;
    v = import_reshape(n->im, v, rank, dims);
    return import_slice_axis(n->im, v, axis, 0, 1, (size - 1) * dilation + 1);
}

// One axis of the weights: its phases, behind those of axes before it at `phases`, and its taps in reverse.
static struct value *arrange_axis(struct node *n, struct value *v, const struct upsampled_axis *a, int axis, int phases)
{
    if (a->stride > 1) {
        v = dilate(n, v, axis, a->dilation);
        v = pad_axis(n, v, axis, a->shift, a->taps * a->stride - reach(a) - a->shift);
        v = move(n, split(n, v, axis, a->stride), axis + 1, phases + 1);
        v = join(n, v, phases);
    }
    return a->taps == 1 ? v : import_slice_axis(n->im, v, axis, a->taps - 1, -1, a->taps);
}

// [C, M, k ..] as [C, phases, M, taps ..] or [C, M, phases, taps ..].
static struct value *arrange_weights(struct conv_transpose *c, struct value *w)
{
    int phases = c->phases_first ? 1 : 2;
    w = move(c->n, split(c->n, w, 1, 1), 2, phases);
    for (int d = 0; d < c->n_axes; d++)
        w = arrange_axis(c->n, w, &c->axes[d], 3 + d, phases);
    return w;
}

// As those of a convolution: [g, C / g, filters, ..] as [g * filters, C / g, ..].
static struct value *filters_first(struct conv_transpose *c, struct value *w)
{
    struct module *m = c->n->im->module;
    dim dims[MAX_RANK] = {c->groups, dims_floordiv(m, w->type->dims[0], c->groups),
                          dims_mul(m, w->type->dims[1], w->type->dims[2])};
    memcpy(dims + 3, w->type->dims + 3, sizeof(dim) * (size_t)c->n_axes);
    w = import_reshape(c->n->im, w, 3 + c->n_axes, dims);
    return join(c->n, move(c->n, w, 2, 1), 0);
}

// ---- The result ------------------------------------------------------------------------------------------------

static bool is_upsampled(const struct upsampled_axis *a)
{
    return a->stride > 1;
}

// Drops what is not wanted, in front and behind.
static struct value *crop(struct conv_transpose *c, struct value *y, int first)
{
    dim starts[MAX_RANK] = {0}, sizes[MAX_RANK];
    static const int64_t steps[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    memcpy(sizes, y->type->dims, sizeof sizes);
    for (int d = 0; d < c->n_axes; d++) {
        starts[first + d] = c->axes[d].begin;
        sizes[first + d] = c->axes[d].out;
    }
    return import_slice(c->n->im, y, starts, steps, sizes);
}

// Along every axis one tap, of the element itself.
static bool is_product(const struct conv_transpose *c)
{
    bool product = c->groups == 1 && c->phases > 1 && c->n_axes <= 2;
    for (int d = 0; d < c->n_axes; d++)
        product &= c->axes[d].taps == 1 && c->axes[d].before == 0 && c->axes[d].blocks == 0;
    return product;
}

// [N, C, in ..] and [C, phases, M, 1 ..] give [N, in, phases, in, phases .., M], with the channels last since they are
// what the factors have side by side.
static struct value *multiply(struct conv_transpose *c, struct value *x, struct value *w, struct value *bias)
{
    struct import *im = c->n->im;
    char labels[64] = "nc", *p = labels + 2;
    dim split_sizes[MAX_RANK] = {w->type->dims[0]}, dims[MAX_RANK] = {x->type->dims[0]};
    int rank = 1;
    for (int d = 0; d < c->n_axes; d++)
        *p++ = (char)('d' + d);
    p = stpcpy(p, ",c");
    for (int d = 0; d < c->n_axes; d++)
        if (is_upsampled(&c->axes[d])) {
            split_sizes[rank++] = c->axes[d].stride;
            *p++ = (char)('p' + d);
        }
    split_sizes[rank++] = w->type->dims[2];
    p = stpcpy(p, "m->n");
    for (int d = 0; d < c->n_axes; d++) {
        *p++ = (char)('d' + d);
        if (is_upsampled(&c->axes[d]))
            *p++ = (char)('p' + d);
        dims[1 + d] = dims_mul(im->module, c->axes[d].in, c->axes[d].stride);
    }
    stpcpy(p, "m");
    w = import_reshape(im, w, rank, split_sizes);
    struct attr attr = {ATTR_LABELS, {.string = arena_strdup(&im->module->arena, labels)}};
    struct value *y = build_value(&im->b, OP_EINSUM, 2, (struct value *[]){x, w}, 1, &attr, NULL);
    if (bias)
        y = import_binary(c->n, OP_ADD, y, bias);
    dims[1 + c->n_axes] = split_sizes[rank - 1];
    y = import_reshape(im, y, 2 + c->n_axes, dims);
    return crop(c, move(c->n, y, 1 + c->n_axes, 1), 2);
}

static struct value *convolve(struct conv_transpose *c, struct value *x, struct value *w)
{
    struct module *m = c->n->im->module;
    int n = c->n_axes;
    dim pads[2 * MAX_RANK];
    int64_t strides[MAX_RANK], dilations[MAX_RANK];
    for (int d = 0; d < n; d++) {
        const struct upsampled_axis *a = &c->axes[d];
        strides[d] = 1;
        dilations[d] = a->stride == 1 ? a->dilation : 1;
        pads[d] = dims_from_int(m, a->before);
        pads[n + d] = dims_from_int(m, a->blocks + (a->taps - 1) * dilations[d] - a->before);
    }
    struct attr attrs[] = {{ATTR_STRIDES, {.ints = {n, strides}}},
                           {ATTR_DILATIONS, {.ints = {n, dilations}}},
                           {ATTR_PADS, {.dims = {2 * n, pads}}},
                           {ATTR_GROUPS, {.i = c->groups}}};
    return build_value(&c->n->im->b, OP_CONV, 2, (struct value *[]){x, w}, 4, attrs, NULL);
}

// The bias of all filters.
static struct value *repeat_bias(struct conv_transpose *c, struct value *bias, dim filters)
{
    struct import *im = c->n->im;
    dim dims[MAX_RANK] = {filters, 1, 1, 1, 1, 1, 1, 1}, channels = bias->type->dims[0];
    if (c->phases > 1 && c->phases_first)
        bias = import_broadcast_to(im, bias, 2, (dim[]){c->phases, channels});
    else if (c->phases > 1)
        bias = import_broadcast_to(im, split(c->n, bias, 0, 1), 2, (dim[]){channels, c->phases});
    return import_reshape(im, bias, 1 + c->n_axes, dims);
}

// [N, phases .. M, blocks ..] or [N, M, phases .., blocks ..] as [N, M, blocks * phases ..].
static struct value *interleave(struct conv_transpose *c, struct value *y, dim channels)
{
    int first = c->phases_first ? 1 : 2, rank = 1, upsampled = 0;
    dim dims[MAX_RANK] = {y->type->dims[0]};
    if (!c->phases_first)
        dims[rank++] = channels;
    for (int d = 0; d < c->n_axes; d++)
        if (is_upsampled(&c->axes[d])) {
            dims[rank++] = c->axes[d].stride;
            upsampled++;
        }
    if (c->phases_first)
        dims[rank++] = channels;
    memcpy(dims + rank, y->type->dims + 2, sizeof(dim) * (size_t)c->n_axes);
    y = import_reshape(c->n->im, y, rank + c->n_axes, dims);
    // The phases, behind their blocks one after the other: the first of those left is always at `first`.
    int64_t axes[MAX_RANK] = {0, c->phases_first ? 1 + upsampled : 1};
    dim joined[MAX_RANK] = {dims[0], channels};
    int at = 2, phase = first;
    for (int d = 0; d < c->n_axes; d++) {
        axes[at++] = 2 + upsampled + d;
        if (is_upsampled(&c->axes[d]))
            axes[at++] = phase++;
        joined[2 + d] = dims_mul(c->n->im->module, y->type->dims[2 + upsampled + d], c->axes[d].stride);
    }
    return import_reshape(c->n->im, import_transpose(c->n->im, y, axes), 2 + c->n_axes, joined);
}

void import_op_conv_transpose(struct node *n)
{
    struct import *im = n->im;
    struct module *m = im->module;
    struct conv_transpose c;
    struct value *bias = NULL;
    if (!read(n, &c))
        return;
    const struct type *t = node_type(n, 1);
    dim channels = dims_mul(m, t->dims[1], c.groups);
    struct value *x = import_match(n, node_input(n, 0), 1, t->dims[0]), *w = node_input(n, 1);
    if (!x || !import_assert_divides(n, t->dims[0], c.groups))
        return;
    if (node_has_input(n, 2) && !(bias = import_bias(n, t->dtype, channels)))
        return;
    for (int d = 0; d < c.n_axes; d++)
        choose_phases(&c.axes[d]);
    w = arrange_weights(&c, w);
    if (is_product(&c)) {
        node_output(n, 0, multiply(&c, x, w, bias));
        return;
    }
    struct value *y = convolve(&c, x, filters_first(&c, w));
    if (bias)
        y = import_binary(n, OP_ADD, y, repeat_bias(&c, bias, y->type->dims[1]));
    if (c.phases > 1)
        y = interleave(&c, y, channels);
    node_output(n, 0, crop(&c, y, 2));
}
