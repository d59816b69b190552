// Resize and Upsample.
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

#include "frontend/import_internal.h"

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC, RESIZE_MODES };

enum coordinates {
    HALF_PIXEL,
    HALF_PIXEL_SYMMETRIC,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    TF_CROP_AND_RESIZE,
    TF_HALF_PIXEL_FOR_NN,
    COORDINATES
};

enum rounding { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL, ROUNDINGS };

// A number of the arithmetic on coordinates: known, or a scalar that the host computes from open sizes.
struct real {
    bool known;
    float x;
    struct value *v;
};

struct resized_axis {
    int axis;
    dim in, out;
    struct real scale, length; // of the result, before it is rounded to a size
    struct real start, end;    // of the part of the operand that is wanted, from 0 to 1
    bool whole;                // which is all of it
};

struct resize {
    struct node *n;
    enum resize_mode mode;
    enum coordinates coordinates;
    enum rounding rounding;
    bool simple; // version 10: rounds towards the element that a smaller result would lose
    bool antialias, exclude_outside;
    double cubic_a, extrapolation;
    int n_axes;
    struct resized_axis axes[MAX_RANK];
};

// ---- Arithmetic ------------------------------------------------------------------------------------------------

static struct real known(double x)
{
    return (struct real){.known = true, .x = (float)x};
}

static struct value *scalar(struct node *n, struct real a)
{
    return a.known ? import_number(n, DTYPE_F32, (double)a.x) : a.v;
}

static struct real size_as_real(struct node *n, dim d)
{
    int64_t constant;
    if (dims_to_int(n->im->module, d, &constant))
        return known((double)constant);
    return (struct real){.v = build_cast(&n->im->b, DTYPE_F32, dims_build(&n->im->b, d))};
}

static struct real arithmetic(struct node *n, enum opcode code, struct real a, struct real b)
{
    if (!a.known || !b.known)
        return (struct real){.v = build_binary(&n->im->b, code, scalar(n, a), scalar(n, b))};
    switch (code) {
    case OP_ADD:
        return known(a.x + b.x);
    case OP_SUB:
        return known(a.x - b.x);
    case OP_MUL:
        return known(a.x * b.x);
    case OP_DIV:
        return known(a.x / b.x);
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
    struct real zero = known(0), one = known(1), half = known(0.5);
    struct real last = arithmetic(n, OP_SUB, size_as_real(n, a->in), one);
    // Between the first and the last position; a single one is the first.
    struct real steps = arithmetic(n, OP_SUB, a->length, one);
    if (!steps.known || steps.x <= 0)
        steps = arithmetic(n, OP_MAX, steps, one);
    // 0 where the result has one element, else 1.
    struct real many = one;
    if (dims_may_be_one(n->im->module, a->out))
        many = arithmetic(n, OP_MIN, arithmetic(n, OP_SUB, size_as_real(n, a->out), one), one);
    switch (r->coordinates) {
    case ASYMMETRIC:
        return (struct line){zero, one, a->scale, zero};
    case TF_HALF_PIXEL_FOR_NN:
        return (struct line){half, one, a->scale, zero};
    case ALIGN_CORNERS:
        return (struct line){zero, last, steps, zero};
    case PYTORCH_HALF_PIXEL:
        return (struct line){half, many, a->scale, arithmetic(n, OP_MUL, many, known(-0.5))};
    case HALF_PIXEL_SYMMETRIC: {
        struct real lost = arithmetic(n, OP_DIV, size_as_real(n, a->out), a->length);
        struct real centre = arithmetic(n, OP_MUL, size_as_real(n, a->in), half);
        struct real offset = arithmetic(n, OP_MUL, centre, arithmetic(n, OP_SUB, one, lost));
        return (struct line){half, one, a->scale, arithmetic(n, OP_SUB, offset, half)};
    }
    case TF_CROP_AND_RESIZE: {
        struct real part = arithmetic(n, OP_MUL, arithmetic(n, OP_SUB, a->end, a->start), last);
        struct real middle = arithmetic(n, OP_MUL, arithmetic(n, OP_SUB, one, many), known(0.5));
        struct real first = arithmetic(n, OP_MUL, a->start, last);
        return (struct line){zero, part, steps, arithmetic(n, OP_ADD, first, arithmetic(n, OP_MUL, part, middle))};
    }
    default: // HALF_PIXEL
        return (struct line){half, one, a->scale, known(-0.5)};
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
    struct real last = arithmetic(n, OP_SUB, size_as_real(n, size), known(1));
    x = with(n, OP_MIN, with(n, OP_MAX, x, known(0)), last);
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
        return import_unary(n, OP_CEIL, with(n, OP_SUB, x, known(0.5)));
    case ROUND_PREFER_CEIL:
        return import_unary(n, OP_FLOOR, with(n, OP_ADD, x, known(0.5)));
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

// Each element `factor` times: [A, n, B] becomes [A, n, factor, B].
static struct value *repeat_elements(struct import *im, struct value *v, int axis, int64_t factor)
{
    struct module *m = im->module;
    dim dims[MAX_RANK];
    int rank = v->type->rank;
    memcpy(dims, v->type->dims, sizeof dims);
    dim rows = dims_product(m, axis + 1, dims), rest = dims_product(m, rank - axis - 1, dims + axis + 1);
    v = import_reshape(im, v, 3, (dim[]){rows, 1, rest});
    v = import_broadcast_to(im, v, 3, (dim[]){rows, factor, rest});
    dims[axis] = dims_mul(m, dims[axis], factor);
    return import_reshape(im, v, rank, dims);
}

// The nearest elements by layout operations; NULL: it takes indices.
static struct value *nearest_as_layout(const struct resize *r, const struct resized_axis *a, const struct line *l,
                                       struct value *v)
{
    struct module *m = r->n->im->module;
    enum rounding rounding = rounding_of(r, a);
    int64_t in = INT32_MAX, out = LIKE_ALL, factor, start, step;
    bool constant = dims_to_int(m, a->in, &in) && dims_to_int(m, a->out, &out);
    if (!line_is_known(l) || r->coordinates == TF_CROP_AND_RESIZE)
        return NULL;
    if (dims_to_int(m, dims_exact(m, a->out, a->in), &factor) && factor > 0 && factor < LIKE_ALL / 4) {
        bool repeats = true;
        for (int64_t i = 0; i < out && repeats; i++)
            repeats = nearest_at(l, rounding, i, in) == i / factor;
        if (repeats)
            return repeat_elements(r->n->im, v, a->axis, factor);
    }
    if (!constant || out < 2)
        return NULL;
    start = nearest_at(l, rounding, 0, in);
    step = nearest_at(l, rounding, 1, in) - start;
    for (int64_t i = 0; i < out; i++)
        if (step < 1 || nearest_at(l, rounding, i, in) != start + i * step)
            return NULL;
    return import_slice_axis(r->n->im, v, a->axis, start, step, out);
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
    struct value *y = with(n, OP_MUL, d, known(near ? a + 2 : a));
    y = import_binary(n, OP_MUL, with(n, OP_SUB, y, known(near ? a + 3 : 5 * a)), d);
    y = near ? y : with(n, OP_ADD, y, known(8 * a));
    return with(n, OP_ADD, import_binary(n, OP_MUL, y, d), known(near ? 1 : -4 * a));
}

// The weight of the element k behind the one at or before x, which is `rest` behind that; stretched by 1 / scale.
static struct value *weight_of(const struct resize *r, struct value *rest, int k, double scale)
{
    struct node *n = r->n;
    struct real at = known(k), zero = known(0);
    struct value *d = k <= 0 ? with(n, OP_SUB, rest, at) : import_binary(n, OP_SUB, scalar(n, at), rest);
    d = with(n, OP_MUL, d, known(scale));
    if (r->mode == RESIZE_LINEAR) {
        d = import_binary(n, OP_SUB, scalar(n, known(1)), d);
        return scale < 1 ? with(n, OP_MAX, d, zero) : d;
    }
    if (scale == 1)
        return cubic(n, d, r->cubic_a, k == 0 || k == 1);
    struct value *far = import_select(n, with(n, OP_LT, d, known(2)), cubic(n, d, r->cubic_a, false), scalar(n, zero));
    return import_select(n, with(n, OP_LE, d, known(1)), cubic(n, d, r->cubic_a, true), far);
}

static void normalise(struct node *n, struct taps *t)
{
    struct value *sum = t->weight[0];
    for (int k = 1; k < t->n; k++)
        sum = import_binary(n, OP_ADD, sum, t->weight[k]);
    // Nothing of the operand is near: the weights are all 0.
    sum = import_select(n, with(n, OP_EQ, sum, known(0)), scalar(n, known(1)), sum);
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
    struct real last = arithmetic(n, OP_SUB, size_as_real(n, a->in), known(1));
    t->n = 0;
    for (int k = (int)first; k <= 1 - (int)first; k++) {
        struct value *at = with(n, OP_ADD, whole, known(k)), *weight = weight_of(r, rest, k, scale);
        if (r->exclude_outside) {
            struct value *outside = import_binary(n, OP_OR, with(n, OP_LT, at, known(0)), with(n, OP_GT, at, last));
            weight = import_select(n, outside, scalar(n, known(0)), weight);
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
        struct value *part = import_select(n, here, along(n, t->weight[k], 0, 1), scalar(n, known(0)));
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
    struct taps t;
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
    struct value *y = r->mode == RESIZE_NEAREST ? nearest_as_layout(r, a, &line, v) : NULL;
    if (y)
        return y;
    struct value *x = coordinates(n, &line, a->out);
    y = r->mode == RESIZE_NEAREST ? nearest(r, a, x, v) : weighted(r, a, x, v);
    if (!y || r->coordinates != TF_CROP_AND_RESIZE)
        return y;
    struct real last = arithmetic(n, OP_SUB, size_as_real(n, a->in), known(1));
    struct value *outside = import_binary(n, OP_OR, with(n, OP_LT, x, known(0)), with(n, OP_GT, x, last));
    return import_select(n, along(n, outside, a->axis, v->type->rank),
                         import_number(n, y->type->dtype, r->extrapolation), y);
}

static bool changes(const struct resized_axis *a)
{
    return a->in != a->out || !a->whole || !a->scale.known || a->scale.x != 1;
}

// What gets smaller first, and from the last axis on, along which elements cost most.
static struct value *resize(const struct resize *r, struct value *v)
{
    for (int larger = 0; larger < 2; larger++)
        for (int d = v->type->rank - 1; d >= 0; d--)
            for (int i = 0; i < r->n_axes && v; i++) {
                const struct resized_axis *a = &r->axes[i];
                bool grows = !a->scale.known || a->scale.x >= 1;
                if (a->axis == d && changes(a) && grows == larger)
                    v = resize_axis(r, a, v);
            }
    return v;
}

// Sums are rounded to integers, and stay within their type.
static struct value *to_type(struct node *n, struct value *v, enum dtype t)
{
    if (dtype_is_int(t) && dtype_is_float(v->type->dtype) && dtype_info[t].bits < 64) {
        int bits = dtype_info[t].bits;
        bool is_signed = dtype_info[t].kind != DTYPE_KIND_UNSIGNED;
        double most = ldexp(1, is_signed ? bits - 1 : bits) - 1;
        v = with(n, OP_MAX, import_unary(n, OP_ROUND, v), known(is_signed ? -most - 1 : 0));
        v = with(n, OP_MIN, v, known(most));
    }
    return import_cast(n->im, v, t);
}

// ---- Reading ---------------------------------------------------------------------------------------------------

static int read_choice(struct node *n, const char *name, int count, const char *const *names)
{
    const char *text = node_string(n, name, names[0]), *all = names[0];
    for (int i = 0; i < count; i++)
        if (!strcmp(text, names[i]))
            return i;
    for (int i = 1; i < count; i++)
        all = arena_printf(&n->im->arena, "%s%s%s", all, i + 1 < count ? ", " : " or ", names[i]);
    node_error(n, "'%s' must be %s, not %s", name, all, model_quote(n->im->model, text));
    return 0;
}

static void read_modes(struct node *n, struct resize *r)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const transformations[] = {"half_pixel",          "half_pixel_symmetric", "pytorch_half_pixel",
                                                  "align_corners",       "asymmetric",           "tf_crop_and_resize",
                                                  "tf_half_pixel_for_nn"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    *r = (struct resize){.n = n, .coordinates = ASYMMETRIC, .simple = true, .cubic_a = -0.75};
    r->mode = (enum resize_mode)read_choice(n, "mode", RESIZE_MODES, modes);
    if (n->row->since < 11) // and Upsample
        return;
    int count = n->row->since < 13 ? COORDINATES : TF_HALF_PIXEL_FOR_NN;
    r->simple = false;
    r->coordinates = (enum coordinates)read_choice(n, "coordinate_transformation_mode", count, transformations);
    r->rounding = (enum rounding)read_choice(n, "nearest_mode", ROUNDINGS, roundings);
    r->exclude_outside = node_int(n, "exclude_outside", 0);
    r->antialias = node_int(n, "antialias", 0);
    r->cubic_a = node_float(n, "cubic_coeff_a", -0.75);
    r->extrapolation = node_float(n, "extrapolation_value", 0);
    if (r->antialias && r->mode == RESIZE_NEAREST)
        node_error(n, "'antialias' is defined for the modes linear and cubic, not nearest");
}

static void read_axes(struct node *n, struct resize *r)
{
    struct ints axes = node_ints(n, "axes");
    const struct type *t = node_type(n, 0);
    bool chosen[MAX_RANK];
    r->n_axes = axes.n ? axes.n : t->rank;
    if (!node_axes(n, axes, t->rank, chosen))
        return;
    for (int i = 0; i < r->n_axes; i++) {
        int64_t axis = axes.n ? axes.v[i] : i;
        struct resized_axis *a = &r->axes[i];
        a->axis = (int)(axis < 0 ? axis + t->rank : axis);
        a->in = a->out = t->dims[a->axis];
        a->scale = a->end = known(1);
        a->start = known(0);
        a->whole = true;
    }
}

// The fraction with the smallest denominator that is the float.
static void fraction_of(float x, int64_t *p, int64_t *q)
{
    int64_t before_p = 0, before_q = 1;
    double rest = (double)x;
    *p = 1;
    *q = 0;
    do { // continued fractions
        double whole = floor(rest);
        int64_t next_p = (int64_t)whole * *p + before_p, next_q = (int64_t)whole * *q + before_q;
        before_p = *p;
        before_q = *q;
        *p = next_p;
        *q = next_q;
        rest = 1 / (rest - whole);
    } while ((float)((double)*p / (double)*q) != x && *q < 1 << 24);
}

static dim scaled(struct module *m, dim size, float scale)
{
    int64_t constant, p, q;
    if (dims_to_int(m, size, &constant)) {
        float all = floorf((float)constant * scale);
        return all < 0x1p62f ? (int64_t)all : DIM_UNKNOWN;
    }
    fraction_of(scale, &p, &q);
    return dims_floordiv(m, dims_mul(m, size, dims_from_int(m, p)), dims_from_int(m, q));
}

// The scale of each axis: an attribute, or input `input`.
static void read_scales(struct node *n, struct resize *r, int input)
{
    const TgOnnx__AttributeProto *list = node_attribute(n, "scales");
    int64_t count = list ? (int64_t)list->n_floats : node_type(n, input)->dims[0];
    if (count != r->n_axes || (!list && node_type(n, input)->rank != 1)) {
        node_error(n, "the scales must be a list of %d, one for each axis", r->n_axes);
        return;
    }
    for (int i = 0; i < r->n_axes; i++) {
        struct resized_axis *a = &r->axes[i];
        double scale;
        if (list)
            scale = (double)list->floats[i];
        else if (!node_number(n, input, i, &scale)) {
            node_error(n, "the scales %s must be constant; give the sizes where they are not",
                       model_quote(n->im->model, n->inputs[input]->name));
            return;
        }
        if (!(scale > 0 && scale <= 1 << 20)) {
            node_error(n, "a scale of %g is out of range", scale);
            return;
        }
        a->scale = known(scale);
        a->length = arithmetic(n, OP_MUL, size_as_real(n, a->in), a->scale);
        a->out = scaled(n->im->module, a->in, a->scale.x);
        if (a->out == DIM_UNKNOWN)
            node_error(n, "the sizes of the result are too large or too complicated");
    }
}

// Makes all scales the smallest or the largest of them.
static void keep_aspect_ratio(struct node *n, struct resize *r, bool larger)
{
    struct real scale = r->axes[0].scale;
    for (int i = 0; i < r->n_axes; i++) {
        if (!r->axes[i].scale.known) {
            node_error(n, "'keep_aspect_ratio_policy' needs constant sizes");
            return;
        }
        scale = arithmetic(n, larger ? OP_MAX : OP_MIN, scale, r->axes[i].scale);
    }
    for (int i = 0; i < r->n_axes; i++) {
        struct resized_axis *a = &r->axes[i];
        a->scale = scale;
        a->out = (int64_t)floorf(scale.x * (float)a->in + 0.5f);
        a->length = size_as_real(n, a->out);
    }
}

static struct real ratio(struct node *n, dim out, dim in)
{
    int64_t whole;
    if (dims_to_int(n->im->module, dims_exact(n->im->module, out, in), &whole) && whole)
        return known((double)whole);
    return arithmetic(n, OP_DIV, size_as_real(n, out), size_as_real(n, in));
}

static void read_sizes(struct node *n, struct resize *r)
{
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller"};
    int policy = read_choice(n, "keep_aspect_ratio_policy", 3, policies);
    struct list list;
    if (!node_list(n, 3, "the list of sizes", &list))
        return;
    if (list.n != r->n_axes) {
        node_error(n, "%d sizes are given for %d axes", list.n, r->n_axes);
        return;
    }
    for (int i = 0; i < r->n_axes; i++) {
        struct resized_axis *a = &r->axes[i];
        import_assert_size(n, list.v[i]);
        a->out = list.v[i];
        a->length = size_as_real(n, a->out);
        a->scale = a->out == a->in ? known(1) : ratio(n, a->out, a->in);
    }
    if (policy && !n->failed)
        keep_aspect_ratio(n, r, policy == 2);
}

// Where the wanted parts begin on each axis, then where they end.
static void read_parts(struct node *n, struct resize *r)
{
    for (int i = 0; i < r->n_axes; i++) {
        struct resized_axis *a = &r->axes[i];
        double start, end;
        if (!node_has_input(n, 1) || !node_number(n, 1, i, &start) || !node_number(n, 1, r->n_axes + i, &end)) {
            node_error(n, "the region of interest, input 2, must be constant and hold two numbers for each axis");
            return;
        }
        a->start = known(start);
        a->end = known(end);
        a->whole = start == 0 && end == 1;
        if (dim_is_symbol(a->out) && changes(a))
            node_error(n, "'tf_crop_and_resize' needs constant sizes of the result");
    }
}

static bool is_given(struct node *n, int input)
{
    return node_has_input(n, input) && node_type(n, input)->dims[0] != 0;
}

// The inputs, from the version 11 on: the operand, the region of interest, the scales, the sizes. What is empty is not
// given.
static void read_inputs(struct node *n, struct resize *r)
{
    bool scales = is_given(n, 2), sizes = is_given(n, 3);
    if (scales == sizes) {
        node_error(n, "needs either scales or sizes");
        return;
    }
    if (scales)
        read_scales(n, r, 2);
    else
        read_sizes(n, r);
    if (r->coordinates == TF_CROP_AND_RESIZE && !n->failed)
        read_parts(n, r);
}

void import_op_resize(struct node *n)
{
    const struct type *t = node_type(n, 0);
    struct resize r;
    read_modes(n, &r);
    if (n->failed)
        return;
    if (t->dtype == DTYPE_I1 && r.mode != RESIZE_NEAREST) {
        node_error(n, "is not defined for %s", dtype_info[t->dtype].name);
        return;
    }
    read_axes(n, &r);
    if (n->failed)
        return;
    if (n->row->since < 11)
        read_scales(n, &r, 1);
    else
        read_inputs(n, &r);
    for (int i = 0; i < r.n_axes && r.antialias && !n->failed; i++)
        if (!r.axes[i].scale.known)
            node_error(n, "'antialias' needs constant sizes, or scales");
    if (n->failed)
        return;
    struct value *v = resize(&r, node_input(n, 0));
    if (v)
        node_output(n, 0, to_type(n, v, t->dtype));
}
