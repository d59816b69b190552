// Nests of loops over windows of axes.
//
// An axis of 128 positions cut by 6 becomes a loop of 21 steps and a rest of 2. Where the axis is clipped at run time,
// the loop's end is computed, and the rest is made of pieces of 4, 2 and 1 position; along the vector axis, of single
// vectors with a mask.
#include "passes/shape.h"

#define MOST_AT_ONCE 8

static bool is_vector(const struct shaper *s, int axis)
{
    return axis == s->vector_axis && s->lanes > 1;
}

// A clip may hang on scalars of a later place.
static bool is_made(const struct shaper *s, const struct value *scalar)
{
    return !scalar || scalar->symbol >= 0 || s->bind[scalar->id].kind == BIND_DIRECT;
}

struct value *nest_trip(struct shaper *s, int axis)
{
    const struct clip *c = &s->clip[axis];
    if (!c->known || !is_made(s, c->bound) || !is_made(s, c->base))
        return NULL;
    struct builder *b = &s->b;
    struct value *bound = c->bound ? shape_scalar(s, c->bound) : build_index(b, c->constant);
    if (c->base)
        bound = build_binary(b, OP_SUB, bound, shape_scalar(s, c->base));
    bound = build_binary(b, OP_MIN, bound, build_index(b, s->axes.size[axis]));
    return build_binary(b, OP_MAX, bound, build_index(b, 0));
}

// Whether the index into dimension r of the root stays in bounds at the current windows; NULL: that cannot be said.
static struct value *inside_in(struct shaper *s, dim size, const struct affine_map *map, int r,
                               struct value *const *terms, int n_terms, const struct value *tile)
{
    struct builder *b = &s->b;
    struct value *bound = bounds_size(s, size), *low = NULL;
    if (n_terms > MAX_RANK || (!bound && size == DIM_UNKNOWN) || !is_made(s, bound))
        return NULL;
    int64_t extent = 0;
    for (int d = 0; d < map->n_in; d++) {
        int axis = axes_of(&s->axes, tile, d);
        int64_t c = map->coefficient[r][d];
        if (c < 0 || c > MOST_TILE_ELEMENTS || (c && axis != AXIS_NONE && axis == s->vector_axis))
            return NULL;
        if (!c || axis == AXIS_NONE)
            continue;
        struct value *offset = s->window[axis].offset;
        if (offset && c != 1)
            offset = build_binary(b, OP_MUL, offset, build_index(b, c));
        low = shape_add(s, low, offset);
        extent += c * (s->window[axis].size - 1);
    }
    for (int i = 0; i < n_terms; i++) {
        if (!is_made(s, terms[i]))
            return NULL;
        low = shape_add(s, low, shape_scalar(s, terms[i]));
    }
    if (!low)
        return NULL;
    // Not the index of the last position against the size: that may wrap.
    struct value *not_before = build_binary(b, OP_GE, low, build_index(b, 0));
    struct value *behind =
        bound ? build_binary(b, OP_SUB, shape_scalar(s, bound), build_index(b, extent)) : build_index(b, size - extent);
    struct value *not_behind = build_binary(b, OP_LT, low, behind);
    return build_binary(b, OP_AND, not_before, not_behind);
}

// The condition under which a load is in bounds at the current windows in every dimension that moves, but along
// vectors; NULL: there is none to ask for. Notes the dimensions.
static struct value *find_inside(struct shaper *s, const struct op *load)
{
    const struct value *root, *tile = load->results[0];
    struct affine_map map;
    struct value *terms[MAX_RANK][MAX_RANK], *all = NULL;
    int n_terms[MAX_RANK];
    bounds_access(load, &root, &map, terms, n_terms);
    for (int r = 0; r < map.n_out; r++) {
        struct value *in = bounds_proven(s, load, tile, r)
                               ? NULL
                               : inside_in(s, root->type->dims[r], &map, r, terms[r], n_terms[r], tile);
        s->inside_in[r] = in;
        all = all && in ? build_binary(&s->b, OP_AND, all, in) : in ? in : all;
    }
    return all;
}

// One place on the level: the window is set, then comes the next level.
static void piece(struct shaper *s, struct nest *n, int level, struct value *offset, int64_t size, bool inside,
                  struct value **acc)
{
    int axis = n->splits[level].axis;
    struct window outer = s->window[axis];
    struct undo *mark = shape_mark(s);
    s->window[axis] = (struct window){shape_add(s, outer.offset, offset), size, inside};
    const struct op *load = size == n->splits[level].step ? n->splits[level].told_apart : NULL;
    struct value *condition = load ? find_inside(s, load) : NULL;
    struct op *which = NULL;
    if (condition) {
        which = build_if(&s->b, condition, 0, NULL);
        s->inside = load;
        nest_emit(s, n, level + 1, acc);
        s->inside = NULL;
        shape_rollback(s, mark);
        build_yield(&s->b, 0, NULL);
        build_enter(&s->b, which->blocks[1]);
    }
    nest_emit(s, n, level + 1, acc);
    if (which) {
        build_yield(&s->b, 0, NULL);
        build_end(&s->b, which);
    }
    s->window[axis] = outer;
    shape_rollback(s, mark);
}

static void loop(struct shaper *s, struct nest *n, int level, struct value *from, struct value *to, int64_t step,
                 int64_t size, bool inside, struct value **acc)
{
    struct op *op = build_for(&s->b, from, to, build_index(&s->b, step), n->n_acc, acc);
    struct block *body = op->blocks[0];
    for (int i = 0; i < n->n_acc; i++)
        acc[i] = body->args[1 + i];
    struct value *at = body->args[0];
    if (n->splits[level].backward)
        at = shape_sub(s, shape_sub(s, shape_add(s, from, to), build_index(&s->b, step)), at);
    piece(s, n, level, at, size, inside, acc);
    build_yield(&s->b, n->n_acc, acc);
    build_end(&s->b, op);
    for (int i = 0; i < n->n_acc; i++)
        acc[i] = op->results[i];
}

// Along the vector axis sums are kept per lane within a stretch of equal pieces.
static void stretch(struct shaper *s, struct nest *n, int level, struct value *from, struct value *to, int64_t step,
                    int64_t size, bool inside, bool once, struct value **acc)
{
    struct value *outer[MAX_OPERANDS];
    bool vector = is_vector(s, n->splits[level].axis) && n->enter_vector;
    int axis = n->splits[level].axis;
    if (vector) {
        for (int i = 0; i < n->n_acc; i++)
            outer[i] = acc[i];
        int64_t before = s->window[axis].size;
        s->window[axis].size = size;
        n->enter_vector(s, n, acc);
        s->window[axis].size = before;
    }
    if (once)
        piece(s, n, level, from, size, inside, acc);
    else
        loop(s, n, level, from, to, step, size, inside, acc);
    if (vector)
        n->leave_vector(s, n, outer, acc);
}

static void rest_by_halves(struct shaper *s, struct nest *n, int level, struct value *main_end, struct value *trip,
                           int64_t step, struct value **acc)
{
    struct builder *b = &s->b;
    struct value *rest = build_binary(b, OP_SUB, trip, main_end);
    int64_t p = 1;
    while (p * 2 < step)
        p *= 2;
    for (; p >= 1; p /= 2) {
        struct value *bit = build_binary(b, OP_AND, rest, build_index(b, p));
        struct value *has = build_binary(b, OP_NE, bit, build_index(b, 0));
        struct type *types[MAX_OPERANDS];
        for (int i = 0; i < n->n_acc; i++)
            types[i] = acc[i]->type;
        struct op *op = build_if(b, has, n->n_acc, types);
        struct value *inner[MAX_OPERANDS];
        for (int i = 0; i < n->n_acc; i++)
            inner[i] = acc[i];
        struct value *low = build_binary(b, OP_MOD, rest, build_index(b, 2 * p));
        struct value *done = build_binary(b, OP_SUB, rest, low);
        piece(s, n, level, build_binary(b, OP_ADD, main_end, done), p, true, inner);
        build_yield(b, n->n_acc, inner);
        if (n->n_acc) {
            build_enter(b, op->blocks[1]);
            build_yield(b, n->n_acc, acc);
        }
        build_end(b, op);
        for (int i = 0; i < n->n_acc; i++)
            acc[i] = op->results[i];
    }
}

// The same in at most two pieces: one of 8 positions, and one of what is left. For the rows of a dot, which reads its
// right factor again for each piece. step is at most twice 8.
static void rest_at_once(struct shaper *s, struct nest *n, int level, struct value *main_end, struct value *trip,
                         int64_t step)
{
    struct builder *b = &s->b;
    struct value *rest = build_binary(b, OP_SUB, trip, main_end);
    if (step > MOST_AT_ONCE) {
        struct value *most = build_index(b, MOST_AT_ONCE);
        struct op *op = build_if(b, build_binary(b, OP_GE, rest, most), 0, NULL);
        piece(s, n, level, main_end, MOST_AT_ONCE, true, NULL);
        build_yield(b, 0, NULL);
        build_end(b, op);
        struct value *left = build_binary(b, OP_MOD, rest, most);
        main_end = build_binary(b, OP_ADD, main_end, build_binary(b, OP_SUB, rest, left));
        rest = left;
    }
    for (int64_t p = 1; p < step && p < MOST_AT_ONCE; p++) {
        struct op *op = build_if(b, build_binary(b, OP_EQ, rest, build_index(b, p)), 0, NULL);
        piece(s, n, level, main_end, p, true, NULL);
        build_yield(b, 0, NULL);
        build_end(b, op);
    }
}

// A vector may reach over the clip, where nobody observes it, but not over the end of the axis.
static void rest_by_vectors(struct shaper *s, struct nest *n, int level, struct value *main_end, struct value *trip,
                            struct value **acc)
{
    struct builder *b = &s->b;
    int64_t size = s->axes.size[n->splits[level].axis], whole = size / s->lanes * s->lanes;
    if (whole == size) {
        stretch(s, n, level, main_end, trip, s->lanes, s->lanes, false, false, acc);
        return;
    }
    struct value *last = build_index(b, whole);
    if (whole)
        stretch(s, n, level, main_end, build_binary(b, OP_MIN, trip, last), s->lanes, s->lanes, false, false, acc);
    stretch(s, n, level, build_binary(b, OP_MAX, main_end, last), trip, s->lanes, size - whole, false, false, acc);
}

void nest_emit(struct shaper *s, struct nest *n, int level, struct value **acc)
{
    if (n->before_level)
        n->before_level(s, n, level);
    if (level == n->n_splits) {
        n->leaf(s, n, acc);
        return;
    }
    struct builder *b = &s->b;
    int axis = n->splits[level].axis;
    int64_t size = s->window[axis].size, step = n->splits[level].step;
    if (step > size)
        step = size;
    // A window that an outer nest has made is not clipped again.
    bool whole_axis = size == s->axes.size[axis] && !s->window[axis].offset;
    struct value *trip = whole_axis ? nest_trip(s, axis) : NULL;
    if (!trip) {
        bool inside = s->window[axis].inside;
        int64_t main_end = size / step * step;
        bool backward = n->splits[level].backward;
        if (backward && main_end < size)
            stretch(s, n, level, build_index(b, main_end), NULL, step, size - main_end, inside, true, acc);
        if (main_end == step)
            stretch(s, n, level, NULL, NULL, step, step, inside, true, acc);
        else
            stretch(s, n, level, build_index(b, 0), build_index(b, main_end), step, step, inside, false, acc);
        if (!backward && main_end < size)
            stretch(s, n, level, build_index(b, main_end), NULL, step, size - main_end, inside, true, acc);
        return;
    }
    struct value *over = build_binary(b, OP_MOD, trip, build_index(b, step));
    struct value *main_end = build_binary(b, OP_SUB, trip, over);
    stretch(s, n, level, build_index(b, 0), main_end, step, step, true, false, acc);
    if (is_vector(s, axis))
        rest_by_vectors(s, n, level, main_end, trip, acc);
    else if (step > 1 && step <= 2 * MOST_AT_ONCE && n->splits[level].rest_at_once)
        rest_at_once(s, n, level, main_end, trip, step);
    else if (step > 1)
        rest_by_halves(s, n, level, main_end, trip, step, acc);
}
