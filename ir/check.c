// The rules of each operation: what operands and attributes it takes, and the types of its results. One function per
// row of ops.def; scalar operations share one. Those of graphs and host functions are in check_graph.c.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ir/check_internal.h"
#include "ir/dims.h"
#include "ir/einsum.h"
#include "ir/layout_tile.h"
#include "ir/scalar.h"

static bool is_index(const struct type *t)
{
    return t->kind == TYPE_SCALAR && t->dtype == DTYPE_INDEX;
}

static const char *check_array(const struct checker *c, int i)
{
    NEED(c->op->n_operands > i, "needs operand %d", i + 1);
    NEED(operand(c, i)->kind == TYPE_TILE || operand(c, i)->kind == TYPE_TENSOR,
         "operand %d must be a tile or a tensor, not %s", i + 1, text(c, operand(c, i)));
    return NULL;
}

static const char *check_tile(const struct checker *c, int i)
{
    NEED(c->op->n_operands > i, "needs operand %d", i + 1);
    NEED(operand(c, i)->kind == TYPE_TILE, "operand %d must be a tile, not %s", i + 1, text(c, operand(c, i)));
    return NULL;
}

// Layouts on a GPU: the result lies like an operand of its shape, and the others as they meet it there.
static const char *broadcast_linear(const struct checker *c, int first, struct type *t)
{
    bool any = false;
    for (int i = first; i < c->op->n_operands; i++) {
        const struct type *u = operand(c, i);
        any |= u->linear != NULL;
        if (u->linear && !t->linear && u->rank == t->rank && !memcmp(u->dims, t->dims, sizeof(dim) * (size_t)t->rank))
            t->linear = u->linear;
    }
    NEED(!any || t->linear, "no operand has the shape of the result, so its layout is unknown; broadcast one");
    for (int i = first; any && i < c->op->n_operands; i++) {
        const struct type *u = operand(c, i);
        if (u->kind != TYPE_TILE)
            continue;
        struct layout meets = layout_operand(t->linear, u);
        NEED(u->linear && layout_equal(u->linear, &meets), "operand %d, %s, lies differently than the result", i + 1,
             text(c, u));
    }
    return NULL;
}

// Result dimensions of operands that broadcast against each other from the last dimension on (size 1 stretches);
// scalars broadcast to everything. *t is unset (kind view) when all are scalars.
static const char *broadcast_types(const struct checker *c, int first, struct type *t)
{
    *t = (struct type){.kind = TYPE_SCALAR};
    for (int i = first; i < c->op->n_operands; i++) {
        const struct type *u = operand(c, i);
        NEED(u->kind != TYPE_VIEW, "operand %d is a view; load a tile of it first", i + 1);
        if (u->kind == TYPE_SCALAR)
            continue;
        NEED(t->kind == TYPE_SCALAR || t->kind == u->kind, "mixes tiles and tensors");
        t->kind = u->kind;
        if (u->lanes) {
            // Registers of a wider layout win; the values without the vector axis are splat.
            int axis = u->vector_axis - u->rank; // from the end
            if (u->lanes > 1 && t->lanes > 1)
                NEED(u->lanes == t->lanes && axis == t->vector_axis, "operands lie in different layouts");
            if (u->lanes > t->lanes) {
                t->lanes = u->lanes;
                t->vector_axis = u->lanes > 1 ? axis : 0;
            }
        }
        int shift = u->rank - t->rank;
        if (shift > 0) {
            memmove(t->dims + shift, t->dims, sizeof(dim) * (size_t)t->rank);
            for (int d = 0; d < shift; d++)
                t->dims[d] = 1;
            t->rank = u->rank;
        }
        for (int d = 0; d < u->rank; d++) {
            dim *have = &t->dims[t->rank - u->rank + d], want = u->dims[d];
            if (*have == 1)
                *have = want;
            NEED(want == 1 || *have == want,
                 "operand %d, %s, does not broadcast: dimension %d is %s where another "
                 "operand has %s",
                 i + 1, text(c, u), d, dim_string(&c->m->arena, c->m, want), dim_string(&c->m->arena, c->m, *have));
        }
    }
    if (t->lanes > 1)
        t->vector_axis += t->rank;
    return broadcast_linear(c, first, t);
}

static struct type *make_type(struct module *m, const struct type *t, enum dtype d)
{
    if (t->kind == TYPE_SCALAR)
        return type_scalar(m, d);
    if (t->kind == TYPE_TENSOR)
        return type_tensor(m, d, t->rank, t->dims);
    struct type *u = type_tile(m, d, t->rank, t->dims);
    if (t->linear)
        return type_linear(m, u, t->linear);
    return t->lanes ? type_shaped(m, u, t->lanes, t->vector_axis) : u;
}

static const char *check_scalar(const struct checker *c)
{
    const struct op_info *info = &op_info[c->op->code];
    int first = info->types == SCALAR_TYPES_S; // select's condition is apart
    for (int i = 0; i < c->op->n_operands; i++)
        NEED(operand(c, i)->kind != TYPE_VIEW, "operand %d is a view; load a tile of it first", i + 1);
    enum dtype d = operand(c, first)->dtype;
    for (int i = first + 1; i < c->op->n_operands; i++)
        NEED(operand(c, i)->dtype == d, "operands have different element types, %s and %s; cast one",
             dtype_info[d].name, dtype_info[operand(c, i)->dtype].name);
    NEED(info->types != SCALAR_TYPES_S || operand(c, 0)->dtype == DTYPE_I1, "the condition must be i1, not %s",
         text(c, operand(c, 0)));
    NEED(scalar_is_defined(c->op->code, d), "is not defined for %s", dtype_info[d].name);
    struct type t;
    const char *fault = broadcast_types(c, 0, &t);
    if (fault)
        return fault;
    bool compares = info->types == SCALAR_TYPES_C || info->types == SCALAR_TYPES_D;
    c->types[0] = make_type(c->m, &t, compares ? DTYPE_I1 : d);
    return NULL;
}

static const char *check_constant(const struct checker *c)
{
    struct number n = op_attr(c->op, ATTR_VALUE)->number;
    const struct type *t = stated(c, 0);
    NEED(t || n.is_float == false, "needs a type");
    c->types[0] = t ? (struct type *)t : type_scalar(c->m, DTYPE_INDEX);
    t = c->types[0];
    NEED(t->kind != TYPE_VIEW, "cannot be a view");
    NEED(dtype_is_float(t->dtype) || !n.is_float, "a %s constant must be a whole number", dtype_info[t->dtype].name);
    if (t->dtype == DTYPE_I1)
        NEED(n.i == 0 || n.i == 1, "an i1 constant is 0 or 1");
    return NULL;
}

static const char *check_iota(const struct checker *c)
{
    const struct type *t = stated(c, 0);
    NEED(t && (t->kind == TYPE_TILE || t->kind == TYPE_TENSOR) && dtype_is_int(t->dtype),
         "needs a tile or tensor type of integers");
    int64_t axis = op_int(c->op, ATTR_AXIS, 0);
    NEED(axis >= 0 && axis < t->rank, "axis %lld is not one of %s", (long long)axis, text(c, t));
    c->types[0] = (struct type *)t;
    return NULL;
}

static const char *check_program_id(const struct checker *c)
{
    int64_t d = op_int(c->op, ATTR_DIM, 0);
    NEED(d >= 0 && d < 3, "the grid's dimensions are 0, 1 and 2");
    c->types[0] = type_scalar(c->m, DTYPE_INDEX);
    return NULL;
}

static const char *check_view(const struct checker *c, int i)
{
    NEED(c->op->n_operands > i && operand(c, i)->kind == TYPE_VIEW, "operand %d must be a view", i + 1);
    return NULL;
}

static const char *check_dim(const struct checker *c)
{
    const char *fault = operand(c, 0)->kind == TYPE_TENSOR ? NULL : check_view(c, 0);
    if (fault)
        return fault;
    int64_t d = op_int(c->op, ATTR_DIM, 0);
    NEED(d >= 0 && d < operand(c, 0)->rank, "%s has no dimension %lld", text(c, operand(c, 0)), (long long)d);
    c->types[0] = type_scalar(c->m, DTYPE_INDEX);
    return NULL;
}

static const char *check_cast(const struct checker *c)
{
    NEED(operand(c, 0)->kind != TYPE_VIEW, "cannot cast a view");
    c->types[0] = type_with_dtype(c->m, operand(c, 0), op_attr(c->op, ATTR_TO)->dtype);
    return NULL;
}

static const char *check_bitcast(const struct checker *c)
{
    const char *fault = check_cast(c);
    enum dtype from = operand(c, 0)->dtype, to = op_attr(c->op, ATTR_TO)->dtype;
    if (!fault)
        NEED(dtype_info[from].bits == dtype_info[to].bits, "%s and %s have different widths", dtype_info[from].name,
             dtype_info[to].name);
    return fault;
}

// Operand v is a view and as many indices follow. Indices are index scalars; with `tiles`, integer tiles as well.
static const char *check_access(const struct checker *c, int v, bool tiles, struct type *shape)
{
    const char *fault = check_view(c, v);
    if (fault)
        return fault;
    const struct type *view = operand(c, v);
    int n = c->op->n_operands - v - 1;
    NEED(n == view->rank, "a view of rank %d takes %d indices, not %d", view->rank, view->rank, n);
    for (int i = v + 1; i < c->op->n_operands; i++) {
        const struct type *t = operand(c, i);
        bool ok = is_index(t) || (tiles && t->kind == TYPE_TILE && dtype_is_int(t->dtype));
        NEED(ok, "index %d must be %s, not %s", i - v - 1, tiles ? "an index or a tile of integers" : "an index",
             text(c, t));
    }
    return shape ? broadcast_types(c, v + 1, shape) : NULL;
}

// Factors as large as a tile may be, also of windows on windows: then what a map adds to an offset fits 64 bits by far.
#define MOST_FACTOR ((int64_t)1 << 31)

static bool compose_maps(const struct affine_map *outer, const struct affine_map *inner, struct affine_map *composed)
{
    *composed = (struct affine_map){.n_in = inner->n_in, .n_out = outer->n_out};
    for (int r = 0; r < outer->n_out; r++)
        for (int d = 0; d < inner->n_in; d++) {
            int64_t *sum = &composed->coefficient[r][d], product;
            for (int j = 0; j < outer->n_in; j++)
                if (__builtin_mul_overflow(outer->coefficient[r][j], inner->coefficient[j][d], &product) ||
                    __builtin_add_overflow(*sum, product, sum))
                    return false;
            if (*sum > MOST_FACTOR || *sum < -MOST_FACTOR)
                return false;
        }
    return true;
}

// Composed from the last window on, so that every part of the chain that an access may be followed along is checked.
static bool factors_are_small(const struct affine_map *map, const struct value *view)
{
    struct affine_map identity = {.n_in = map->n_out, .n_out = map->n_out}, composed;
    for (int d = 0; d < map->n_out; d++)
        identity.coefficient[d][d] = 1;
    bool small = compose_maps(&identity, map, &composed);
    for (; small && view->def && view->def->code == OP_WINDOW; view = view->def->operands[0]) {
        struct affine_map inner = composed;
        small = compose_maps(op_attr(view->def, ATTR_MAP)->map, &inner, &composed);
    }
    return small;
}

static const char *check_window(const struct checker *c)
{
    const char *fault = check_access(c, 0, false, NULL);
    if (fault)
        return fault;
    const struct affine_map *map = op_attr(c->op, ATTR_MAP)->map;
    const struct type *view = operand(c, 0);
    NEED(map->n_out == view->rank, "the map gives %d root indices for a view of rank %d", map->n_out, view->rank);
    NEED(factors_are_small(map, c->op->operands[0]),
         "a factor of the map, or of the maps of this window and those it is made from, is beyond 2^31");
    dim dims[MAX_RANK];
    for (int i = 0; i < map->n_in; i++)
        dims[i] = DIM_UNKNOWN;
    c->types[0] = type_view(c->m, view->dtype, map->n_in, dims, NULL);
    return NULL;
}

static const char *check_scratch(const struct checker *c)
{
    const struct type *t = stated(c, 0);
    NEED(t && t->kind == TYPE_VIEW && !t->strided, "needs a view type without strides");
    int unknown = 0;
    for (int i = 0; i < t->rank; i++) {
        NEED(!dim_is_symbol(t->dims[i]), "give sizes that are not constant as `?` with an operand each");
        unknown += t->dims[i] == DIM_UNKNOWN;
    }
    NEED(c->op->n_operands == unknown, "%d sizes are unknown and %d operands given", unknown, c->op->n_operands);
    for (int i = 0; i < unknown; i++)
        NEED(is_index(operand(c, i)), "sizes are of type index");
    c->types[0] = (struct type *)t;
    return NULL;
}

static const char *check_pad(const struct checker *c, enum dtype d)
{
    const struct attr *pad = op_attr(c->op, ATTR_PAD);
    NEED(!pad || !pad->number.is_float || dtype_is_float(d), "the padding of %s must be a whole number",
         dtype_info[d].name);
    return NULL;
}

static const char *check_inbounds(const struct checker *c, const struct value *view)
{
    struct ints dims = op_ints(c->op, ATTR_INBOUNDS);
    const struct value *root = view_root((struct value *)view);
    for (int i = 0; i < dims.n; i++)
        NEED(dims.v[i] >= 0 && dims.v[i] < root->type->rank, "the view's root has no dimension %lld",
             (long long)dims.v[i]);
    return NULL;
}

static const char *check_load(const struct checker *c)
{
    const char *fault = check_access(c, 0, false, NULL);
    if (fault)
        return fault;
    const struct type *view = operand(c, 0), *t = stated(c, 0);
    if (!t)
        t = type_scalar(c->m, view->dtype);
    if (t->kind == TYPE_TILE)
        NEED(t->rank == view->rank, "a view of rank %d gives tiles of rank %d", view->rank, view->rank);
    NEED(t->kind != TYPE_VIEW && t->dtype == view->dtype, "a view of %s does not give %s", dtype_info[view->dtype].name,
         text(c, t));
    c->types[0] = (struct type *)t;
    fault = check_inbounds(c, c->op->operands[0]);
    return fault ? fault : check_pad(c, t->dtype);
}

static const char *check_store(const struct checker *c)
{
    const char *fault = check_access(c, 1, false, NULL);
    if (fault)
        return fault;
    const struct type *x = operand(c, 0), *view = operand(c, 1);
    NEED(x->kind != TYPE_VIEW && x->dtype == view->dtype, "%s cannot be stored in a view of %s", text(c, x),
         dtype_info[view->dtype].name);
    NEED(x->kind == TYPE_SCALAR || x->rank == view->rank, "a view of rank %d takes tiles of rank %d", view->rank,
         view->rank);
    return check_inbounds(c, c->op->operands[1]);
}

#define MOST_PREFETCHED 16384 // an instruction for each line of the cache

static const char *check_prefetch(const struct checker *c)
{
    const char *fault = check_access(c, 0, false, NULL);
    if (fault)
        return fault;
    struct ints sizes = op_ints(c->op, ATTR_SIZES);
    NEED(sizes.n == operand(c, 0)->rank, "a view of rank %d takes as many sizes, not %d", operand(c, 0)->rank, sizes.n);
    int64_t elements = 1;
    for (int i = 0; i < sizes.n; i++) {
        NEED(sizes.v[i] >= 1, "size %lld is less than 1", (long long)sizes.v[i]);
        NEED(sizes.v[i] <= MOST_PREFETCHED / elements, "at most %d elements", MOST_PREFETCHED);
        elements *= sizes.v[i];
    }
    return NULL;
}

static const char *check_gather(const struct checker *c)
{
    struct type shape;
    const char *fault = check_access(c, 0, true, &shape);
    if (fault)
        return fault;
    c->types[0] = make_type(c->m, &shape, operand(c, 0)->dtype);
    return check_pad(c, operand(c, 0)->dtype);
}

static const char *check_scatter(const struct checker *c)
{
    struct type shape;
    const char *fault = check_access(c, 1, true, &shape);
    if (fault)
        return fault;
    NEED(operand(c, 0)->kind != TYPE_VIEW, "operand 1 is a view; load a tile of it first");
    NEED(operand(c, 0)->dtype == operand(c, 1)->dtype, "the values are %s and the view holds %s",
         dtype_info[operand(c, 0)->dtype].name, dtype_info[operand(c, 1)->dtype].name);
    if (operand(c, 0)->kind == TYPE_TILE) {
        NEED(shape.kind == TYPE_TILE && shape.rank == operand(c, 0)->rank, "the values and the indices differ in rank");
        for (int i = 0; i < shape.rank; i++)
            NEED(operand(c, 0)->dims[i] == shape.dims[i], "the values, %s, and the indices differ in dimension %d",
                 text(c, operand(c, 0)), i);
        NEED(!shape.linear || (operand(c, 0)->linear && layout_equal(operand(c, 0)->linear, shape.linear)),
             "the values lie differently than the indices");
    }
    return NULL;
}

const char *check_combine(const struct checker *c, enum dtype d)
{
    enum opcode f = op_attr(c->op, ATTR_COMBINE)->opcode;
    NEED(opcode_is_scalar(f) && op_info[f].flags & SCALAR_ASSOCIATES,
         "'%s' is not associative; use one of add mul "
         "max min maximum minimum and or xor",
         op_info[f].name);
    enum scalar_types types = op_info[f].types;
    NEED(types == SCALAR_TYPES_N   ? d != DTYPE_I1
         : types == SCALAR_TYPES_F ? dtype_is_float(d)
                                   : !dtype_is_float(d),
         "'%s' is not defined for %s", op_info[f].name, dtype_info[d].name);
    return NULL;
}

static const char *check_atomic(const struct checker *c)
{
    const char *fault = check_scatter(c);
    return fault ? fault : check_combine(c, operand(c, 0)->dtype);
}

static const char *check_dot(const struct checker *c)
{
    for (int i = 0; i < 3; i++) {
        const char *fault = check_tile(c, i);
        if (fault)
            return fault;
    }
    struct einsum e;
    const char *fault = einsum_parse(op_attr(c->op, ATTR_LABELS)->string, &e);
    NEED(!fault, "%s", fault);
    int64_t sizes[EINSUM_LABELS] = {0};
    for (int i = 0; i < 3; i++) {
        const struct type *t = operand(c, i);
        NEED(t->rank == e.rank[i], "operand %d, %s, has %d labels", i + 1, text(c, t), e.rank[i]);
        for (int d = 0; d < t->rank; d++) {
            int64_t *size = &sizes[e.axis[i][d]];
            NEED(!*size || *size == t->dims[d], "axis '%c' is %lld and %lld long", e.label[e.axis[i][d]],
                 (long long)*size, (long long)t->dims[d]);
            *size = t->dims[d];
        }
    }
    bool floats = dtype_is_float(operand(c, 2)->dtype);
    for (int i = 0; i < 3; i++)
        NEED(dtype_is_float(operand(c, i)->dtype) == floats && operand(c, i)->dtype != DTYPE_I1,
             "products of %s and %s cannot be summed in %s", dtype_info[operand(c, 0)->dtype].name,
             dtype_info[operand(c, 1)->dtype].name, dtype_info[operand(c, 2)->dtype].name);
    c->types[0] = c->op->operands[2]->type;
    return NULL;
}

static const char *check_axes(const struct checker *c, int rank)
{
    struct ints axes = op_ints(c->op, ATTR_AXES);
    for (int i = 0; i < axes.n; i++) {
        NEED(axes.v[i] >= 0 && axes.v[i] < rank, "axis %lld is not one of %s", (long long)axes.v[i],
             text(c, operand(c, 0)));
        for (int j = 0; j < i; j++)
            NEED(axes.v[i] != axes.v[j], "axis %lld stands twice", (long long)axes.v[i]);
    }
    return NULL;
}

static const char *check_reduce(const struct checker *c)
{
    const char *fault = check_array(c, 0);
    if (!fault)
        fault = check_axes(c, operand(c, 0)->rank);
    if (!fault)
        fault = check_combine(c, operand(c, 0)->dtype);
    if (fault)
        return fault;
    struct ints axes = op_ints(c->op, ATTR_AXES);
    struct type t = *operand(c, 0);
    for (int i = 0; i < axes.n; i++) {
        t.dims[axes.v[i]] = 1;
        if (t.lanes > 1 && t.vector_axis == axes.v[i])
            t.lanes = 1;
    }
    struct layout reduced;
    if (t.linear) {
        reduced = layout_reduced(operand(c, 0)->linear, &t);
        t.linear = &reduced;
    }
    c->types[0] = make_type(c->m, &t, t.dtype);
    if (c->op->n_operands > 1) {
        NEED(c->op->n_operands == 2 && is_index(operand(c, 1)), "the count must be an index");
        NEED(axes.n == 1, "a count goes with one axis");
    }
    return NULL;
}

static const char *check_scan(const struct checker *c)
{
    const char *fault = check_array(c, 0);
    if (!fault)
        fault = check_combine(c, operand(c, 0)->dtype);
    if (fault)
        return fault;
    int64_t axis = op_int(c->op, ATTR_AXIS, 0);
    NEED(axis >= 0 && axis < operand(c, 0)->rank, "axis %lld is not one of %s", (long long)axis,
         text(c, operand(c, 0)));
    c->types[0] = c->op->operands[0]->type;
    if (c->op->n_operands > 1) {
        const struct type *carry = operand(c, 1);
        NEED(c->op->n_operands == 2 && carry->kind == operand(c, 0)->kind && carry->rank == operand(c, 0)->rank &&
                 carry->dtype == operand(c, 0)->dtype,
             "the carry must be like the scanned operand");
        for (int d = 0; d < carry->rank; d++)
            NEED(carry->dims[d] == (d == axis ? 1 : operand(c, 0)->dims[d]), "the carry's dimension %d must be %s", d,
                 dim_text(c, d == axis ? 1 : operand(c, 0)->dims[d]));
    }
    return NULL;
}

static const char *check_broadcast(const struct checker *c)
{
    const struct type *from = operand(c, 0), *to = stated(c, 0);
    NEED(to && (to->kind == TYPE_TILE || to->kind == TYPE_TENSOR) &&
             (from->kind == TYPE_SCALAR || from->kind == to->kind),
         "needs a type of its operand's kind to broadcast to");
    NEED(from->dtype == to->dtype, "does not change the element type");
    NEED(from->kind == TYPE_SCALAR || from->rank <= to->rank, "%s does not broadcast to %s", text(c, from),
         text(c, to));
    for (int d = 0; d < from->rank; d++)
        NEED(dims_stretches(c->m, from->dims[d], to->dims[to->rank - from->rank + d]), "%s does not broadcast to %s",
             text(c, from), text(c, to));
    struct layout meets;
    if (to->linear && from->kind == TYPE_TILE) {
        meets = layout_operand(to->linear, from);
        NEED(from->linear && layout_equal(from->linear, &meets), "%s lies differently than %s", text(c, from),
             text(c, to));
    }
    c->types[0] = (struct type *)to;
    return NULL;
}

static const char *check_convert_layout(const struct checker *c)
{
    const char *fault = check_tile(c, 0);
    if (fault)
        return fault;
    const struct type *from = operand(c, 0), *to = stated(c, 0);
    NEED(to && to->linear && from->linear, "goes from one GPU layout to another");
    NEED(type_linear(c->m, from, to->linear) == to, "%s and %s differ in more than their layouts", text(c, from),
         text(c, to));
    c->types[0] = (struct type *)to;
    return NULL;
}

static const char *check_reshape(const struct checker *c)
{
    const char *fault = check_array(c, 0);
    if (fault)
        return fault;
    const struct type *from = operand(c, 0), *to = stated(c, 0);
    NEED(to && to->kind == from->kind && to->dtype == from->dtype, "needs a type of the same kind and elements");
    if (to->kind == TYPE_TENSOR)
        return check_reshape_tensor(c);
    NEED(type_elements(from) == type_elements(to), "%s and %s differ in size", text(c, from), text(c, to));
    if (from->linear && to->linear) {
        uint32_t shape[MAX_RANK];
        for (int d = 0; d < to->rank; d++)
            shape[d] = (uint32_t)to->dims[d];
        struct layout l = layout_reshape(from->linear, (unsigned)to->rank, shape);
        NEED(layout_equal(&l, to->linear), "%s lies differently than %s", text(c, from), text(c, to));
    }
    c->types[0] = (struct type *)to;
    return NULL;
}

static const char *check_transpose(const struct checker *c)
{
    const char *fault = check_array(c, 0);
    if (!fault)
        fault = check_axes(c, operand(c, 0)->rank);
    if (fault)
        return fault;
    struct ints axes = op_ints(c->op, ATTR_AXES);
    struct type t = *operand(c, 0);
    NEED(axes.n == t.rank, "takes every axis once: %d are given for rank %d", axes.n, t.rank);
    for (int d = 0; d < t.rank; d++) {
        t.dims[d] = operand(c, 0)->dims[axes.v[d]];
        if (t.lanes > 1 && operand(c, 0)->vector_axis == axes.v[d])
            t.vector_axis = d;
    }
    struct layout transposed;
    if (t.linear) {
        unsigned permutation[MAX_RANK];
        for (int d = 0; d < t.rank; d++)
            permutation[d] = (unsigned)axes.v[d];
        transposed = layout_transpose(t.linear, permutation);
        t.linear = &transposed;
    }
    c->types[0] = make_type(c->m, &t, t.dtype);
    return NULL;
}

static const char *check_extract(const struct checker *c)
{
    const char *fault = check_array(c, 0);
    if (fault)
        return fault;
    NEED(c->op->n_operands - 1 == operand(c, 0)->rank, "takes %d indices", operand(c, 0)->rank);
    for (int i = 1; i < c->op->n_operands; i++)
        NEED(is_index(operand(c, i)), "index %d must be an index", i - 1);
    c->types[0] = type_scalar(c->m, operand(c, 0)->dtype);
    return NULL;
}

static const char *check_assume(const struct checker *c)
{
    NEED(is_index(operand(c, 0)), "is about an index");
    NEED(op_int(c->op, ATTR_DIVISIBLE, 1) >= 1, "a divisor is at least 1");
    c->types[0] = c->op->operands[0]->type;
    return NULL;
}

// The values a block hands to its operation must have the types of `want`.
const char *check_handed(const struct checker *c, const struct block *b, enum opcode code, int n,
                         struct value *const *want)
{
    const struct op *end = block_terminator(b);
    NEED(end && end->code == code, "a block must end in %s", op_info[code].name);
    NEED(end->n_operands == n, "%s hands over %d values where %d are wanted", op_info[code].name, end->n_operands, n);
    for (int i = 0; i < n; i++)
        NEED(end->operands[i]->type == want[i]->type, "value %d yielded is %s where %s is wanted", i + 1,
             text(c, end->operands[i]->type), text(c, want[i]->type));
    return NULL;
}

static const char *check_carried(const struct checker *c, const struct block *b, int first_arg, int first_operand)
{
    int n = c->op->n_operands - first_operand;
    NEED(b->n_args - first_arg == n, "carries %d values and has %d initial ones", b->n_args - first_arg, n);
    NEED(c->op->n_results == n, "carries %d values and has %d results", n, c->op->n_results);
    for (int i = 0; i < n; i++) {
        const struct type *t = operand(c, first_operand + i);
        NEED(t->kind != TYPE_VIEW, "a loop cannot carry a view");
        NEED(b->args[first_arg + i]->type == t, "carried value %d is %s and starts as %s", i + 1,
             text(c, b->args[first_arg + i]->type), text(c, t));
        c->types[i] = (struct type *)t;
    }
    return NULL;
}

static const char *check_for(const struct checker *c)
{
    NEED(c->op->n_operands >= 3, "needs bounds and a step");
    for (int i = 0; i < 3; i++)
        NEED(is_index(operand(c, i)), "bounds and step must be of type index, not %s", text(c, operand(c, i)));
    const char *fault = check_carried(c, c->op->blocks[0], 1, 3);
    return fault ? fault : check_handed(c, c->op->blocks[0], OP_YIELD, c->op->n_results, c->op->results);
}

static const char *check_while(const struct checker *c)
{
    const char *fault = check_carried(c, c->op->blocks[0], 0, 0);
    if (!fault)
        fault = check_carried(c, c->op->blocks[1], 0, 0);
    if (fault)
        return fault;
    const struct op *end = block_terminator(c->op->blocks[0]);
    NEED(end && end->code == OP_CONDITION, "the first block must end in condition");
    return check_handed(c, c->op->blocks[1], OP_YIELD, c->op->n_results, c->op->results);
}

static const char *check_if(const struct checker *c)
{
    NEED(operand(c, 0)->kind == TYPE_SCALAR && operand(c, 0)->dtype == DTYPE_I1, "the condition must be i1, not %s",
         text(c, operand(c, 0)));
    for (int i = 0; i < c->op->n_results; i++)
        c->types[i] = (struct type *)stated(c, i);
    for (int i = 0; i < 2; i++) {
        if (i == 1 && !c->op->blocks[i]->first && !c->op->n_results)
            continue;
        const char *fault = check_handed(c, c->op->blocks[i], OP_YIELD, c->op->n_results, c->op->results);
        if (fault)
            return fault;
    }
    return NULL;
}

static bool fills_scratch(const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op_info[op->code].effect == EFFECT_WRITE) {
            const struct value *root = view_root(op->operands[op_view_operand(op)]);
            if (!root->def || root->def->code != OP_SCRATCH)
                return false;
        }
        for (int i = 0; i < op->n_blocks; i++)
            if (!fills_scratch(op->blocks[i]))
                return false;
    }
    return true;
}

static const char *check_once(const struct checker *c)
{
    for (int i = 0; i < c->op->n_operands; i++)
        NEED(is_index(operand(c, i)), "key %d must be an index, not %s", i + 1, text(c, operand(c, i)));
    NEED(!c->op->blocks[0]->n_args, "its block takes no arguments");
    NEED(fills_scratch(c->op->blocks[0]), "its block may store to scratch only");
    return check_handed(c, c->op->blocks[0], OP_YIELD, 0, NULL);
}

static const char *check_yield(const struct checker *c)
{
    (void)c;
    return NULL;
}

static const char *check_condition(const struct checker *c)
{
    NEED(operand(c, 0)->kind == TYPE_SCALAR && operand(c, 0)->dtype == DTYPE_I1, "the condition must be i1, not %s",
         text(c, operand(c, 0)));
    return NULL;
}

// Attributes that a format string demands with '@'.
static const char *check_attrs(const struct checker *c, const char *format)
{
    for (const char *p = strchr(format, '@'); p; p = strchr(p + 1, '@')) {
        size_t n = strcspn(p + 1, " ");
        bool found = false;
        for (int i = 0; i < c->op->n_attrs; i++) {
            const char *name = attr_info[c->op->attrs[i].key].name;
            found |= strlen(name) == n && !memcmp(name, p + 1, n);
        }
        NEED(found, "needs '%.*s'", (int)n, p + 1);
    }
    return NULL;
}

const char *check_op(struct module *m, const struct op *op, struct type **types)
{
    static const char *(*const checks[OP_COUNT])(const struct checker *) = {
#define OP(e, name, operands, results, blocks, check, effect, format, functions) [OP_##e] = check_##check,
#include "ir/ops.def"
#undef OP
    };
    struct checker checker = {m, op, types}, *c = &checker;
    const struct op_info *info = &op_info[op->code];
    NEED(info->n_operands < 0 || op->n_operands == info->n_operands, "takes %d operands, not %d", info->n_operands,
         op->n_operands);
    NEED(info->n_results < 0 || op->n_results == info->n_results, "has %d results, not %d", info->n_results,
         op->n_results);
    const char *fault = info->format ? check_attrs(c, info->format) : NULL;
    if (!fault)
        fault = opcode_is_scalar(op->code) ? check_scalar(c) : checks[op->code](c);
    if (fault)
        return fault;
    for (int i = 0; i < op->n_results; i++)
        NEED(!op->results[i]->type || op->results[i]->type == types[i], "the result is %s, not %s", text(c, types[i]),
             text(c, op->results[i]->type));
    return NULL;
}
