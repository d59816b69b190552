// Sizes that must be equal, and what it takes to broadcast.
//
// Sizes that differ as expressions may still be the same number at run time. Where an operator demands it, an `assert`
// says so once, and from there on the two are taken for equal: a value with the one size becomes one with the other by
// a `slice` of the whole (nothing of it is left when the graph is lowered).
//
// Where an operator broadcasts, either may also be 1. The assert says that, the result's size is broadcast(a, b), and
// values become that large by a `broadcast`: a view whose stride is 0 where the size turns out to be 1.
#include <string.h>

#include "frontend/import_internal.h"

static const char *size_text(struct import *im, dim d)
{
    return dim_string(&im->arena, im->module, d);
}

// What the size was agreed to be.
static dim agreed(const struct import *im, dim d)
{
    for (int i = 0; i < im->n_agreed; i++) // later entries lead further
        if (im->agreed[i].from == d && !im->agreed[i].or_one)
            d = im->agreed[i].to;
    return d;
}

// Whether the two are known to broadcast.
static bool broadcasts(const struct import *im, dim a, dim b)
{
    for (int i = 0; i < im->n_agreed; i++) {
        const struct agreed_sizes *s = &im->agreed[i];
        if (s->or_one && ((s->from == a && s->to == b) || (s->from == b && s->to == a)))
            return true;
    }
    return false;
}

static void remember(struct import *im, dim from, dim to, bool or_one)
{
    if (im->n_agreed == im->n_agreed_room) {
        int room = im->n_agreed_room * 2 + 16;
        struct agreed_sizes *grown = ARENA_ARRAY(&im->arena, struct agreed_sizes, room);
        if (im->n_agreed)
            memcpy(grown, im->agreed, sizeof *grown * (size_t)im->n_agreed);
        im->agreed = grown;
        im->n_agreed_room = room;
    }
    im->agreed[im->n_agreed++] = (struct agreed_sizes){from, to, or_one};
}

static void assert_that(struct node *n, struct value *condition, const char *message)
{
    message = arena_printf(&n->im->arena, "node '%s': %s", n->loc.node, message);
    build_op(&n->im->b, OP_ASSERT, 1, &condition, 1, &(struct attr){ATTR_MESSAGE, {.string = message}}, 0, NULL);
}

void import_assert(struct node *n, enum opcode compare, dim a, dim b, const char *message)
{
    struct builder *build = &n->im->b;
    assert_that(n, build_binary(build, compare, dims_build(build, a), dims_build(build, b)), message);
}

// For all values of the symbols.
static bool differ(const struct import *im, dim a, dim b)
{
    int64_t lo, hi;
    dims_range(im->module, dims_sub(im->module, a, b), &lo, &hi);
    return lo > 0 || (hi != INT64_MAX && hi < 0);
}

static void note_symbol(void *seen, int id)
{
    ((bool *)seen)[id] = true;
}

bool import_sizes_differ(struct import *im, dim a, dim b)
{
    struct module *m = im->module;
    bool *in_a = ARENA_ARRAY(&im->arena, bool, m->n_symbols + 1),
         *in_b = ARENA_ARRAY(&im->arena, bool, m->n_symbols + 1);
    a = agreed(im, a);
    b = agreed(im, b);
    // What N and M broadcast to is N, mostly.
    bool broadcasts =
        dims_may_be_one(m, a) && dims_may_be_one(m, b) && (dims_stretches(m, a, b) || dims_stretches(m, b, a));
    if (a == b || broadcasts)
        return false;
    dims_symbols(m, a, note_symbol, in_a);
    dims_symbols(m, b, note_symbol, in_b);
    for (int i = 0; i < m->n_symbols; i++)
        if (in_a[i] && in_b[i])
            return true;
    return false;
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
    if (differ(im, a, b)) {
        node_error(n, "sizes %s and %s must be equal", size_text(im, first), size_text(im, second));
        return DIM_UNKNOWN;
    }
    import_assert(
        n, OP_EQ, a, b,
        arena_printf(&im->arena, "sizes %s and %s must be equal", size_text(im, first), size_text(im, second)));
    if (!dim_is_symbol(b)) { // a constant says more
        remember(im, a, b, false);
        return b;
    }
    remember(im, b, a, false);
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

// a and b are equal, or one that may be 1 is: b, or either.
static struct value *fit_together(struct import *im, dim a, dim b, bool either)
{
    struct builder *build = &im->b;
    struct value *x = dims_build(build, a), *y = dims_build(build, b), *one = build_index(build, 1);
    struct value *fit = differ(im, a, b) ? NULL : build_binary(build, OP_EQ, x, y);
    if (dims_may_be_one(im->module, b)) {
        y = build_binary(build, OP_EQ, y, one);
        fit = fit ? build_binary(build, OP_OR, fit, y) : y;
    }
    if (either && dims_may_be_one(im->module, a)) {
        x = build_binary(build, OP_EQ, x, one);
        fit = fit ? build_binary(build, OP_OR, fit, x) : x;
    }
    return fit;
}

// A size that a slice was clamped to. One that is 1 at most is not meant: that is an element or none.
static bool is_cut(const struct import *im, dim d)
{
    int64_t lo, hi;
    dims_range(im->module, d, &lo, &hi);
    return hi > 1 && dims_is_clamped(im->module, d);
}

dim import_broadcast_size(struct node *n, dim a, dim b)
{
    struct import *im = n->im;
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN) {
        node_error(n, "sizes of what is computed on the way are too large or too complicated");
        return DIM_UNKNOWN;
    }
    if (a == 1 || b == 1 || a == b)
        return a == 1 ? b : a;
    const char *first = size_text(im, a), *second = size_text(im, b);
    a = agreed(im, a);
    b = agreed(im, b);
    if (a == b || (!dims_may_be_one(im->module, a) && !dims_may_be_one(im->module, b)))
        return import_agree(n, a, b);
    dim all = dims_broadcast(im->module, a, b);
    if (all == DIM_UNKNOWN) {
        node_error(n, "what sizes %s and %s broadcast to is too complicated", first, second);
        return all;
    }
    if (broadcasts(im, a, b))
        return all;
    // A slice of a table meets what it was cut for: the part of GPT-2's mask, max(min(past + S, 1024) - min(past,
    // 1024), 0) rows, is as long as the S tokens. Taken for equal, its size does not live on in those of all that
    // follows.
    if (is_cut(im, a) && dims_is_polynomial(im->module, b))
        return import_agree(n, b, a);
    if (is_cut(im, b) && dims_is_polynomial(im->module, a))
        return import_agree(n, a, b);
    assert_that(n, fit_together(im, a, b, true),
                arena_printf(&im->arena, "sizes %s and %s must be equal, or one of them 1", first, second));
    remember(im, a, b, true);
    remember(im, a, all, true);
    remember(im, b, all, true);
    return all;
}

struct value *import_stretch(struct import *im, struct value *v, const dim *dims)
{
    dim own[MAX_RANK], wide[MAX_RANK];
    int rank = v->type->rank;
    for (int d = 0; d < rank; d++) {
        own[d] = v->type->dims[d];
        if (own[d] != 1 && own[d] != dims[d])
            own[d] = agreed(im, own[d]);
        wide[d] = own[d] == 1 ? 1 : dims[d];
    }
    return import_broadcast_to(im, import_coerce(im, v, own), rank, wide);
}

struct value *import_stretch_onto(struct node *n, struct value *v, const struct type *t)
{
    struct import *im = n->im;
    dim wide[MAX_RANK], dims[MAX_RANK];
    int rank = v->type->rank;
    for (int d = 0; d < rank; d++) {
        dim own = agreed(im, v->type->dims[d]), want = t->dims[t->rank - rank + d];
        dims[d] = own == 1 ? 1 : want;
        if (own == 1 || own == want) {
            wide[d] = own;
        } else if (want == 1 || own == agreed(im, want) || !dims_may_be_one(im->module, own)) {
            wide[d] = import_agree(n, want, own);
        } else {
            wide[d] = dims_broadcast(im->module, want, own);
            assert_that(n, fit_together(im, want, own, false),
                        arena_printf(&im->arena, "size %s must be 1 or %s", size_text(im, own), size_text(im, want)));
        }
        if (wide[d] == DIM_UNKNOWN)
            return NULL;
    }
    return import_coerce(im, import_stretch(im, v, wide), dims);
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
            shape->dims[d] = import_broadcast_size(n, shape->dims[d], have);
            if (shape->dims[d] == DIM_UNKNOWN) {
                n->im->b.failed = true; // the operation that was to come is not built
                return false;
            }
        }
    }
    for (int i = 0; i < count; i++) {
        if (v[i]->type->kind == TYPE_SCALAR)
            continue;
        v[i] = import_stretch(n->im, v[i], shape->dims + shape->rank - v[i]->type->rank);
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
        import_assert(n, OP_GE, size, 0,
                      arena_printf(&n->im->arena, "the size %s is negative", size_text(n->im, size)));
}

bool import_assert_index(struct node *n, dim index, dim size)
{
    struct module *m = n->im->module;
    if (index == DIM_UNKNOWN || size == DIM_UNKNOWN)
        return true;
    const dim rest[2] = {index, dims_sub(m, dims_sub(m, size, 1), index)}; // before it and behind it
    const char *message = arena_printf(&n->im->arena, "an index is out of range for size %s", size_text(n->im, size));
    for (int i = 0; i < 2; i++) {
        int64_t lo, hi;
        if (rest[i] == DIM_UNKNOWN) { // the difference is larger than sizes can be
            import_assert(n, OP_LT, index, size, message);
            continue;
        }
        dims_range(m, rest[i], &lo, &hi);
        if (hi < 0) {
            node_error(n, "%s", message);
            return false;
        }
        if (lo < 0)
            import_assert(n, OP_GE, rest[i], 0, message);
    }
    return true;
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

struct value *import_divide(struct node *n, struct value *v, int axis, int64_t by, dim *quotient)
{
    struct import *im = n->im;
    struct module *m = im->module;
    dim dims[MAX_RANK], size = agreed(im, v->type->dims[axis]);
    memcpy(dims, v->type->dims, sizeof dims);
    *quotient = dims_exact(m, size, by);
    if (*quotient == DIM_UNKNOWN) {
        if (!import_assert_divides(n, size, by))
            return NULL;
        *quotient = dims_floordiv(m, size, by);
        dim product = dims_mul(m, *quotient, by);
        if (product == DIM_UNKNOWN) {
            node_error(n,
                       "the size %s is too complicated to be divided by %lld; give it a value when compiling, by --dim",
                       size_text(im, size), (long long)by);
            return NULL;
        }
        remember(im, size, product, false);
        size = product;
    }
    dims[axis] = size;
    return import_coerce(im, v, dims);
}
