// Operators that compute element by element.
#include <float.h>
#include <string.h>

#include "frontend/import_internal.h"
#include "ir/scalar.h"

// Inputs first to last have one element type, which `code` takes.
static bool check_types(struct node *n, int first, enum opcode code)
{
    enum dtype t = node_type(n, first)->dtype;
    for (int i = first + 1; i < n->n_inputs; i++)
        if (node_type(n, i)->dtype != t) {
            node_error(n, "inputs %s, %s, and %s, %s, must have one element type; cast one",
                       model_quote(n->im->model, n->inputs[first]->name), dtype_info[t].name,
                       model_quote(n->im->model, n->inputs[i]->name), dtype_info[node_type(n, i)->dtype].name);
            return false;
        }
    if (!scalar_is_defined(code, t))
        node_error(n, "is not defined for %s, the type of input %s", dtype_info[t].name,
                   model_quote(n->im->model, n->inputs[first]->name));
    return !n->failed;
}

// Arithmetic on sizes stays a list of sizes.
static bool output_list(struct node *n, enum opcode code, enum dtype t)
{
    struct list *in = ARENA_ARRAY(&n->im->arena, struct list, n->n_inputs), out;
    int rank = 0;
    for (int i = 0; i < n->n_inputs; i++) {
        in[i] = n->inputs[i]->list;
        rank = node_type(n, i)->rank > rank ? node_type(n, i)->rank : rank;
    }
    if (!import_list_arithmetic(n->im, code, node_type(n, n->n_inputs - 1)->dtype, n->n_inputs, in, &out))
        return false;
    node_output_list(n, 0, t, rank, out);
    return true;
}

static struct value **all_inputs(struct node *n)
{
    struct value **v = ARENA_ARRAY(&n->im->arena, struct value *, n->n_inputs);
    for (int i = 0; i < n->n_inputs; i++)
        v[i] = node_input(n, i);
    return v;
}

void import_op_elementwise(struct node *n)
{
    enum opcode code = (enum opcode)n->row->parameter;
    enum dtype t = node_type(n, 0)->dtype;
    if (dtype_is_float(t) && code == OP_MAX)
        code = OP_MAXIMUM;
    if (dtype_is_float(t) && code == OP_MIN)
        code = OP_MINIMUM;
    if (code == OP_ADD && op_info[code].n_operands < n->n_inputs && n->row->most_inputs < 0 && t == DTYPE_I1)
        code = OP_OR;
    if (!check_types(n, 0, code))
        return;
    bool compares = op_info[code].types == SCALAR_TYPES_C || op_info[code].types == SCALAR_TYPES_D;
    if (n->n_inputs == 1 && op_info[code].n_operands == 2) { // Max, Min, Sum of one
        node_output_value(n, 0, n->inputs[0]);
        return;
    }
    if (output_list(n, code, compares ? DTYPE_I1 : t))
        return;
    struct value **v = all_inputs(n), *result = v[0];
    if (op_info[code].n_operands == 1)
        result = import_unary(n, code, result);
    for (int i = 1; i < n->n_inputs && result; i++)
        result = import_binary(n, code, result, v[i]);
    node_output(n, 0, result);
}

void import_op_mean(struct node *n)
{
    if (!check_types(n, 0, OP_SQRT))
        return;
    struct value **v = all_inputs(n), *sum = v[0];
    for (int i = 1; i < n->n_inputs && sum; i++)
        sum = import_binary(n, OP_ADD, sum, v[i]);
    if (sum && n->n_inputs > 1)
        sum = import_binary(n, OP_DIV, sum, import_number(n, sum->type->dtype, n->n_inputs));
    node_output(n, 0, sum);
}

void import_op_bit_shift(struct node *n)
{
    const char *direction = node_string(n, "direction", "");
    bool left = !strcmp(direction, "LEFT");
    if (!left && strcmp(direction, "RIGHT"))
        node_error(n, "'direction' must be LEFT or RIGHT, not %s", model_quote(n->im->model, direction));
    else if (check_types(n, 0, OP_SHL))
        node_output(n, 0, import_binary(n, left ? OP_SHL : OP_SHR, node_input(n, 0), node_input(n, 1)));
}

// ---- Types -----------------------------------------------------------------------------------------------------

// 8-bit floats saturate: what is too large, infinities included, becomes the largest number. NaN stays.
static struct value *saturate(struct node *n, struct value *x, enum dtype to)
{
    double most = to == DTYPE_F8E4M3 ? 448 : 57344;
    if (dtype_info[x->type->dtype].bits < 16 || !dtype_is_float(x->type->dtype))
        x = import_cast(n->im, x, DTYPE_F32);
    x = import_binary(n, OP_MAX, import_number(n, x->type->dtype, -most), x);
    return import_binary(n, OP_MIN, import_number(n, x->type->dtype, most), x);
}

static void cast_to(struct node *n, enum dtype to)
{
    enum dtype from = node_type(n, 0)->dtype;
    struct list list = n->inputs[0]->list;
    if (from == to) {
        node_output_value(n, 0, n->inputs[0]);
        return;
    }
    dim *wrapped = ARENA_ARRAY(&n->im->arena, dim, list.n + 1);
    bool listed = list.v && !dtype_is_float(to) && to != DTYPE_I1;
    for (int i = 0; i < list.n && listed; i++) {
        int64_t x;
        wrapped[i] =
            dims_to_int(n->im->module, list.v[i], &x) ? dims_from_int(n->im->module, dtype_wrap(to, x)) : list.v[i];
        listed = wrapped[i] != DIM_UNKNOWN;
    }
    if (listed)
        node_output_list(n, 0, to, node_type(n, 0)->rank, (struct list){list.n, wrapped});
    else if (node_int(n, "saturate", 1) && (to == DTYPE_F8E4M3 || to == DTYPE_F8E5M2))
        node_output(n, 0, import_cast(n->im, saturate(n, node_input(n, 0), to), to));
    else
        node_output(n, 0, import_cast(n->im, node_input(n, 0), to));
}

void import_op_cast(struct node *n)
{
    int64_t to = node_int(n, "to", 0);
    enum dtype t = to == (int32_t)to ? onnx_type_dtype((int32_t)to) : DTYPE_NONE;
    if (t == DTYPE_NONE)
        node_error(n, "element type %s is not supported; take another", onnx_type_name(&n->im->arena, (int32_t)to));
    else
        cast_to(n, t);
}

static struct value *bit_cast(struct import *im, struct value *x, enum dtype t)
{
    if (x->type->dtype == DTYPE_I1)
        x = import_cast(im, x, DTYPE_U8);
    struct attr to = {ATTR_TO, {.dtype = t}};
    return x->type->dtype == t ? x : build_value(&im->b, OP_BITCAST, 1, &x, 1, &to, NULL);
}

void import_op_bit_cast(struct node *n)
{
    int64_t to = node_int(n, "to", 0);
    enum dtype t = to == (int32_t)to ? onnx_type_dtype((int32_t)to) : DTYPE_NONE, from = node_type(n, 0)->dtype;
    if (t == DTYPE_NONE)
        node_error(n, "element type %s is not supported", onnx_type_name(&n->im->arena, (int32_t)to));
    else if (t == DTYPE_I1 || dtype_bytes(t) != dtype_bytes(from)) // a bool is a byte of 0 or 1
        node_error(n, "%s and %s are not of one width", dtype_info[from].name, dtype_info[t].name);
    else
        node_output(n, 0, bit_cast(n->im, node_input(n, 0), t));
}

void import_op_cast_like(struct node *n)
{
    cast_to(n, node_type(n, 1)->dtype);
}

// ---- The rest --------------------------------------------------------------------------------------------------

void import_op_is_inf(struct node *n)
{
    bool negative = node_int(n, "detect_negative", 1), positive = node_int(n, "detect_positive", 1);
    if (!check_types(n, 0, OP_ISINF))
        return;
    struct value *x = node_input(n, 0), *result = import_unary(n, OP_ISINF, x);
    struct value *zero = import_number(n, x->type->dtype, 0);
    if (!negative && !positive)
        result = import_binary(n, OP_AND, result, import_number(n, DTYPE_I1, 0));
    else if (!negative || !positive)
        result = import_binary(n, OP_AND, result, import_binary(n, positive ? OP_GT : OP_LT, x, zero));
    node_output(n, 0, result);
}

// The remainder with the sign of the divisor, of floats: what rem gives, moved by one divisor where the signs differ.
static struct value *floor_mod(struct node *n, struct value *x, struct value *y)
{
    struct value *zero = import_number(n, x->type->dtype, 0), *r = import_binary(n, OP_REM, x, y);
    if (!r)
        return NULL;
    struct value *other_sign =
        import_binary(n, OP_XOR, import_binary(n, OP_LT, r, zero), import_binary(n, OP_LT, y, zero));
    struct value *moved = import_select(n, other_sign, import_binary(n, OP_ADD, r, y), r);
    return import_select(n, import_binary(n, OP_EQ, r, zero), import_binary(n, OP_COPYSIGN, r, y), moved);
}

void import_op_mod(struct node *n)
{
    bool fmod = node_int(n, "fmod", 0), is_float = dtype_is_float(node_type(n, 0)->dtype);
    enum opcode code = fmod || is_float ? OP_REM : OP_MOD;
    if (!check_types(n, 0, code))
        return;
    if (code == OP_REM || !output_list(n, code, node_type(n, 0)->dtype)) {
        struct value *x = node_input(n, 0), *y = node_input(n, 1);
        node_output(n, 0, is_float && !fmod ? floor_mod(n, x, y) : import_binary(n, code, x, y));
    }
}

// The type of the result is that of the base. Whole powers are exact products where that is what pow gives.
void import_op_pow(struct node *n)
{
    struct value *x = node_input(n, 0), *y;
    enum dtype t = x->type->dtype, u = node_type(n, 1)->dtype;
    double power;
    bool number =
        node_type(n, 1)->rank == 0 || dims_product(n->im->module, node_type(n, 1)->rank, node_type(n, 1)->dims) == 1;
    if (t == DTYPE_I1 || u == DTYPE_I1) {
        node_error(n, "is not defined for %s to the power of %s", dtype_info[t].name, dtype_info[u].name);
        return;
    }
    if (number && node_type(n, 1)->rank <= x->type->rank && node_number(n, 1, 0, &power) &&
        (power == 1 || power == 2)) {
        node_output(n, 0, power == 1 ? x : import_binary(n, OP_MUL, x, x));
        return;
    }
    y = node_input(n, 1);
    enum dtype in = dtype_is_float(t) ? t : DTYPE_F64; // of integers, as the reference does
    if (dtype_is_float(u) && dtype_info[u].bits > dtype_info[in].bits)
        in = u;
    struct value *result = import_binary(n, OP_POW, import_cast(n->im, x, in), import_cast(n->im, y, in));
    node_output(n, 0, result ? import_cast(n->im, result, t) : NULL);
}

void import_op_where(struct node *n)
{
    if (node_type(n, 0)->dtype != DTYPE_I1) {
        node_error(n, "the condition %s must be bool, not %s", model_quote(n->im->model, n->inputs[0]->name),
                   dtype_info[node_type(n, 0)->dtype].name);
        return;
    }
    if (check_types(n, 1, OP_SELECT) && !output_list(n, OP_SELECT, node_type(n, 1)->dtype))
        node_output(n, 0, import_select(n, node_input(n, 0), node_input(n, 1), node_input(n, 2)));
}

// max and min give their second operand for NaN, so a NaN in x stays; where the bounds cross, the upper one wins.
static struct value *clamp(struct node *n, struct value *x, struct value *low, struct value *high)
{
    if (low)
        x = import_binary(n, OP_MAX, low, x);
    if (high && x)
        x = import_binary(n, OP_MIN, high, x);
    return x;
}

void import_op_clip_attributes(struct node *n)
{
    if (!check_types(n, 0, OP_SQRT))
        return;
    enum dtype t = node_type(n, 0)->dtype;
    node_output(n, 0,
                clamp(n, node_input(n, 0), import_number(n, t, node_float(n, "min", -FLT_MAX)),
                      import_number(n, t, node_float(n, "max", FLT_MAX))));
}

void import_op_clip(struct node *n)
{
    struct value *x = node_input(n, 0), *bounds[2] = {NULL};
    for (int i = 1; i <= 2; i++) {
        if (!node_has_input(n, i))
            continue;
        const struct type *t = node_type(n, i);
        if (t->dtype != x->type->dtype || dims_product(n->im->module, t->rank, t->dims) != 1) {
            node_error(n, "bound %s must be one %s, not %s", model_quote(n->im->model, n->inputs[i]->name),
                       dtype_info[x->type->dtype].name, type_string(&n->im->arena, n->im->module, t));
            return;
        }
        bounds[i - 1] = import_reshape(n->im, node_input(n, i), 0, NULL);
    }
    if (!scalar_is_defined(OP_MAX, x->type->dtype))
        node_error(n, "is not defined for %s", dtype_info[x->type->dtype].name);
    else if (!bounds[0] && !bounds[1])
        node_output_value(n, 0, n->inputs[0]);
    else
        node_output(n, 0, clamp(n, x, bounds[0], bounds[1]));
}
