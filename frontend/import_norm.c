// Normalisation. What fuses well as a whole is a `composite` whose block says what it computes.
#include <string.h>

#include "frontend/import_internal.h"

static struct value *with(struct node *n, enum opcode code, struct value *x, double y)
{
    return import_binary(n, code, x, import_number(n, x->type->dtype, y));
}

static bool check_float(struct node *n)
{
    const struct type *t = node_type(n, 0);
    if (!dtype_is_float(t->dtype))
        node_error(n, "is defined for floats; input %s is %s", model_quote(n->im->model, n->inputs[0]->name),
                   dtype_info[t->dtype].name);
    return !n->failed;
}

// ---- Softmax ---------------------------------------------------------------------------------------------------

static struct value *softmax(struct node *n, struct value *x, int axis)
{
    struct import *im = n->im;
    bool logarithm = n->row->parameter, axes[MAX_RANK] = {false};
    enum dtype t = x->type->dtype;
    axes[axis] = true;
    struct op *op = import_composite(im, logarithm ? "log_softmax" : "softmax", 1, &x, 1);
    struct value *y = op->blocks[0]->args[0];
    y = import_cast(im, import_binary(n, OP_SUB, y, import_reduce(im, OP_MAX, y, axes)), import_wide(t));
    struct value *e = import_unary(n, OP_EXP, y), *sum = import_reduce(im, OP_ADD, e, axes);
    y = logarithm ? import_binary(n, OP_SUB, y, import_unary(n, OP_LOG, sum)) : import_binary(n, OP_DIV, e, sum);
    y = import_cast(im, y, t);
    import_composite_end(im, op, &y);
    return op->results[0];
}

void import_op_softmax(struct node *n)
{
    int axis;
    if (check_float(n) && node_axis(n, node_int(n, "axis", -1), node_type(n, 0)->rank, &axis))
        node_output(n, 0, softmax(n, node_input(n, 0), axis));
}

// Before version 13: over all the dimensions from the axis on. Those of size 1 make no difference.
void import_op_softmax_2d(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0);
    int axis, n_large = 0, large = 0;
    int64_t from = node_int(n, "axis", 1);
    if (!check_float(n))
        return;
    if (from == t->rank && t->rank) // rows of one element
        axis = t->rank;
    else if (!node_axis(n, from, t->rank, &axis))
        return;
    for (int d = axis; d < t->rank; d++)
        if (t->dims[d] != 1) {
            n_large++;
            large = d;
        }
    struct value *x = node_input(n, 0);
    if (n_large == 1) {
        node_output(n, 0, softmax(n, x, large));
        return;
    }
    dim dims[2] = {dims_product(im->module, axis, t->dims), dims_product(im->module, t->rank - axis, t->dims + axis)};
    x = softmax(n, import_reshape(im, x, 2, dims), 1);
    node_output(n, 0, import_reshape(im, x, t->rank, t->dims));
}

// ---- Statistics ------------------------------------------------------------------------------------------------

static struct value *mean(struct node *n, struct value *x, const bool *axes)
{
    dim count = 1;
    int64_t constant;
    for (int d = 0; d < x->type->rank; d++)
        if (axes[d])
            count = dims_mul(n->im->module, count, x->type->dims[d]);
    enum dtype t = x->type->dtype, wide = import_wide(t);
    struct value *sum = import_reduce(n->im, OP_ADD, import_cast(n->im, x, wide), axes);
    bool known = dims_to_int(n->im->module, count, &constant);
    struct value *n_elements = known ? import_number(n, wide, (double)constant) : import_size(n->im, count, wide);
    return import_cast(n->im, import_binary(n, OP_DIV, sum, n_elements), t);
}

struct normalized {
    struct value *y, *mean, *inverse;
};

// (x - mean) / sqrt(variance + epsilon) along the axes; without centring the mean is taken for 0.
static struct normalized normalize(struct node *n, struct value *x, const bool *axes, bool centre)
{
    struct normalized r = {.y = x};
    if (centre) {
        r.mean = mean(n, x, axes);
        r.y = import_binary(n, OP_SUB, x, r.mean);
    }
    struct value *variance = mean(n, import_binary(n, OP_MUL, r.y, r.y), axes);
    r.inverse = import_unary(n, OP_RSQRT, with(n, OP_ADD, variance, node_float(n, "epsilon", (double)1e-5f)));
    r.y = import_binary(n, OP_MUL, r.y, r.inverse);
    return r;
}

// What normalisation computes in: f32 unless told otherwise.
static enum dtype stash_type(struct node *n, enum dtype t)
{
    int64_t stash = node_int(n, "stash_type", ONNX_FLOAT);
    if (stash != ONNX_FLOAT && stash != ONNX_BFLOAT16 && stash != ONNX_FLOAT16 && stash != ONNX_DOUBLE)
        node_error(n, "'stash_type' %lld is not supported; use 1, for float", (long long)stash);
    return t == DTYPE_F64 || stash != ONNX_FLOAT ? t : DTYPE_F32;
}

// Scale and bias broadcast to the normalised dimensions only; the outputs are y and the statistics that are wanted.
static void normalize_rows(struct node *n, const char *name, bool centre)
{
    struct import *im = n->im;
    if (!check_float(n))
        return;
    const struct type *t = node_type(n, 0);
    int axis;
    if (!node_axis(n, node_int(n, "axis", -1), t->rank, &axis))
        return;
    bool axes[MAX_RANK] = {false}, biased = node_has_input(n, 2);
    for (int d = axis; d < t->rank; d++)
        axes[d] = true;
    enum dtype in = stash_type(n, t->dtype);
    struct value *v[3] = {NULL};
    for (int i = 0; i < 2 + biased; i++)
        v[i] = node_input(n, i);
    for (int i = 1; i < 2 + biased; i++)
        if (v[i]->type->dtype != t->dtype || v[i]->type->rank > t->rank) {
            node_error(n, "input %s, %s, does not fit %s", model_quote(im->model, n->inputs[i]->name),
                       type_string(&im->arena, im->module, v[i]->type), type_string(&im->arena, im->module, t));
            return;
        }
    for (int i = 1; i < 2 + biased && !n->failed; i++)
        v[i] = import_stretch_onto(n, v[i], t);
    if (n->failed)
        return;
    int results = node_wants(n, 2) ? 3 : node_wants(n, 1) ? 2 : 1;
    struct op *op = import_composite(im, name, 2 + biased, v, results);
    struct value **args = op->blocks[0]->args;
    struct normalized r = normalize(n, import_cast(im, args[0], in), axes, centre);
    struct value *y = import_binary(n, OP_MUL, import_cast(im, r.y, t->dtype), args[1]);
    if (biased)
        y = import_binary(n, OP_ADD, y, args[2]);
    import_composite_end(im, op, (struct value *[]){y, r.mean, r.inverse});
    for (int i = 0; i < results; i++)
        node_output(n, i, op->results[i]);
}

void import_op_layer_norm(struct node *n)
{
    normalize_rows(n, "layer_norm", true);
}

void import_op_rms_norm(struct node *n)
{
    normalize_rows(n, "rms_norm", false);
}

// ---- By channels -----------------------------------------------------------------------------------------------

// A list of one entry per channel, shaped to broadcast against [N, C, ...] in the type of the input.
static struct value *channels(struct node *n, int i, dim count, int rank)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, i);
    if (t->rank != 1 || !dtype_is_float(t->dtype)) {
        node_error(n, "input %s must be a list of floats, one for each channel, not %s",
                   model_quote(im->model, n->inputs[i]->name), type_string(&im->arena, im->module, t));
        return NULL;
    }
    struct value *v = import_match(n, node_input(n, i), 0, count);
    dim dims[MAX_RANK] = {1, count, 1, 1, 1, 1, 1, 1};
    return v ? import_reshape(im, import_cast(im, v, node_type(n, 0)->dtype), rank, dims) : NULL;
}

static bool check_channels(struct node *n)
{
    const struct type *t = node_type(n, 0);
    if (check_float(n) && t->rank < 2)
        node_error(n, "input %s has no channels", type_string(&n->im->arena, n->im->module, t));
    return !n->failed;
}

// y = x * a + b with a = scale / sqrt(variance + epsilon), b = bias - mean * a: constants where those are, and folded.
void import_op_batch_norm(struct node *n)
{
    if (!check_channels(n))
        return;
    struct value *x = node_input(n, 0), *v[4];
    if (node_int(n, "training_mode", 0) || node_wants(n, 1)) {
        node_error(n, "training mode is not supported; export the model for inference");
        return;
    }
    if (!node_int(n, "spatial", 1)) {
        node_error(n, "'spatial' of 0 is not supported; write it as Sub, Div, Mul and Add");
        return;
    }
    for (int i = 0; i < 4; i++)
        if (!(v[i] = channels(n, 1 + i, x->type->dims[1], x->type->rank)))
            return;
    struct value *variance = with(n, OP_ADD, v[3], node_float(n, "epsilon", (double)1e-5f));
    struct value *a = import_binary(n, OP_DIV, v[0], import_unary(n, OP_SQRT, variance));
    struct value *b = import_binary(n, OP_SUB, v[1], import_binary(n, OP_MUL, v[2], a));
    node_output(n, 0, import_binary(n, OP_ADD, import_binary(n, OP_MUL, x, a), b));
}

void import_op_instance_norm(struct node *n)
{
    if (!check_channels(n))
        return;
    struct value *x = node_input(n, 0);
    struct value *scale = channels(n, 1, x->type->dims[1], x->type->rank);
    struct value *bias = scale ? channels(n, 2, x->type->dims[1], x->type->rank) : NULL;
    bool axes[MAX_RANK] = {false};
    if (!bias)
        return;
    for (int d = 2; d < x->type->rank; d++)
        axes[d] = true;
    struct op *op = import_composite(n->im, "instance_norm", 3, (struct value *[]){x, scale, bias}, 1);
    struct value **args = op->blocks[0]->args;
    enum dtype in = import_wide(x->type->dtype);
    struct value *y = import_binary(n, OP_MUL, normalize(n, import_cast(n->im, args[0], in), axes, true).y,
                                    import_cast(n->im, args[1], in));
    y = import_cast(n->im, import_binary(n, OP_ADD, y, import_cast(n->im, args[2], in)), x->type->dtype);
    import_composite_end(n->im, op, &y);
    node_output(n, 0, op->results[0]);
}

// Each group of channels is normalised as a row. Scale and bias are given by channel, before version 21 by group.
void import_op_group_norm(struct node *n)
{
    struct import *im = n->im;
    struct module *m = im->module;
    if (!check_channels(n))
        return;
    struct value *x = node_input(n, 0);
    const struct type *t = x->type;
    int64_t groups = node_int(n, "num_groups", 1);
    if (groups < 1 || groups > INT32_MAX) {
        node_error(n, "'num_groups' is %lld; it must be positive", (long long)groups);
        return;
    }
    dim each, rest = dims_product(m, t->rank - 2, t->dims + 2);
    bool by_channel = n->row->parameter, axes[MAX_RANK] = {false, false, true, true};
    struct value *v[3] = {import_divide(n, x, 1, groups, &each)};
    for (int i = 1; i < 3 && v[0]; i++) {
        v[i] = channels(n, i, by_channel ? v[0]->type->dims[1] : groups, 2);
        if (!v[i])
            return;
    }
    if (!v[0])
        return;
    enum dtype in = stash_type(n, t->dtype);
    dim grouped[4] = {t->dims[0], groups, each, rest}, scales[4] = {1, groups, by_channel ? each : 1, 1};
    struct op *op = import_composite(im, "group_norm", 3, v, 1);
    struct value **args = op->blocks[0]->args;
    struct value *y = import_reshape(im, import_cast(im, args[0], in), 4, grouped);
    y = import_cast(im, normalize(n, y, axes, true).y, t->dtype);
    y = import_binary(n, OP_MUL, y, import_reshape(im, args[1], 4, scales));
    y = import_binary(n, OP_ADD, y, import_reshape(im, args[2], 4, scales));
    y = import_reshape(im, y, t->rank, v[0]->type->dims);
    import_composite_end(im, op, &y);
    node_output(n, 0, import_coerce(im, op->results[0], t->dims));
}
