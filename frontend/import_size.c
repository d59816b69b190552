// Sizes that must be equal, and what it takes to broadcast.
//
// Sizes that differ as expressions may still be the same number at run time. Where an operator demands it, an `assert`
// says so once, and from there on the two are taken for equal: a value with the one size becomes one with the other by a
// `slice` of the whole (nothing of it is left when the graph is lowered).
#include <string.h>

#include "frontend/import_internal.h"

static const char *size_text(struct import *im, dim d)
{
    return dim_string(&im->arena, im->module, d);
}

// What the size was agreed to be.
static dim agreed(const struct import *im, dim d)
{
    for (int i = 0; i < im->n_equal; i++) // later entries lead further
        if (im->equal[i].from == d)
            d = im->equal[i].to;
    return d;
}

static void remember(struct import *im, dim from, dim to)
{
    if (im->n_equal == im->n_equal_room) {
        int room = im->n_equal_room * 2 + 16;
        struct equal_sizes *grown = ARENA_ARRAY(&im->arena, struct equal_sizes, room);
        if (im->n_equal)
            memcpy(grown, im->equal, sizeof *grown * (size_t)im->n_equal);
        im->equal = grown;
        im->n_equal_room = room;
    }
    im->equal[im->n_equal++] = (struct equal_sizes){from, to};
}

void import_assert(struct node *n, enum opcode compare, dim a, dim b, const char *message)
{
    struct builder *build = &n->im->b;
    struct value *condition = build_binary(build, compare, dims_build(build, a), dims_build(build, b));
    message = arena_printf(&n->im->arena, "%s: node '%s': %s", n->loc.file, n->loc.node, message);
    build_op(build, OP_ASSERT, 1, &condition, 1, &(struct attr){ATTR_MESSAGE, {.string = message}}, 0, NULL);
}

dim import_agree(struct node *n, dim a, dim b)
{
    struct import *im = n->im;
    if (a == b)
        return a;
    dim first = a, second = b;
    a = agreed(im, a);
    b = agreed(im, b);
    if (a == b)
        return a;
    int64_t lo, hi;
    dims_range(im->module, dims_sub(im->module, a, b), &lo, &hi);
    if (lo > 0 || (hi != INT64_MAX && hi < 0)) {
        node_error(n, "sizes %s and %s must be equal", size_text(im, first), size_text(im, second));
        return DIM_UNKNOWN;
    }
    import_assert(n, OP_EQ, a, b,
                  arena_printf(&im->arena, "sizes %s and %s must be equal", size_text(im, first),
                               size_text(im, second)));
    if (!dim_is_symbol(b)) { // a constant says more
        remember(im, a, b);
        return b;
    }
    remember(im, b, a);
    return a;
}

struct value *import_coerce(struct import *im, struct value *v, const dim *dims)
{
    static const int64_t steps[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    static const dim starts[MAX_RANK];
    if (!memcmp(v->type->dims, dims, sizeof *dims * (size_t)v->type->rank))
        return v;
    return import_slice(im, v, starts, steps, dims);
}

struct value *import_match(struct node *n, struct value *v, int axis, dim size)
{
    dim dims[MAX_RANK];
    memcpy(dims, v->type->dims, sizeof dims);
    if (dims[axis] == size)
        return v;
    if (import_agree(n, size, dims[axis]) == DIM_UNKNOWN)
        return NULL;
    dims[axis] = size;
    return import_coerce(n->im, v, dims);
}

bool import_broadcast(struct node *n, int count, struct value **v, struct type *shape)
{
    *shape = (struct type){.kind = TYPE_TENSOR};
    for (int i = 0; i < count; i++)
        if (v[i]->type->rank > shape->rank)
            shape->rank = v[i]->type->rank;
    for (int d = 0; d < shape->rank; d++) {
        shape->dims[d] = 1;
        for (int i = 0; i < count; i++) {
            int at = d - (shape->rank - v[i]->type->rank);
            dim have = at < 0 ? 1 : v[i]->type->dims[at];
            if (have != 1)
                shape->dims[d] = shape->dims[d] == 1 ? have : import_agree(n, shape->dims[d], have);
            if (shape->dims[d] == DIM_UNKNOWN)
                return false;
        }
    }
    for (int i = 0; i < count; i++) {
        if (v[i]->type->kind == TYPE_SCALAR)
            continue;
        dim dims[MAX_RANK];
        int rank = v[i]->type->rank;
        for (int d = 0; d < rank; d++)
            dims[d] = v[i]->type->dims[d] == 1 ? 1 : shape->dims[shape->rank - rank + d];
        v[i] = import_coerce(n->im, v[i], dims);
    }
    return true;
}

void import_assert_size(struct node *n, dim size)
{
    int64_t lo, hi;
    if (size == DIM_UNKNOWN)
        return;
    dims_range(n->im->module, size, &lo, &hi);
    if (hi < 0)
        node_error(n, "%s is no size", size_text(n->im, size));
    else if (lo < 0)
        import_assert(n, OP_GE, size, 0, arena_printf(&n->im->arena, "the size %s is negative", size_text(n->im, size)));
}

bool import_assert_divides(struct node *n, dim a, dim b)
{
    struct import *im = n->im;
    if (dims_exact(im->module, a, b) != DIM_UNKNOWN)
        return true;
    dim rest = dims_mod(im->module, a, b);
    if (rest == DIM_UNKNOWN || (!dim_is_symbol(rest) && rest)) {
        node_error(n, "%s is not a multiple of %s", size_text(im, a), size_text(im, b));
        return false;
    }
    if (rest)
        import_assert(n, OP_EQ, rest, 0,
                      arena_printf(&im->arena, "%s must be a multiple of %s", size_text(im, a), size_text(im, b)));
    return true;
}
