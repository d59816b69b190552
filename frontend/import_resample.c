// Elements between those of a tensor, for Resize.
//
// Axis after axis: position i of the result lies at the coordinate
//
//     x = (i + shift) * times / over + plus
//
// of the operand, and is a sum of the elements around x with weights: `take`s by vectors of indices, multiplied by
// vectors. Both are computed by operations, which fold where sizes are known. All arithmetic on coordinates is of f32,
// as elsewhere: where two elements are equally near, rounding decides.
//
// The nearest element needs no weights; where the indices are i / factor or start + i * step, it needs no `take`. With
// `antialias`, where many elements are summed, the sum is a product with a matrix.
#include <math.h>
#include <string.h>

#include "frontend/import_resample.h"

// ---- Arithmetic ------------------------------------------------------------------------------------------------

struct real real_known(double x)
{
    return (struct real){.known = true, .x = (float)x};
}

static struct value *scalar(struct node *n, struct real a)
{
    return a.known ? import_number(n, DTYPE_F32, (double)a.x) : a.v;
}

struct real real_size(struct node *n, dim d)
{
    int64_t constant;
    if (dims_to_int(n->im->module, d, &constant))
        return real_known((double)constant);
    return (struct real){.v = build_cast(&n->im->b, DTYPE_F32, dims_build(&n->im->b, d))};
}

struct real real_arithmetic(struct node *n, enum opcode code, struct real a, struct real b)
{
    if (!a.known || !b.known)
        return (struct real){.v = build_binary(&n->im->b, code, scalar(n, a), scalar(n, b))};
    switch (code) {
    case OP_ADD:
        return real_known(a.x + b.x);
    case OP_SUB:
        return real_known(a.x - b.x);
    case OP_MUL:
        return real_known(a.x * b.x);
    case OP_DIV:
        return real_known(a.x / b.x);
    case OP_MIN:
        return a.x < b.x ? a : b;
    default: // OP_MAX
        return a.x > b.x ? a : b;
    }
}

// A tensor and a number.
static struct value *with(struct node *n, enum opcode code, struct value *v, struct real a)
{
    bool nothing = a.known && (((code == OP_ADD || code == OP_SUB) && a.x == 0) ||
                               ((code == OP_MUL || code == OP_DIV) && a.x == 1));
    return nothing ? v : import_binary(n, code, v, scalar(n, a));
}

// ---- Coordinates -----------------------------------------------------------------------------------------------

struct line {
    struct real shift, times, over, plus;
};

static struct line line_of(const struct resize *r, const struct resized_axis *a)
{
    struct node *n = r->n;
    struct real zero = real_known(0), one = real_known(1), half = real_known(0.5);
    struct real last = real_arithmetic(n, OP_SUB, real_size(n, a->in), one);
    // Between the first and the last position; a single one is the first.
    struct real steps = real_arithmetic(n, OP_SUB, a->length, one);
    if (!steps.known || steps.x <= 0)
        steps = real_arithmetic(n, OP_MAX, steps, one);
    // 0 where the result has one element, else 1.
    struct real many = one;
    if (dims_may_be_one(n->im->module, a->out))
        many = real_arithmetic(n, OP_MIN, real_arithmetic(n, OP_SUB, real_size(n, a->out), one), one);
    switch (r->coordinates) {
    case ASYMMETRIC:
        return (struct line){zero, one, a->scale, zero};
    case TF_HALF_PIXEL_FOR_NN:
        return (struct line){half, one, a->scale, zero};
    case ALIGN_CORNERS:
        return (struct line){zero, last, steps, zero};
    case PYTORCH_HALF_PIXEL:
        return (struct line){half, many, a->scale, real_arithmetic(n, OP_MUL, many, real_known(-0.5))};
    case HALF_PIXEL_SYMMETRIC: {
        struct real lost = real_arithmetic(n, OP_DIV, real_size(n, a->out), a->length);
        struct real centre = real_arithmetic(n, OP_MUL, real_size(n, a->in), half);
        struct real offset = real_arithmetic(n, OP_MUL, centre, real_arithmetic(n, OP_SUB, one, lost));
        return (struct line){half, one, a->scale, real_arithmetic(n, OP_SUB, offset, half)};
    }
    case TF_CROP_AND_RESIZE: {
        struct real part = real_arithmetic(n, OP_MUL, real_arithmetic(n, OP_SUB, a->end, a->start), last);
        struct real middle = real_arithmetic(n, OP_MUL, real_arithmetic(n, OP_SUB, one, many), real_known(0.5));
        struct real first = real_arithmetic(n, OP_MUL, a->start, last);
        return (struct line){zero, part, steps,
                             real_arithmetic(n, OP_ADD, first, real_arithmetic(n, OP_MUL, part, middle))};
    }
    default: // HALF_PIXEL
        return (struct line){half, one, a->scale, real_known(-0.5)};
    }
}

static bool line_is_known(const struct line *l)
{
    return l->shift.known && l->times.known && l->over.known && l->plus.known;
}

static float coordinate_at(const struct line *l, int64_t i)
{
    return ((float)i + l->shift.x) * l->times.x / l->over.x + l->plus.x;
}

static struct value *coordinates(struct node *n, const struct line *l, dim size)
{
    struct value *i = import_cast(n->im, import_iota(n->im, DTYPE_I32, 1, &size, 0), DTYPE_F32);
    i = with(n, OP_DIV, with(n, OP_MUL, with(n, OP_ADD, i, l->shift), l->times), l->over);
    return with(n, OP_ADD, i, l->plus);
}

// A coordinate that is a whole number, within the operand, as an index.
static struct value *index_of(struct node *n, struct value *x, dim size)
{
    struct real last = real_arithmetic(n, OP_SUB, real_size(n, size), real_known(1));
    x = with(n, OP_MIN, with(n, OP_MAX, x, real_known(0)), last);
    return import_cast(n->im, x, DTYPE_I64);
}

static struct value *take(struct node *n, struct value *v, struct value *indices, int axis)
{
    return build_value(&n->im->b, OP_TAKE, 2, (struct value *[]){v, indices}, 1, &(struct attr){ATTR_AXIS, {.i = axis}},
                       NULL);
}

// A vector along an axis of a tensor.
static struct value *along(struct node *n, struct value *v, int axis, int rank)
{
    dim dims[MAX_RANK] = {v->type->dims[0], 1, 1, 1, 1, 1, 1, 1};
    return import_reshape(n->im, v, rank - axis, dims);
}

// ---- The nearest element ---------------------------------------------------------------------------------------

static enum rounding rounding_of(const struct resize *r, const struct resized_axis *a)
{
    return !r->simple ? r->rounding : a->scale.x < 1 ? CEIL : FLOOR;
}

static struct value *round_to_nearest(struct node *n, enum rounding rounding, struct value *x)
{
    switch (rounding) {
    case ROUND_PREFER_FLOOR:
        return import_unary(n, OP_CEIL, with(n, OP_SUB, x, real_known(0.5)));
    case ROUND_PREFER_CEIL:
        return import_unary(n, OP_FLOOR, with(n, OP_ADD, x, real_known(0.5)));
    default:
        return import_unary(n, rounding == FLOOR ? OP_FLOOR : OP_CEIL, x);
    }
}

// The index of an operand of so many elements.
static int64_t nearest_at(const struct line *l, enum rounding rounding, int64_t i, int64_t size)
{
    float x = coordinate_at(l, i);
    x = rounding == ROUND_PREFER_FLOOR  ? ceilf(x - 0.5f)
        : rounding == ROUND_PREFER_CEIL ? floorf(x + 0.5f)
        : rounding == FLOOR             ? floorf(x)
                                        : ceilf(x);
    return !(x > 0) ? 0 : x < (float)size ? (int64_t)x : size - 1;
}

#define LIKE_ALL 64 // positions of an open size after which the same must follow: whole multiples of the factor

static bool is_index(const struct line *l, enum rounding rounding, int64_t in, int64_t out, int64_t start, int64_t step,
                     int64_t factor)
{
    for (int64_t i = 0; i < out; i++)
        if (nearest_at(l, rounding, i, in) != start + i / factor * step)
            return false;
    return true;
}

// How often each element stands in the result, in order; 0: some more often than others.
static int64_t repeats(const struct resize *r, const struct resized_axis *a)
{
    struct module *m = r->n->im->module;
    int64_t in = INT32_MAX, out = LIKE_ALL, factor;
    if (r->mode != RESIZE_NEAREST || r->coordinates == TF_CROP_AND_RESIZE ||
        !dims_to_int(m, dims_exact(m, a->out, a->in), &factor) || factor < 1 || factor > LIKE_ALL / 4)
        return 0;
    struct line l = line_of(r, a);
    if (!line_is_known(&l))
        return 0;
    if (dims_to_int(m, a->in, &in))
        out = in * factor;
    return is_index(&l, rounding_of(r, a), in, out, 0, 1, factor) ? factor : 0;
}

// Each element so often: [.. n ..] becomes [.. n, factor ..], along all axes at once.
static struct value *repeat(const struct resize *r, struct value *v, const int64_t *factors)
{
    struct import *im = r->n->im;
    dim ones[MAX_RANK], wide[MAX_RANK], dims[MAX_RANK];
    int rank = 0;
    for (int d = 0; d < v->type->rank; d++) {
        ones[rank] = wide[rank] = dims[d] = v->type->dims[d];
        rank++;
        if (factors[d] == 1)
            continue;
        ones[rank] = 1;
        wide[rank++] = factors[d];
        dims[d] = dims_mul(im->module, dims[d], factors[d]);
    }
    int result = v->type->rank;
    v = import_broadcast_to(im, import_reshape(im, v, rank, ones), rank, wide);
    return import_reshape(im, v, result, dims);
}

// Every so many-th element; NULL: the indices are others.
static struct value *skip(const struct resize *r, const struct resized_axis *a, const struct line *l, struct value *v)
{
    struct module *m = r->n->im->module;
    enum rounding rounding = rounding_of(r, a);
    int64_t in, out;
    if (!line_is_known(l) || r->coordinates == TF_CROP_AND_RESIZE || !dims_to_int(m, a->in, &in) ||
        !dims_to_int(m, a->out, &out) || out < 2)
        return NULL;
    int64_t start = nearest_at(l, rounding, 0, in), step = nearest_at(l, rounding, 1, in) - start;
    bool regular = step > 0 && is_index(l, rounding, in, out, start, step, 1);
    return regular ? import_slice_axis(r->n->im, v, a->axis, start, step, out) : NULL;
}

static struct value *nearest(const struct resize *r, const struct resized_axis *a, struct value *x, struct value *v)
{
    return take(r->n, v, index_of(r->n, round_to_nearest(r->n, rounding_of(r, a), x), a->in), a->axis);
}

// ---- Weighted sums ---------------------------------------------------------------------------------------------

#define MOST_TAPS 256

// The elements that a position of the result is made of, vectors over the positions.
struct taps {
    int n;
    struct value *index[MOST_TAPS], *weight[MOST_TAPS];
};

// Keys' cubic convolution at distances up to 1, and from 1 to 2: (a + 2) d^3 - (a + 3) d^2 + 1, and
// a d^3 - 5 a d^2 + 8 a d - 4 a.
static struct value *cubic(struct node *n, struct value *d, double a, bool near)
{
    struct value *y = with(n, OP_MUL, d, real_known(near ? a + 2 : a));
    y = import_binary(n, OP_MUL, with(n, OP_SUB, y, real_known(near ? a + 3 : 5 * a)), d);
    y = near ? y : with(n, OP_ADD, y, real_known(8 * a));
    return with(n, OP_ADD, import_binary(n, OP_MUL, y, d), real_known(near ? 1 : -4 * a));
}

// The weight of the element k behind the one at or before x, which is `rest` behind that; stretched by 1 / scale.
static struct value *weight_of(const struct resize *r, struct value *rest, int k, double scale)
{
    struct node *n = r->n;
    struct real at = real_known(k), zero = real_known(0);
    struct value *d = k <= 0 ? with(n, OP_SUB, rest, at) : import_binary(n, OP_SUB, scalar(n, at), rest);
    d = with(n, OP_MUL, d, real_known(scale));
    if (r->mode == RESIZE_LINEAR) {
        d = import_binary(n, OP_SUB, scalar(n, real_known(1)), d);
        return scale < 1 ? with(n, OP_MAX, d, zero) : d;
    }
    if (scale == 1)
        return cubic(n, d, r->cubic_a, k == 0 || k == 1);
    struct value *far =
        import_select(n, with(n, OP_LT, d, real_known(2)), cubic(n, d, r->cubic_a, false), scalar(n, zero));
    return import_select(n, with(n, OP_LE, d, real_known(1)), cubic(n, d, r->cubic_a, true), far);
}

static void normalise(struct node *n, struct taps *t)
{
    struct value *sum = t->weight[0];
    for (int k = 1; k < t->n; k++)
        sum = import_binary(n, OP_ADD, sum, t->weight[k]);
    // Nothing of the operand is near: the weights are all 0.
    sum = import_select(n, with(n, OP_EQ, sum, real_known(0)), scalar(n, real_known(1)), sum);
    for (int k = 0; k < t->n; k++)
        t->weight[k] = import_binary(n, OP_DIV, t->weight[k], sum);
}

static bool find_taps(const struct resize *r, const struct resized_axis *a, struct value *x, struct taps *t)
{
    struct node *n = r->n;
    double scale = r->antialias && a->scale.x < 1 ? (double)a->scale.x : 1;
    double first = floor((r->mode == RESIZE_LINEAR ? -1 : -2) / scale) + 1;
    if (!(first > -MOST_TAPS / 2)) {
        node_error(n, "a scale of %g is too small for antialiasing", scale);
        return false;
    }
    struct value *whole = import_unary(n, OP_FLOOR, x), *rest = import_binary(n, OP_SUB, x, whole);
    struct real last = real_arithmetic(n, OP_SUB, real_size(n, a->in), real_known(1));
    t->n = 0;
    for (int k = (int)first; k <= 1 - (int)first; k++) {
        struct value *at = with(n, OP_ADD, whole, real_known(k)), *weight = weight_of(r, rest, k, scale);
        if (r->exclude_outside) {
            struct value *outside =
                import_binary(n, OP_OR, with(n, OP_LT, at, real_known(0)), with(n, OP_GT, at, last));
            weight = import_select(n, outside, scalar(n, real_known(0)), weight);
        }
        t->index[t->n] = index_of(n, at, a->in);
        t->weight[t->n++] = weight;
    }
    if (r->exclude_outside || scale < 1)
        normalise(n, t);
    return !n->failed;
}

// A row for each element of the operand, a column for each of the result.
static struct value *matrix_of(const struct resize *r, const struct resized_axis *a, const struct taps *t)
{
    struct node *n = r->n;
    struct value *row = import_iota(n->im, DTYPE_I64, 2, (dim[]){a->in, 1}, 0), *sum = NULL;
    for (int k = 0; k < t->n; k++) {
        struct value *here = import_binary(n, OP_EQ, row, along(n, t->index[k], 0, 1));
        struct value *part = import_select(n, here, along(n, t->weight[k], 0, 1), scalar(n, real_known(0)));
        sum = sum ? import_binary(n, OP_ADD, sum, part) : part;
    }
    return sum;
}

static struct value *multiply(struct node *n, struct value *v, int axis, struct value *matrix)
{
    char labels[4 * MAX_RANK], *p = labels;
    int rank = v->type->rank;
    for (int d = 0; d < rank; d++)
        *p++ = (char)('a' + d);
    *p++ = ',';
    *p++ = (char)('a' + axis);
    p = stpcpy(p, "z->");
    for (int d = 0; d < rank; d++)
        *p++ = d == axis ? 'z' : (char)('a' + d);
    *p = 0;
    const char *text = arena_strdup(&n->im->module->arena, labels);
    return build_value(&n->im->b, OP_EINSUM, 2, (struct value *[]){v, matrix}, 1,
                       &(struct attr){ATTR_LABELS, {.string = text}}, NULL);
}

static struct value *weighted(const struct resize *r, const struct resized_axis *a, struct value *x, struct value *v)
{
    struct node *n = r->n;
    enum dtype f = v->type->dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    struct taps t = {0};
    struct value *sum = NULL;
    if (!find_taps(r, a, x, &t))
        return NULL;
    if (t.n > 4)
        return multiply(n, import_cast(n->im, v, f), a->axis, import_cast(n->im, matrix_of(r, a, &t), f));
    for (int k = 0; k < t.n; k++) {
        struct value *part = import_cast(n->im, take(n, v, t.index[k], a->axis), f);
        struct value *weight = import_cast(n->im, t.weight[k], f);
        part = import_binary(n, OP_MUL, part, along(n, weight, a->axis, v->type->rank));
        sum = sum ? import_binary(n, OP_ADD, sum, part) : part;
    }
    return sum;
}

// ---- One axis after another ------------------------------------------------------------------------------------

static struct value *resize_axis(const struct resize *r, const struct resized_axis *a, struct value *v)
{
    struct node *n = r->n;
    struct line line = line_of(r, a);
    struct value *y = r->mode == RESIZE_NEAREST ? skip(r, a, &line, v) : NULL;
    if (y)
        return y;
    struct value *x = coordinates(n, &line, a->out);
    y = r->mode == RESIZE_NEAREST ? nearest(r, a, x, v) : weighted(r, a, x, v);
    if (!y || r->coordinates != TF_CROP_AND_RESIZE)
        return y;
    struct real last = real_arithmetic(n, OP_SUB, real_size(n, a->in), real_known(1));
    struct value *outside = import_binary(n, OP_OR, with(n, OP_LT, x, real_known(0)), with(n, OP_GT, x, last));
    return import_select(n, along(n, outside, a->axis, v->type->rank),
                         import_number(n, y->type->dtype, r->extrapolation), y);
}

bool import_resample_changes(const struct resized_axis *a)
{
    return a->in != a->out || !a->whole || !a->scale.known || a->scale.x != 1;
}

// What gets smaller first, and from the last axis on, along which elements cost most; what is repeated in the end.
struct value *import_resample(const struct resize *r, struct value *v)
{
    int64_t factors[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1}, factor;
    int added = 0;
    bool done[MAX_RANK] = {false};
    for (int i = 0; i < r->n_axes; i++) {
        const struct resized_axis *a = &r->axes[i];
        done[i] = !import_resample_changes(a);
        if (done[i] || v->type->rank + added == MAX_RANK || !(factor = repeats(r, a)))
            continue;
        factors[a->axis] = factor;
        done[i] = true;
        added += factor > 1;
    }
    for (int larger = 0; larger < 2; larger++)
        for (int d = v->type->rank - 1; d >= 0; d--)
            for (int i = 0; i < r->n_axes && v; i++) {
                const struct resized_axis *a = &r->axes[i];
                bool grows = !a->scale.known || a->scale.x >= 1;
                if (a->axis == d && !done[i] && grows == larger)
                    v = resize_axis(r, a, v);
            }
    return v && added ? repeat(r, v, factors) : v;
}
