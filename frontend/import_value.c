// Values of the model: constants with data, lists of sizes, and when they become operations.
//
// Constants take no operands, so they all stand at the start of the graph, where every branch sees them.
#include <string.h>

#include "frontend/import_internal.h"

double import_element(const struct tensor_data *t, int64_t i)
{
    union scalar x = dtype_load(t->dtype, (const char *)t->data + i * dtype_bytes(t->dtype));
    if (dtype_is_float(t->dtype))
        return x.f;
    return t->dtype == DTYPE_U64 ? (double)(uint64_t)x.i : (double)x.i;
}

struct list import_list_of_data(struct import *im, const struct tensor_data *t)
{
    if (t->rank > 1 || t->n > INT32_MAX || dtype_is_float(t->dtype) || t->dtype == DTYPE_U64)
        return (struct list){0};
    dim *v = ARENA_ARRAY(&im->arena, dim, t->n + 1);
    for (int64_t i = 0; i < t->n; i++) {
        union scalar x = dtype_load(t->dtype, (const char *)t->data + i * dtype_bytes(t->dtype));
        // INT64_MAX stands for "to the end" in Slice: anything beyond the largest size means the same.
        int64_t most = (int64_t)1 << 62;
        v[i] = dims_from_int(im->module, x.i > most ? most : x.i < -most ? -most : x.i);
    }
    return (struct list){(int)t->n, v};
}

struct import_value *import_data(struct import *im, const struct tensor_data *t, const char *name, struct loc loc)
{
    struct import_value *v = ARENA_NEW(&im->arena, struct import_value);
    dim dims[MAX_RANK];
    for (int d = 0; d < t->rank; d++)
        dims[d] = t->dims[d];
    v->name = name;
    v->loc = loc;
    v->type = type_tensor(im->module, t->dtype, t->rank, dims);
    v->data = arena_copy(&im->arena, t, sizeof *t);
    if (t->n <= MOST_LISTED)
        v->list = import_list_of_data(im, t);
    return v;
}

static struct value *place_constant(struct import *im, struct loc loc, enum opcode code, struct attr attr,
                                    struct type *type)
{
    struct block *body = im->function->body;
    struct builder b = im->b;
    b.block = body;
    b.before = im->last_constant ? im->last_constant->next : body->first;
    b.loc = loc;
    struct value *v = build_value(&b, code, 0, NULL, 1, &attr, type);
    im->last_constant = v->def;
    im->b.failed |= b.failed;
    return v;
}

static struct number number_at(const struct tensor_data *t, int64_t i)
{
    union scalar x = dtype_load(t->dtype, (const char *)t->data + i * dtype_bytes(t->dtype));
    bool is_float = dtype_is_float(t->dtype);
    return (struct number){is_float, is_float ? x.f : (double)x.i, is_float ? 0 : x.i};
}

static struct value *need_data(struct import *im, const struct import_value *v)
{
    const struct tensor_data *t = v->data;
    if (t->n == 1) // a number is easier to see through than bytes
        return place_constant(im, v->loc, OP_CONSTANT, (struct attr){ATTR_VALUE, {.number = number_at(t, 0)}}, v->type);
    struct attr attr = {ATTR_DATA, {.data = {v->name, t->data, t->bytes, t->mapped}}};
    return place_constant(im, v->loc, OP_DATA, attr, v->type);
}

static struct value *need_list(struct import *im, const struct import_value *v)
{
    struct list list = v->list;
    enum dtype t = v->type->dtype;
    int64_t width = dtype_bytes(t), x;
    char *bytes = arena_alloc(&im->module->arena, (size_t)((list.n + 1) * width));
    for (int i = 0; i < list.n; i++) {
        if (!dims_to_int(im->module, list.v[i], &x))
            return place_constant(im, v->loc, OP_SIZES, (struct attr){ATTR_DIMS, {.dims = {list.n, list.v}}}, v->type);
        dtype_store(t, bytes + i * width, (union scalar){.i = dtype_wrap(t, x)});
    }
    struct tensor_data data = {.dtype = t, .rank = v->type->rank, .n = list.n, .data = bytes, .bytes = list.n * width};
    return need_data(im, &(struct import_value){.loc = v->loc, .name = v->name, .type = v->type, .data = &data});
}

struct value *import_need(struct import *im, struct import_value *v)
{
    if (!v->value)
        v->value = v->data ? need_data(im, v) : need_list(im, v);
    return v->value;
}

struct value *import_size(struct import *im, dim size, enum dtype t)
{
    struct import_value v = {.loc = im->b.loc, .type = type_tensor(im->module, DTYPE_I64, 0, NULL), .list = {1, &size}};
    return import_cast(im, import_need(im, &v), t);
}

struct value *import_constant(struct import *im, struct type *t, double x)
{
    struct number n = {dtype_is_float(t->dtype), x, dtype_is_float(t->dtype) ? 0 : (int64_t)x};
    return place_constant(im, im->b.loc, OP_CONSTANT, (struct attr){ATTR_VALUE, {.number = n}}, t);
}

const char *import_dims_text(struct import *im, int rank, const dim *dims)
{
    char *text = arena_strdup(&im->arena, "[");
    for (int d = 0; d < rank; d++)
        text = arena_printf(&im->arena, "%s%s%s", text, d ? ", " : "", dim_string(&im->arena, im->module, dims[d]));
    return arena_printf(&im->arena, "%s]", text);
}

// ---- Lists -----------------------------------------------------------------------------------------------------

// 1, 0, or -1: it depends.
static int compare(struct import *im, enum opcode code, dim a, dim b)
{
    int64_t lo, hi;
    dims_range(im->module, dims_sub(im->module, a, b), &lo, &hi);
    bool below = hi != INT64_MAX && hi < 0, above = lo > 0, equal = lo == 0 && hi == 0;
    bool known = below || above || equal;
    switch (code) {
    case OP_EQ:
        return known ? equal : -1;
    case OP_NE:
        return known ? !equal : -1;
    case OP_LT:
        return below ? 1 : lo >= 0 ? 0 : -1;
    case OP_GE:
        return lo >= 0 ? 1 : below ? 0 : -1;
    case OP_GT:
        return above ? 1 : hi <= 0 ? 0 : -1;
    default: // OP_LE
        return hi <= 0 ? 1 : above ? 0 : -1;
    }
}

static dim divide(struct import *im, dim a, dim b)
{
    struct module *m = im->module;
    int64_t x, y, lo, hi;
    if (dims_to_int(m, a, &x) && dims_to_int(m, b, &y))
        return y ? dims_from_int(m, x / y) : DIM_UNKNOWN; // the largest list elements are 2^62
    dims_range(m, a, &lo, &hi);
    if (lo < 0)
        return DIM_UNKNOWN; // rounds towards 0, and the sign is open
    dims_range(m, b, &lo, &hi);
    return lo > 0 ? dims_floordiv(m, a, b) : DIM_UNKNOWN;
}

static dim combine(struct import *im, enum opcode code, dim a, dim b)
{
    struct module *m = im->module;
    int64_t x, y;
    bool constant = dims_to_int(m, a, &x) && dims_to_int(m, b, &y);
    switch (code) {
    case OP_IDENTITY:
        return a;
    case OP_ADD:
        return dims_add(m, a, b);
    case OP_SUB:
        return dims_sub(m, a, b);
    case OP_MUL:
        return dims_mul(m, a, b);
    case OP_DIV:
        return divide(im, a, b);
    case OP_MOD:
        return constant && y ? dims_from_int(m, x - (x / y - (x % y && (x < 0) != (y < 0))) * y) : dims_mod(m, a, b);
    case OP_MIN:
        return dims_min(m, a, b);
    case OP_MAX:
        return dims_max(m, a, b);
    case OP_NEG:
        return dims_sub(m, 0, a);
    case OP_ABS:
        return dims_max(m, a, dims_sub(m, 0, a));
    case OP_AND:
        return constant ? dims_from_int(m, x & y) : DIM_UNKNOWN;
    case OP_OR:
        return constant ? dims_from_int(m, x | y) : DIM_UNKNOWN;
    case OP_XOR:
        return constant ? dims_from_int(m, x ^ y) : DIM_UNKNOWN;
    default:
        return DIM_UNKNOWN;
    }
}

static dim element_of(struct import *im, enum opcode code, enum dtype t, const dim *x)
{
    int64_t c;
    if (code == OP_SELECT)
        return dims_to_int(im->module, x[0], &c) ? x[c ? 1 : 2] : DIM_UNKNOWN;
    if (code == OP_NOT && t == DTYPE_I1)
        return dims_to_int(im->module, x[0], &c) ? !c : DIM_UNKNOWN;
    if (code >= OP_EQ && code <= OP_GE) {
        int known = compare(im, code, x[0], x[1]);
        return known < 0 ? DIM_UNKNOWN : known;
    }
    dim d = combine(im, code, x[0], x[1]);
    // Lists hold mathematical integers: where the type would wrap a constant, computing is left to the operation.
    bool constant = d != DIM_UNKNOWN && dims_to_int(im->module, d, &c);
    return constant && dtype_wrap(t, c) != c ? DIM_UNKNOWN : d;
}

bool import_list_arithmetic(struct import *im, enum opcode code, enum dtype t, int count, const struct list *in,
                            struct list *out)
{
    int n = 1;
    for (int i = 0; i < count; i++) {
        if (!in[i].v || (in[i].n != 1 && n != 1 && in[i].n != n))
            return false;
        n = in[i].n == 1 ? n : in[i].n;
    }
    dim *v = ARENA_ARRAY(&im->arena, dim, n + 1);
    for (int i = 0; i < n; i++) {
        dim x[3] = {0};
        for (int j = 0; j < count && j < 3; j++)
            x[j] = in[j].v[in[j].n == 1 ? 0 : i];
        v[i] = element_of(im, code, t, x);
        for (int j = 2; j < count && code != OP_SELECT && v[i] != DIM_UNKNOWN; j++) { // Max and Sum of many
            x[0] = v[i];
            x[1] = in[j].v[in[j].n == 1 ? 0 : i];
            v[i] = element_of(im, code, t, x);
        }
        if (v[i] == DIM_UNKNOWN)
            return false;
    }
    *out = (struct list){n, v};
    return true;
}
