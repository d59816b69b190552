// Resize and Upsample: what their versions, attributes and inputs ask for.
#include <math.h>
#include <string.h>

#include "frontend/import_resample.h"

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
        a->scale = a->end = real_known(1);
        a->start = real_known(0);
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
        if (!(scale >= 0x1p-20 && scale <= 0x1p20)) {
            node_error(n, "a scale of %g is out of range", scale);
            return;
        }
        a->scale = real_known(scale);
        a->length = real_arithmetic(n, OP_MUL, real_size(n, a->in), a->scale);
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
        scale = real_arithmetic(n, larger ? OP_MAX : OP_MIN, scale, r->axes[i].scale);
    }
    for (int i = 0; i < r->n_axes; i++) {
        struct resized_axis *a = &r->axes[i];
        a->scale = scale;
        a->out = (int64_t)floorf(scale.x * (float)a->in + 0.5f);
        a->length = real_size(n, a->out);
    }
}

static struct real ratio(struct node *n, dim out, dim in)
{
    int64_t whole;
    if (dims_to_int(n->im->module, dims_exact(n->im->module, out, in), &whole) && whole)
        return real_known((double)whole);
    return real_arithmetic(n, OP_DIV, real_size(n, out), real_size(n, in));
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
        a->length = real_size(n, a->out);
        a->scale = a->out == a->in ? real_known(1) : ratio(n, a->out, a->in);
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
        a->start = real_known(start);
        a->end = real_known(end);
        a->whole = start == 0 && end == 1;
        if (dim_is_symbol(a->out) && import_resample_changes(a))
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

// Sums are rounded to integers, and stay within their type.
static struct value *to_type(struct node *n, struct value *v, enum dtype t)
{
    if (dtype_is_int(t) && dtype_is_float(v->type->dtype) && dtype_info[t].bits < 64) {
        enum dtype f = v->type->dtype;
        int bits = dtype_info[t].bits;
        bool is_signed = dtype_info[t].kind != DTYPE_KIND_UNSIGNED;
        double most = ldexp(1, is_signed ? bits - 1 : bits) - 1;
        v = import_binary(n, OP_MAX, import_unary(n, OP_ROUND, v), import_number(n, f, is_signed ? -most - 1 : 0));
        v = import_binary(n, OP_MIN, v, import_number(n, f, most));
    }
    return import_cast(n->im, v, t);
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
    struct value *v = import_resample(&r, node_input(n, 0));
    if (v)
        node_output(n, 0, to_type(n, v, t->dtype));
}
