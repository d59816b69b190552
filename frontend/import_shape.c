// Sizes as values, constants, and operators that arrange the same elements in another shape.
#include <math.h>
#include <string.h>

#include "frontend/import_internal.h"

void import_op_identity(struct node *n)
{
    node_output_value(n, 0, n->inputs[0]);
}

void import_op_dropout(struct node *n)
{
    if (node_has_input(n, 2)) {
        double training;
        if (!node_number(n, 2, 0, &training) || training) {
            node_error(n, "training mode is not supported; export the model for inference");
            return;
        }
    }
    node_output_value(n, 0, n->inputs[0]);
    const struct type *t = node_type(n, 0);
    if (node_wants(n, 1)) // all of it was kept; before version 10 the mask has the type of the data
        node_output(
            n, 1, import_constant(n->im, type_with_dtype(n->im->module, t, n->version < 10 ? t->dtype : DTYPE_I1), 1));
}

// ---- Sizes -----------------------------------------------------------------------------------------------------

void import_op_shape(struct node *n)
{
    const struct type *t = node_type(n, 0);
    int64_t from = node_int(n, "start", 0), to = node_int(n, "end", t->rank);
    from = from < 0 ? from + t->rank : from;
    to = to < 0 ? to + t->rank : to;
    from = from < 0 ? 0 : from > t->rank ? t->rank : from;
    to = to < from ? from : to > t->rank ? t->rank : to;
    node_output_list(n, 0, DTYPE_I64, 1, (struct list){(int)(to - from), t->dims + from});
}

void import_op_size(struct node *n)
{
    const struct type *t = node_type(n, 0);
    dim count = dims_product(n->im->module, t->rank, t->dims);
    node_output_list(n, 0, DTYPE_I64, 0, (struct list){1, &count});
}

// ---- Constants -------------------------------------------------------------------------------------------------

static bool output_data(struct node *n, const struct tensor_data *t)
{
    if (t->dtype == DTYPE_NONE)
        node_error(n, "the element type %s is not supported", onnx_type_name(&n->im->arena, t->onnx_type));
    else if (t->rank > MAX_RANK)
        node_error(n, "the constant has %d dimensions; %d is the most", t->rank, MAX_RANK);
    else
        node_output_value(n, 0, import_data(n->im, t, n->n_outputs ? n->proto->output[0] : NULL, n->loc));
    return !n->failed;
}

// Numbers of an attribute as a tensor; their bytes live with the module.
static void output_numbers(struct node *n, enum dtype t, int rank, int64_t count, const float *floats,
                           const int64_t *ints)
{
    int64_t width = dtype_bytes(t);
    char *bytes = arena_alloc(&n->im->module->arena, (size_t)((count + 1) * width));
    for (int64_t i = 0; i < count; i++) {
        union scalar x = {0};
        if (floats)
            x.f = (double)floats[i];
        else
            x.i = ints[i];
        dtype_store(t, bytes + i * width, x);
    }
    int64_t *dims = arena_copy(&n->im->arena, &count, sizeof count);
    output_data(n, &(struct tensor_data){
                       .dtype = t, .rank = rank, .dims = dims, .n = count, .data = bytes, .bytes = count * width});
}

void import_op_constant(struct node *n)
{
    static const char *const names[] = {"value",      "value_float",  "value_floats",  "value_int",
                                        "value_ints", "value_string", "value_strings", "sparse_value"};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (node_has(n, names[i])) {
            if (name) {
                node_error(n, "has both '%s' and '%s'; give one", name, names[i]);
                return;
            }
            name = names[i];
        }
    const TgOnnx__AttributeProto *a = name ? node_attribute(n, name) : NULL;
    struct tensor_data t;
    if (!name)
        node_error(n, "has no value");
    else if (!strcmp(name, "value"))
        n->failed = model_tensor_at(n->im->model, n->loc, a->t, &t, n->im->diags) || !output_data(n, &t);
    else if (!strcmp(name, "value_float"))
        output_numbers(n, DTYPE_F32, 0, 1, &a->f, NULL);
    else if (!strcmp(name, "value_floats"))
        output_numbers(n, DTYPE_F32, 1, (int64_t)a->n_floats, a->n_floats ? a->floats : &a->f, NULL);
    else if (!strcmp(name, "value_int"))
        output_numbers(n, DTYPE_I64, 0, 1, NULL, &a->i);
    else if (!strcmp(name, "value_ints"))
        output_numbers(n, DTYPE_I64, 1, (int64_t)a->n_ints, NULL, a->ints);
    else
        node_error(n, "'%s' is not supported; only dense numbers are: store them as 'value'", name);
}

void import_op_constant_of_shape(struct node *n)
{
    struct import *im = n->im;
    struct list sizes;
    struct tensor_data t = {.dtype = DTYPE_F32};
    const TgOnnx__AttributeProto *value = node_attribute(n, "value");
    union scalar x = {0};
    if (value) {
        if (model_tensor_at(im->model, n->loc, value->t, &t, im->diags)) {
            n->failed = true;
            return;
        }
        if (t.dtype == DTYPE_NONE || t.n != 1) {
            node_error(n, "'value' must be one number");
            return;
        }
        x = dtype_load(t.dtype, t.data);
    }
    if (!node_list(n, 0, "the shape", &sizes))
        return;
    if (sizes.n > MAX_RANK) {
        node_error(n, "the result would have %d dimensions; %d is the most", sizes.n, MAX_RANK);
        return;
    }
    for (int d = 0; d < sizes.n; d++)
        import_assert_size(n, sizes.v[d]);
    if (n->failed)
        return;
    struct type *type = type_tensor(im->module, t.dtype, sizes.n, sizes.v);
    bool is_float = dtype_is_float(t.dtype);
    int64_t count;
    dim all = dims_product(im->module, sizes.n, sizes.v);
    if (!is_float && sizes.n <= 1 && dims_to_int(im->module, all, &count) && count <= MOST_LISTED) {
        dim elements[MOST_LISTED + 1];
        for (int64_t i = 0; i < count; i++)
            elements[i] = dims_from_int(im->module, x.i);
        if (dims_from_int(im->module, x.i) != DIM_UNKNOWN) {
            node_output_list(n, 0, t.dtype, sizes.n, (struct list){(int)count, elements});
            return;
        }
    }
    struct number number = {is_float, is_float ? x.f : (double)x.i, is_float ? 0 : x.i};
    struct attr attr = {ATTR_VALUE, {.number = number}};
    node_output(n, 0, build_value(&im->b, OP_CONSTANT, 0, NULL, 1, &attr, type));
}

// start + i * delta for the whole numbers i below ceil((limit - start) / delta).
static void range_of_numbers(struct node *n, const double *v)
{
    double count = ceil((v[1] - v[0]) / v[2]);
    enum dtype t = node_type(n, 0)->dtype;
    if (!(count <= (double)(1 << 28))) {
        node_error(n, "has %g elements, which is too many", count);
        return;
    }
    dim size = count > 0 ? (int64_t)count : 0;
    enum dtype in = dtype_info[t].bits < 32 ? DTYPE_F32 : t; // small floats count to 2048, or to 256
    struct value *x = import_cast(n->im, import_iota(n->im, DTYPE_I64, 1, &size, 0), in);
    if (v[2] != 1)
        x = import_binary(n, OP_MUL, x, import_number(n, in, v[2]));
    if (v[0] != 0)
        x = import_binary(n, OP_ADD, x, import_number(n, in, v[0]));
    node_output(n, 0, import_cast(n->im, x, t));
}

static void range_of_sizes(struct node *n, const dim *v)
{
    struct import *im = n->im;
    struct module *m = im->module;
    enum dtype t = node_type(n, 0)->dtype;
    int64_t delta, count;
    if (!dims_to_int(m, v[2], &delta) || !delta) {
        node_error(n, "needs a constant step other than 0");
        return;
    }
    dim span = delta > 0 ? dims_sub(m, v[1], v[0]) : dims_sub(m, v[0], v[1]);
    dim size = dims_max(m, dims_ceildiv(m, span, dims_from_int(m, delta > 0 ? delta : -delta)), 0);
    if (dims_to_int(m, size, &count) && count <= MOST_LISTED) {
        dim elements[MOST_LISTED + 1];
        for (int64_t i = 0; i < count; i++)
            elements[i] = dims_add(m, v[0], dims_from_int(m, i * delta));
        node_output_list(n, 0, t, 1, (struct list){(int)count, elements});
        return;
    }
    if (size == DIM_UNKNOWN) {
        node_error(n, "has too many elements");
        return;
    }
    struct value *x = import_iota(im, t, 1, &size, 0);
    if (delta != 1)
        x = import_binary(n, OP_MUL, x, build_int(&im->b, type_scalar(m, t), delta));
    if (v[0] != 0)
        x = import_binary(n, OP_ADD, x, import_size(im, v[0], t));
    node_output(n, 0, x);
}

void import_op_range(struct node *n)
{
    dim sizes[3];
    double numbers[3];
    bool listed = true, constant = true;
    for (int i = 0; i < 3; i++) {
        const struct import_value *v = n->inputs[i];
        if (v->type->dtype != node_type(n, 0)->dtype ||
            dims_product(n->im->module, v->type->rank, v->type->dims) != 1) {
            node_error(n, "start, limit and step must be numbers of one type");
            return;
        }
        listed &= v->list.v != NULL;
        sizes[i] = v->list.v ? v->list.v[0] : 0;
        constant &= node_number(n, i, 0, &numbers[i]);
    }
    if (listed && dtype_is_int(node_type(n, 0)->dtype))
        range_of_sizes(n, sizes);
    else if (constant && numbers[2] != 0)
        range_of_numbers(n, numbers);
    else
        node_error(n, "needs start, limit and step made of sizes and constants, and a step other than 0");
}

// ---- Arrangement -----------------------------------------------------------------------------------------------

static void output_shaped(struct node *n, struct import_value *v, int rank, const dim *dims)
{
    if (rank > MAX_RANK) {
        node_error(n, "the result would have %d dimensions; %d is the most", rank, MAX_RANK);
        return;
    }
    if (v->list.v && rank <= 1) // still the same list
        node_output_list(n, 0, v->type->dtype, rank, v->list);
    else
        node_output(n, 0, import_reshape(n->im, import_need(n->im, v), rank, dims));
}

// Puts the sizes of the input where the list has 0, and returns the position of the -1, or -1.
static int read_shape(struct node *n, struct list list, bool zero_copies, dim *dims)
{
    const struct type *t = node_type(n, 0);
    int open = -1;
    for (int d = 0; d < list.n; d++) {
        int64_t x;
        dims[d] = list.v[d];
        if (!dims_to_int(n->im->module, list.v[d], &x)) {
            import_assert_size(n, list.v[d]);
        } else if (x == -1) {
            if (open >= 0)
                node_error(n, "the shape holds -1 twice");
            open = d;
            dims[d] = 1;
        } else if (x < -1) {
            node_error(n, "the shape holds %lld", (long long)x);
        } else if (!x && zero_copies) {
            if (d >= t->rank)
                node_error(n, "the shape copies dimension %d, which %s does not have", d,
                           type_string(&n->im->arena, n->im->module, t));
            else
                dims[d] = t->dims[d];
        }
    }
    return open;
}

void import_op_reshape(struct node *n)
{
    struct import *im = n->im;
    struct module *m = im->module;
    const struct type *t = node_type(n, 0);
    struct list list;
    dim dims[MAX_RANK];
    if (!node_list(n, 1, "the shape", &list))
        return;
    if (list.n > MAX_RANK) {
        node_error(n, "the result would have %d dimensions; %d is the most", list.n, MAX_RANK);
        return;
    }
    int open = read_shape(n, list, !node_int(n, "allowzero", 0), dims);
    dim have = dims_product(m, t->rank, t->dims), rest = dims_product(m, list.n, dims);
    if (n->failed)
        return;
    if (open >= 0) {
        if (rest == 0) {
            node_error(n, "-1 in the shape is of any size where another is 0");
            return;
        }
        dims[open] = dims_exact(m, have, rest);
        if (dims[open] == DIM_UNKNOWN) {
            if (!import_assert_divides(n, have, rest))
                return;
            dims[open] = dims_floordiv(m, have, rest);
        }
    }
    dim want = dims_product(m, list.n, dims);
    if (want == have) {
        output_shaped(n, n->inputs[0], list.n, dims);
        return;
    }
    // Equal for the right sizes only: the elements in a row are where one count becomes the other.
    if (want == DIM_UNKNOWN) {
        node_error(n, "the shape is too large or too complicated");
        return;
    }
    if (open < 0 && import_agree(n, have, want) == DIM_UNKNOWN)
        return;
    struct value *v = import_coerce(im, import_reshape(im, node_input(n, 0), 1, &have), &want);
    node_output(n, 0, import_reshape(im, v, list.n, dims));
}

void import_op_flatten(struct node *n)
{
    const struct type *t = node_type(n, 0);
    int64_t axis = node_int(n, "axis", 1);
    if (axis < -t->rank || axis > t->rank) {
        node_error(n, "axis %lld is out of range for rank %d", (long long)axis, t->rank);
        return;
    }
    int at = (int)(axis < 0 ? axis + t->rank : axis);
    dim dims[2] = {dims_product(n->im->module, at, t->dims), dims_product(n->im->module, t->rank - at, t->dims + at)};
    output_shaped(n, n->inputs[0], 2, dims);
}

static bool read_axes(struct node *n, struct ints *axes)
{
    *axes = node_ints(n, "axes");
    return !node_has_input(n, 1) || node_constants(n, 1, "the list of axes", axes);
}

void import_op_unsqueeze(struct node *n)
{
    const struct type *t = node_type(n, 0);
    struct ints axes;
    bool added[MAX_RANK];
    if (!read_axes(n, &axes))
        return;
    int rank = t->rank + axes.n;
    if (axes.n > MAX_RANK || rank > MAX_RANK) {
        node_error(n, "the result would have %d dimensions; %d is the most", t->rank + axes.n, MAX_RANK);
        return;
    }
    if (!node_axes(n, axes, rank, added))
        return;
    dim dims[MAX_RANK];
    for (int d = 0, from = 0; d < rank; d++)
        dims[d] = added[d] ? 1 : t->dims[from++];
    output_shaped(n, n->inputs[0], rank, dims);
}

void import_op_squeeze(struct node *n)
{
    const struct type *t = node_type(n, 0);
    struct ints axes;
    bool dropped[MAX_RANK];
    if (!read_axes(n, &axes) || !node_axes(n, axes, t->rank, dropped))
        return;
    bool all = !axes.n && !node_has(n, "axes") && !node_has_input(n, 1);
    struct value *v = NULL; // made where a size has to be asserted
    dim dims[MAX_RANK];
    int rank = 0;
    for (int d = 0; d < t->rank; d++) {
        if (all)
            dropped[d] = t->dims[d] == 1;
        if (!dropped[d]) {
            dims[rank++] = t->dims[d];
        } else if (t->dims[d] != 1) {
            if (import_agree(n, t->dims[d], 1) == DIM_UNKNOWN)
                return;
            v = import_match(n, v ? v : node_input(n, 0), d, 1);
        }
    }
    if (v)
        node_output(n, 0, import_reshape(n->im, v, rank, dims));
    else
        output_shaped(n, n->inputs[0], rank, dims);
}

void import_op_transpose(struct node *n)
{
    const struct type *t = node_type(n, 0);
    struct ints perm = node_ints(n, "perm");
    int64_t axes[MAX_RANK];
    bool seen[MAX_RANK];
    if (!node_has(n, "perm")) {
        for (int d = 0; d < t->rank; d++)
            axes[d] = t->rank - 1 - d;
    } else if (perm.n != t->rank) {
        node_error(n, "'perm' has %d entries for rank %d", perm.n, t->rank);
        return;
    } else if (!node_axes(n, perm, t->rank, seen)) {
        return;
    }
    for (int d = 0; d < perm.n; d++)
        axes[d] = perm.v[d] < 0 ? perm.v[d] + t->rank : perm.v[d];
    if (t->rank < 2)
        node_output_value(n, 0, n->inputs[0]);
    else
        node_output(n, 0, import_transpose(n->im, node_input(n, 0), axes));
}

// Whether the blocks' position is in front of the channels (DCR) or behind them.
static bool blocks_first(struct node *n)
{
    const char *mode = node_string(n, "mode", "DCR");
    if (strcmp(mode, "DCR") && strcmp(mode, "CRD"))
        node_error(n, "'mode' must be DCR or CRD, not %s", model_quote(n->im->model, mode));
    return mode[0] == 'D';
}

static int64_t block_size(struct node *n)
{
    int64_t size = node_int(n, "blocksize", 1);
    const struct type *t = node_type(n, 0);
    if (size < 1 || size > 1 << 20)
        node_error(n, "'blocksize' of %lld is out of range", (long long)size);
    if (t->rank != 4)
        node_error(n, "input %s must be of rank 4", type_string(&n->im->arena, n->im->module, t));
    return size;
}

void import_op_depth_to_space(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0);
    bool first = blocks_first(n);
    int64_t b = block_size(n);
    dim c;
    struct value *v = n->failed ? NULL : import_divide(n, node_input(n, 0), 1, b * b, &c);
    if (!v)
        return;
    dim h = t->dims[2], w = t->dims[3];
    dim split[6] = {t->dims[0], first ? b : c, b, first ? c : b, h, w};
    dim joined[4] = {t->dims[0], c, dims_mul(im->module, h, b), dims_mul(im->module, w, b)};
    static const int64_t axes[2][6] = {{0, 1, 4, 2, 5, 3}, {0, 3, 4, 1, 5, 2}};
    v = import_transpose(im, import_reshape(im, v, 6, split), axes[first]);
    node_output(n, 0, import_reshape(im, v, 4, joined));
}

void import_op_space_to_depth(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0);
    int64_t b = block_size(n);
    dim h, w;
    struct value *v = n->failed ? NULL : import_divide(n, node_input(n, 0), 2, b, &h);
    v = v ? import_divide(n, v, 3, b, &w) : NULL;
    if (!v)
        return;
    dim split[6] = {t->dims[0], t->dims[1], h, b, w, b};
    dim joined[4] = {t->dims[0], dims_mul(im->module, t->dims[1], b * b), h, w};
    static const int64_t axes[2][6] = {{0, 1, 3, 5, 2, 4}, {0, 3, 5, 1, 2, 4}};
    v = import_transpose(im, import_reshape(im, v, 6, split), axes[blocks_first(n)]);
    node_output(n, 0, import_reshape(im, v, 4, joined));
}
