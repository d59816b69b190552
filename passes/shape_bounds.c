// What shaping knows of indices: their ranges, which positions of an axis nobody observes (clips), and which accesses
// need no bounds check.
#include <string.h>

#include "ir/einsum.h"
#include "ir/wrap.h"
#include "passes/shape.h"

// ---- Ranges ----------------------------------------------------------------------------------------------------

struct range {
    int64_t lo, hi; // both included; INT64_MIN / INT64_MAX: not known
};

static const struct range anything = {INT64_MIN, INT64_MAX};

static bool constant(const struct value *v, int64_t *x)
{
    if (!v->def || v->def->code != OP_CONSTANT || v->type->kind != TYPE_SCALAR || dtype_is_float(v->type->dtype))
        return false;
    *x = op_attr(v->def, ATTR_VALUE)->number.i;
    return true;
}

static int64_t add_bound(int64_t a, int64_t b, int64_t unknown)
{
    int64_t sum;
    if (a == unknown || b == unknown || __builtin_add_overflow(a, b, &sum))
        return unknown;
    return sum;
}

static int64_t mul_bound(int64_t a, int64_t k, int64_t unknown_in, int64_t unknown_out)
{
    int64_t product;
    if (a == unknown_in || __builtin_mul_overflow(a, k, &product))
        return unknown_out;
    return product;
}

static struct range range_of(const struct shaper *s, const struct value *v, int depth);

static struct range range_scaled(struct range r, int64_t k)
{
    if (k >= 0)
        return (struct range){mul_bound(r.lo, k, INT64_MIN, INT64_MIN), mul_bound(r.hi, k, INT64_MAX, INT64_MAX)};
    return (struct range){mul_bound(r.hi, k, INT64_MAX, INT64_MIN), mul_bound(r.lo, k, INT64_MIN, INT64_MAX)};
}

// The size of a grid dimension, if it is constant.
static bool grid_size(const struct shaper *s, int64_t d, const struct value **v)
{
    const struct op *end = block_terminator(s->old->grid);
    if (!end || d >= end->n_operands)
        return false;
    *v = end->operands[d];
    return true;
}

static struct range range_loop(const struct shaper *s, const struct op *loop, int depth)
{
    struct range lo = range_of(s, loop->operands[0], depth), hi = range_of(s, loop->operands[1], depth);
    int64_t from, step, span;
    struct range r = {lo.lo, add_bound(hi.hi, -1, INT64_MAX)};
    if (constant(loop->operands[0], &from) && constant(loop->operands[2], &step) && step > 0 && r.hi != INT64_MAX &&
        r.hi >= from && !__builtin_sub_overflow(r.hi, from, &span))
        r.hi = from + span / step * step;
    return r;
}

static struct range range_of(const struct shaper *s, const struct value *v, int depth)
{
    int64_t k;
    if (v->symbol >= 0)
        return (struct range){0, INT64_MAX};
    if (constant(v, &k))
        return (struct range){k, k};
    if (depth == 0 || v->type->kind != TYPE_SCALAR)
        return anything;
    if (!v->def) {
        const struct op *loop = v->block ? v->block->parent : NULL;
        if (loop && loop->code == OP_FOR && v == v->block->args[0])
            return range_loop(s, loop, depth - 1);
        return anything;
    }
    const struct op *op = v->def;
    if (op->code == OP_PROGRAM_ID) {
        const struct value *size;
        struct range r = {0, INT64_MAX};
        if (grid_size(s, op_int(op, ATTR_DIM, 0), &size))
            r.hi = add_bound(range_of(s, size, depth - 1).hi, -1, INT64_MAX);
        return r;
    }
    if (op->code == OP_ASSUME) {
        struct range r = range_of(s, op->operands[0], depth - 1);
        int64_t least = op_int(op, ATTR_LEAST, INT64_MIN), most = op_int(op, ATTR_MOST, INT64_MAX);
        return (struct range){least > r.lo ? least : r.lo, most < r.hi ? most : r.hi};
    }
    if (!opcode_is_scalar(op->code) || op->n_operands != 2)
        return anything;
    struct range a = range_of(s, op->operands[0], depth - 1), b = range_of(s, op->operands[1], depth - 1);
    switch (op->code) {
    case OP_ADD:
        return (struct range){add_bound(a.lo, b.lo, INT64_MIN), add_bound(a.hi, b.hi, INT64_MAX)};
    case OP_SUB:
        b = range_scaled(b, -1);
        return (struct range){add_bound(a.lo, b.lo, INT64_MIN), add_bound(a.hi, b.hi, INT64_MAX)};
    case OP_MUL:
        if (constant(op->operands[1], &k))
            return range_scaled(a, k);
        if (constant(op->operands[0], &k))
            return range_scaled(b, k);
        return a.lo >= 0 && b.lo >= 0 ? (struct range){0, INT64_MAX} : anything;
    case OP_MIN:
        return (struct range){a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi};
    case OP_MAX:
        return (struct range){a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
    case OP_FLOORDIV:
    case OP_CEILDIV:
        if (constant(op->operands[1], &k) && k > 0 && a.lo >= 0)
            return (struct range){a.lo / k,
                                  a.hi == INT64_MAX ? INT64_MAX : a.hi / k + (op->code == OP_CEILDIV && a.hi % k)};
        return anything;
    case OP_MOD:
        if (constant(op->operands[1], &k) && k > 0)
            return (struct range){0, k - 1};
        return anything;
    default:
        return anything;
    }
}

#define DEPTH 24

// v < size for certain, for a size that is a symbol: loop indices up to it and program ids of a grid of it.
static bool below(const struct shaper *s, const struct value *v, const struct value *size, int depth)
{
    if (depth == 0)
        return false;
    if (!v->def) {
        const struct op *loop = v->block ? v->block->parent : NULL;
        if (!loop || loop->code != OP_FOR || v != v->block->args[0])
            return false;
        const struct value *hi = loop->operands[1];
        // `min x, size` bounds as well
        if (hi->def && hi->def->code == OP_MIN && (hi->def->operands[0] == size || hi->def->operands[1] == size))
            return true;
        return hi == size;
    }
    if (v->def->code == OP_PROGRAM_ID) {
        const struct value *n = NULL;
        return grid_size(s, op_int(v->def, ATTR_DIM, 0), &n) && n == size;
    }
    return false;
}

// ---- Accesses --------------------------------------------------------------------------------------------------

// root index r = sum of terms[r] + sum over tile dimensions d of map[r][d] * position d. Views reached through windows
// are followed to their root.
void bounds_access(const struct op *op, const struct value **root, struct affine_map *map,
                   struct value *terms[MAX_RANK][MAX_RANK], int n_terms[MAX_RANK])
{
    int v = op_view_operand(op);
    const struct value *view = op->operands[v];
    int n = op->n_operands - v - 1;
    *map = (struct affine_map){.n_in = n, .n_out = n};
    for (int r = 0; r < n; r++) {
        map->coefficient[r][r] = 1;
        terms[r][0] = op->operands[v + 1 + r];
        n_terms[r] = 1;
    }
    while (view->def && view->def->code == OP_WINDOW) {
        const struct op *w = view->def;
        const struct affine_map *outer = op_attr(w, ATTR_MAP)->map;
        struct affine_map composed = {.n_in = n, .n_out = outer->n_out};
        struct value *sums[MAX_RANK][MAX_RANK];
        int n_sums[MAX_RANK] = {0};
        for (int r = 0; r < outer->n_out; r++) {
            sums[r][n_sums[r]++] = w->operands[1 + r];
            for (int k = 0; k < outer->n_in; k++) {
                int64_t c = outer->coefficient[r][k], *row = composed.coefficient[r];
                for (int d = 0; d < n; d++)
                    row[d] = wrap_add(row[d], wrap_mul(c, map->coefficient[k][d]));
                int64_t zero;
                if (c && n_terms[k] > MAX_RANK)
                    n_sums[r] = MAX_RANK + 1;
                for (int t = 0; c && n_sums[r] <= MAX_RANK && t < n_terms[k]; t++) {
                    if (constant(terms[k][t], &zero) && !zero)
                        continue;
                    // A scaled term is not one of the plain sums kept here: mark it by leaving room for nothing.
                    if (c != 1 || n_sums[r] == MAX_RANK)
                        n_sums[r] = MAX_RANK + 1;
                    else
                        sums[r][n_sums[r]++] = terms[k][t];
                }
            }
        }
        for (int r = 0; r < outer->n_out; r++) {
            n_terms[r] = n_sums[r];
            memcpy(terms[r], sums[r], sizeof sums[r]);
        }
        *map = composed;
        view = w->operands[0];
    }
    *root = view;
}

// The one term that is not the constant 0; *v is NULL when all are. False: several, or a constant.
static bool single_term(struct value *const *terms, int n, struct value **v)
{
    *v = NULL;
    if (n > MAX_RANK)
        return false;
    for (int i = 0; i < n; i++) {
        int64_t k;
        if (constant(terms[i], &k) && k == 0)
            continue;
        if (*v)
            return false;
        *v = terms[i];
    }
    return true;
}

struct value *bounds_size(const struct shaper *s, dim d)
{
    return dim_is_symbol(d) ? function_symbol(s->old, dim_symbol_id(d)) : NULL;
}

static bool same_clip(const struct clip *a, const struct clip *b)
{
    return a->known && b->known && a->base == b->base && a->bound == b->bound && a->constant == b->constant;
}

// The clip that an access implies for a tile dimension: it alone moves one dimension of the root, by 1.
static struct clip access_clip(const struct shaper *s, const struct op *op, int d)
{
    const struct value *root;
    struct affine_map map;
    struct value *terms[MAX_RANK][MAX_RANK];
    int n_terms[MAX_RANK];
    bounds_access(op, &root, &map, terms, n_terms);
    for (int r = 0; r < map.n_out; r++) {
        if (map.coefficient[r][d] != 1)
            continue;
        bool alone = true;
        for (int e = 0; e < map.n_in; e++)
            alone &= e == d || !map.coefficient[r][e];
        dim size = root->type->dims[r];
        struct clip c = {.known = true, .bound = bounds_size(s, size), .constant = size};
        if (!alone || size == DIM_UNKNOWN || !single_term(terms[r], n_terms[r], &c.base))
            continue;
        if (c.bound)
            c.constant = 0;
        return c;
    }
    return (struct clip){0};
}

// ---- Clips -----------------------------------------------------------------------------------------------------

struct observers {
    struct clip *clip;
    bool *conflict, *seen;
};

static void observe(struct observers *o, int axis, struct clip c)
{
    if (axis == AXIS_NONE)
        return;
    if (!c.known || (o->seen[axis] && !same_clip(&o->clip[axis], &c)))
        o->conflict[axis] = true;
    o->clip[axis] = c;
    o->seen[axis] = true;
}

// The load behind a dot's operand, through casts: what lies beyond its view's bounds is 0.
static const struct op *operand_load(const struct value *v)
{
    while (v->def && v->def->code == OP_CAST)
        v = v->def->operands[0];
    if (!v->def || v->def->code != OP_LOAD)
        return NULL;
    const struct attr *pad = op_attr(v->def, ATTR_PAD);
    return !pad || (pad->number.f == 0 && pad->number.i == 0) ? v->def : NULL;
}

static void observe_dot(struct shaper *s, struct observers *o, const struct op *op)
{
    struct einsum e;
    einsum_parse(op_attr(op, ATTR_LABELS)->string, &e);
    for (int x = 0; x < e.n_axes; x++) {
        if (!einsum_contracts(&e, x))
            continue;
        struct clip both[2] = {0};
        int axis = AXIS_NONE;
        for (int i = 0; i < 2; i++)
            for (int d = 0; d < e.rank[i]; d++)
                if (e.axis[i][d] == x) {
                    const struct op *load = operand_load(op->operands[i]);
                    axis = axes_of(&s->axes, op->operands[i], d);
                    if (load)
                        both[i] = access_clip(s, load, d);
                }
        struct clip c = both[0];
        c.known = same_clip(&both[0], &both[1]);
        observe(o, axis, c);
    }
}

static void observe_block(struct shaper *s, struct observers *o, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        const struct value *x = op->n_operands ? op->operands[0] : NULL;
        bool tile = x && x->type->kind == TYPE_TILE;
        struct clip unknown = {0};
        switch (op->code) {
        case OP_STORE:
            for (int d = 0; tile && d < x->type->rank; d++)
                observe(o, axes_of(&s->axes, x, d), access_clip(s, op, d));
            break;
        case OP_REDUCE: {
            struct ints axes = op_ints(op, ATTR_AXES);
            struct clip c = {.known = op->n_operands > 1};
            if (c.known && !constant(op->operands[1], &c.constant))
                c.bound = op->operands[1];
            for (int i = 0; i < axes.n; i++)
                observe(o, axes_of(&s->axes, x, (int)axes.v[i]), c);
            break;
        }
        case OP_DOT:
            observe_dot(s, o, op);
            break;
        case OP_SCAN: // what comes after a position does not matter to it, unless it runs backwards
            if (op_attr(op, ATTR_REVERSE))
                observe(o, axes_of(&s->axes, x, (int)op_int(op, ATTR_AXIS, 0)), unknown);
            break;
        case OP_SCATTER:
        case OP_ATOMIC:
            for (int i = 0; i < op->n_operands; i++)
                for (int d = 0; op->operands[i]->type->kind == TYPE_TILE && d < op->operands[i]->type->rank; d++)
                    observe(o, axes_of(&s->axes, op->operands[i], d), unknown);
            break;
        default:
            break;
        }
        for (int i = 0; i < op->n_blocks; i++)
            observe_block(s, o, op->blocks[i]);
    }
}

static bool varies_in(const struct op *loop, const struct value *v)
{
    for (int i = 0; v && i < loop->n_blocks; i++) {
        const struct block *b = loop->blocks[i];
        if (v->block == b || (v->def && block_contains(b, v->def)) ||
            (v->block && v->block->parent && block_contains(b, v->block->parent)))
            return true;
    }
    return false;
}

// What one step of a loop does not observe, the next may, if the clip is another there and the tile is carried.
static void forget_varying(struct shaper *s, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results && (op->code == OP_FOR || op->code == OP_WHILE); i++)
            for (int d = 0; op->results[i]->type->kind == TYPE_TILE && d < op->results[i]->type->rank; d++) {
                int axis = axes_of(&s->axes, op->results[i], d);
                if (axis != AXIS_NONE && (varies_in(op, s->clip[axis].base) || varies_in(op, s->clip[axis].bound)))
                    s->clip[axis].known = false;
            }
        for (int i = 0; i < op->n_blocks; i++)
            forget_varying(s, op->blocks[i]);
    }
}

void bounds_find_clips(struct shaper *s)
{
    struct observers o = {s->clip, ARENA_ARRAY(s->scratch, bool, s->axes.n + 1),
                          ARENA_ARRAY(s->scratch, bool, s->axes.n + 1)};
    observe_block(s, &o, s->old->body);
    for (int x = 0; x < s->axes.n; x++) {
        struct clip *c = &s->clip[x];
        if (!o.seen[x] || o.conflict[x])
            c->known = false;
        if (!c->known)
            continue;
        // A clip that never clips is none.
        struct range base = c->base ? range_of(s, c->base, DEPTH) : (struct range){0, 0};
        if (!c->bound && add_bound(base.hi, s->axes.size[x], INT64_MAX) <= c->constant && base.hi != INT64_MAX)
            c->known = false;
    }
    forget_varying(s, s->old->body);
}

// ---- Proofs ----------------------------------------------------------------------------------------------------

bool bounds_proven(struct shaper *s, const struct op *op, const struct value *tile, int r)
{
    const struct value *root;
    struct affine_map map;
    struct value *terms[MAX_RANK][MAX_RANK];
    int n_terms[MAX_RANK];
    bounds_access(op, &root, &map, terms, n_terms);
    if (r >= map.n_out || n_terms[r] > MAX_RANK)
        return false;
    if (op == s->inside && s->inside_in[r])
        return true;
    dim size = root->type->dims[r];
    struct value *bound = bounds_size(s, size);
    // By range, over the whole axes.
    struct range index = {0, 0};
    int moving = -1, n_moving = 0;
    for (int i = 0; i < n_terms[r]; i++) {
        struct range t = range_of(s, terms[r][i], DEPTH);
        index = (struct range){add_bound(index.lo, t.lo, INT64_MIN), add_bound(index.hi, t.hi, INT64_MAX)};
    }
    struct value *base;
    bool single = single_term(terms[r], n_terms[r], &base);
    int64_t base_lo = index.lo;
    for (int d = 0; d < map.n_in; d++) {
        int axis = tile ? axes_of(&s->axes, tile, d) : AXIS_NONE;
        if (!map.coefficient[r][d] || axis == AXIS_NONE)
            continue;
        moving = axis;
        n_moving += map.coefficient[r][d] == 1 ? 1 : 2;
        struct range t = range_scaled((struct range){0, s->axes.size[axis] - 1}, map.coefficient[r][d]);
        index = (struct range){add_bound(index.lo, t.lo, INT64_MIN), add_bound(index.hi, t.hi, INT64_MAX)};
    }
    if (index.lo >= 0 && !bound && size != DIM_UNKNOWN && index.hi < size)
        return true;
    if (!single || base_lo < 0)
        return false;
    if (n_moving == 0)
        return base && bound && below(s, base, bound, DEPTH);
    // By the clip of the axis, where the window lies inside of it.
    const struct clip *c = &s->clip[moving];
    return n_moving == 1 && c->known && s->window[moving].inside && c->base == base && c->bound == bound &&
           (bound || c->constant == size);
}

static bool is_grid_constant(const struct value *v, int depth)
{
    if (v->symbol >= 0)
        return true;
    if (!v->def)
        return v->block == NULL; // a parameter
    if (v->def->code == OP_PROGRAM_ID)
        return op_int(v->def, ATTR_DIM, 0) > 0;
    if (depth == 0 || v->def->n_blocks || op_info[v->def->code].effect != EFFECT_PURE)
        return false;
    for (int i = 0; i < v->def->n_operands; i++)
        if (!is_grid_constant(v->def->operands[i], depth - 1))
            return false;
    return true;
}

bool bounds_shared_by_neighbours(const struct value *index)
{
    return is_grid_constant(index, DEPTH);
}

// ---- Strides ---------------------------------------------------------------------------------------------------

// The root's stride along a dimension; false if it is not constant.
static bool root_stride(const struct type *t, int r, int64_t *stride)
{
    if (t->strided) {
        *stride = t->strides[r];
        return t->strides[r] >= 0;
    }
    *stride = 1;
    for (int i = r + 1; i < t->rank; i++) {
        if (t->dims[i] < 0)
            return false;
        *stride = wrap_mul(*stride, t->dims[i]);
    }
    return true;
}

bool bounds_stride(const struct shaper *s, const struct op *access, const struct value *tile, int axis, int64_t *stride)
{
    const struct value *root;
    struct affine_map map;
    struct value *terms[MAX_RANK][MAX_RANK];
    int n_terms[MAX_RANK];
    bounds_access(access, &root, &map, terms, n_terms);
    *stride = 0;
    for (int d = 0; d < map.n_in; d++)
        for (int r = 0; axes_of(&s->axes, tile, d) == axis && r < map.n_out; r++) {
            int64_t step;
            if (!map.coefficient[r][d])
                continue;
            if (!root_stride(root->type, r, &step))
                return false;
            *stride = wrap_add(*stride, wrap_mul(map.coefficient[r][d], step));
        }
    return true;
}

bool bounds_unit_stride(const struct shaper *s, const struct op *access, const struct value *tile, int axis)
{
    int64_t stride;
    return bounds_stride(s, access, tile, axis, &stride) && stride == 1;
}

bool bounds_touches(const struct shaper *s, const struct op *access, const struct value *tile, int axis)
{
    int64_t stride;
    return !bounds_stride(s, access, tile, axis, &stride) || stride != 0;
}
