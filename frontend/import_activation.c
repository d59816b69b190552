// Activations that are small compositions of element arithmetic. Constants are rounded to the input's type.
#include <string.h>

#include "frontend/import_internal.h"

// Building blocks; y is a number.
static struct value *with(struct node *n, enum opcode code, struct value *x, double y)
{
    return import_binary(n, code, x, import_number(n, x->type->dtype, y));
}

static struct value *either(struct node *n, enum opcode compare, struct value *x, double y, struct value *then,
                            struct value *otherwise)
{
    return import_select(n, with(n, compare, x, y), then, otherwise);
}

static struct value *clamp_to_one(struct node *n, struct value *x) // NaN stays
{
    struct value *zero = import_number(n, x->type->dtype, 0), *one = import_number(n, x->type->dtype, 1);
    return import_binary(n, OP_MIN, one, import_binary(n, OP_MAX, zero, x));
}

static struct value *hard_sigmoid(struct node *n, struct value *x, double alpha, double beta)
{
    return clamp_to_one(n, with(n, OP_ADD, with(n, OP_MUL, x, alpha), beta));
}

static struct value *shrink(struct node *n, struct value *x, double limit, double bias)
{
    struct value *zero = import_number(n, x->type->dtype, 0);
    struct value *low = with(n, OP_ADD, x, bias), *high = with(n, OP_SUB, x, bias);
    return either(n, OP_LT, x, -limit, low, either(n, OP_GT, x, limit, high, zero));
}

struct value *import_activation(struct node *n, enum activation a, struct value *x, double alpha, double beta)
{
    switch (a) {
    case ACTIVATION_AFFINE:
        return with(n, OP_ADD, with(n, OP_MUL, x, alpha), beta);
    case ACTIVATION_CELU:
        return either(n, OP_LT, x, 0, with(n, OP_MUL, import_unary(n, OP_EXPM1, with(n, OP_DIV, x, alpha)), alpha), x);
    case ACTIVATION_ELU:
        return either(n, OP_LT, x, 0, with(n, OP_MUL, import_unary(n, OP_EXPM1, x), alpha), x);
    case ACTIVATION_HARD_SIGMOID:
        return hard_sigmoid(n, x, alpha, beta);
    case ACTIVATION_HARD_SWISH:
        return import_binary(n, OP_MUL, x, hard_sigmoid(n, x, 1.0 / 6, 0.5));
    case ACTIVATION_LEAKY_RELU:
        return either(n, OP_LT, x, 0, with(n, OP_MUL, x, alpha), x);
    case ACTIVATION_MISH:
        return import_binary(n, OP_MUL, x, import_unary(n, OP_TANH, import_unary(n, OP_SOFTPLUS, x)));
    case ACTIVATION_SCALED_TANH:
        return with(n, OP_MUL, import_unary(n, OP_TANH, with(n, OP_MUL, x, beta)), alpha);
    case ACTIVATION_SELU:
        x = either(n, OP_LE, x, 0, with(n, OP_MUL, import_unary(n, OP_EXPM1, x), alpha), x);
        return with(n, OP_MUL, x, beta);
    case ACTIVATION_SHRINK:
        return shrink(n, x, alpha, beta);
    case ACTIVATION_SOFTSIGN:
        return import_binary(n, OP_DIV, x, with(n, OP_ADD, import_unary(n, OP_ABS, x), 1));
    case ACTIVATION_SWISH:
        if (alpha == 1)
            return import_unary(n, OP_SILU, x);
        return import_binary(n, OP_MUL, x, import_unary(n, OP_SIGMOID, with(n, OP_MUL, x, alpha)));
    case ACTIVATION_THRESHOLDED_RELU:
        return either(n, OP_GT, x, alpha, x, import_number(n, x->type->dtype, 0));
    }
    return NULL;
}

// The attributes that are alpha and beta, and their defaults.
static const struct activation_row {
    const char *alpha, *beta;
    double default_alpha, default_beta;
} activations[] = {
    [ACTIVATION_CELU] = {"alpha", "", 1, 0},
    [ACTIVATION_ELU] = {"alpha", "", 1, 0},
    [ACTIVATION_HARD_SIGMOID] = {"alpha", "beta", (double)0.2f, 0.5},
    [ACTIVATION_HARD_SWISH] = {"", "", 0, 0},
    [ACTIVATION_LEAKY_RELU] = {"alpha", "", (double)0.01f, 0},
    [ACTIVATION_MISH] = {"", "", 0, 0},
    [ACTIVATION_SELU] = {"alpha", "gamma", (double)1.67326319217681884765625f, (double)1.05070102214813232421875f},
    [ACTIVATION_SHRINK] = {"lambd", "bias", 0.5, 0},
    [ACTIVATION_SOFTSIGN] = {"", "", 0, 0},
    [ACTIVATION_SWISH] = {"alpha", "", 1, 0},
    [ACTIVATION_THRESHOLDED_RELU] = {"alpha", "", 1, 0},
};

static struct value *float_input(struct node *n)
{
    enum dtype t = node_type(n, 0)->dtype;
    if (dtype_is_float(t))
        return node_input(n, 0);
    node_error(n, "is defined for floats; input %s is %s", model_quote(n->im->model, n->inputs[0]->name),
               dtype_info[t].name);
    return NULL;
}

void import_op_activation(struct node *n)
{
    struct value *x = float_input(n);
    const struct activation_row *a = &activations[n->row->parameter];
    double alpha = node_float(n, a->alpha, a->default_alpha), beta = node_float(n, a->beta, a->default_beta);
    if (x)
        node_output(n, 0, import_activation(n, (enum activation)n->row->parameter, x, alpha, beta));
}

void import_op_gelu(struct node *n)
{
    struct value *x = float_input(n);
    const char *approximate = node_string(n, "approximate", "none");
    if (!x)
        return;
    if (!strcmp(approximate, "none")) {
        node_output(n, 0, import_unary(n, OP_GELU, x));
    } else if (!strcmp(approximate, "tanh")) { // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
        struct value *cube = import_binary(n, OP_MUL, x, import_binary(n, OP_MUL, x, x));
        struct value *inner = import_binary(n, OP_ADD, x, with(n, OP_MUL, cube, 0.044715));
        struct value *tanh = import_unary(n, OP_TANH, with(n, OP_MUL, inner, 0.79788456080286535588));
        node_output(n, 0, import_binary(n, OP_MUL, with(n, OP_MUL, x, 0.5), with(n, OP_ADD, tanh, 1)));
    } else {
        node_error(n, "'approximate' must be none or tanh, not %s", model_quote(n->im->model, approximate));
    }
}

void import_op_prelu(struct node *n)
{
    struct value *x = node_input(n, 0), *slope = node_input(n, 1);
    if (x->type->dtype != slope->type->dtype || x->type->dtype == DTYPE_I1) {
        node_error(n, "input %s is %s and the slope %s; both must be of one type of numbers",
                   model_quote(n->im->model, n->inputs[0]->name), dtype_info[x->type->dtype].name,
                   dtype_info[slope->type->dtype].name);
        return;
    }
    struct value *scaled = import_binary(n, OP_MUL, x, slope);
    node_output(n, 0, scaled ? either(n, OP_LT, x, 0, scaled, x) : NULL);
}
