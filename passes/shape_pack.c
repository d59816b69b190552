// Copies of a dot's operands into scratch, laid out for it.
//
// A factor is read again for every tile of the axes it lacks. Before the loop over the first such axis it may be
// copied: the vector factor (the right one of "mk,kn->mn") when its vectors are not contiguous or its rows lie far
// apart; the scalar factor when it is computed rather than loaded, or when its bounds would have to be checked at every
// element (padding of convolutions). What overlaps (a convolution's windows) is read again even where no axis is
// lacking: its bounds are checked once in a copy made before all loops. So are rows that lie a multiple of 4096 bytes
// apart: they share a few places of the first-level cache, and a register tile of them would drive its own lines out.
// The copy of a factor read inside a loop around the dot spans the loop's whole range.
#include <string.h>

#include "ir/wrap.h"
#include "passes/shape.h"

#define LEAST_REUSE 3
#define WAY_BYTES 4096 // of x86's first-level data caches, whose sets are chosen by an address's place in its page
#define LINE_BYTES 64
#define COPY_VECTORS 4 // moved at a time

// The load a factor consists of, possibly cast; NULL if it is something else.
static struct op *plain_load(struct value *v, bool *computed)
{
    *computed = false;
    while (v->def && v->def->code == OP_CAST) {
        *computed = true;
        v = v->def->operands[0];
    }
    return v->def && v->def->code == OP_LOAD ? v->def : NULL;
}

static bool depends_on(const struct value *v, const struct value *on, int depth)
{
    if (v == on || depth == 0)
        return true;
    if (!v->def || v->def->n_blocks)
        return false;
    for (int i = 0; i < v->def->n_operands; i++)
        if (depends_on(v->def->operands[i], on, depth - 1))
            return true;
    return false;
}

// The dimension of the load that the loop's index moves, by 1; -1: none. False if the loop moves it otherwise.
static bool loop_dimension(const struct op *load, const struct op *loop, int *d)
{
    *d = -1;
    if (!loop)
        return true;
    const struct value *index = loop->blocks[0]->args[0];
    for (int i = 1; i < load->n_operands; i++) {
        if (load->operands[i] == index) {
            if (*d >= 0)
                return false;
            *d = i - 1;
        } else if (depends_on(load->operands[i], index, 16)) {
            return false;
        }
    }
    return !depends_on(load->operands[0], index, 16);
}

static bool is_zero(const struct value *v)
{
    return v->def && v->def->code == OP_CONSTANT && op_attr(v->def, ATTR_VALUE)->number.i == 0;
}

// Whether no element of the load would need a bounds check, in windows that lie inside the axes' clips.
static bool needs_no_checks(struct shaper *s, const struct op *load)
{
    const struct value *tile = load->results[0];
    bool before[MAX_RANK], proven = true;
    for (int d = 0; d < tile->type->rank; d++) {
        int axis = axes_of(&s->axes, tile, d);
        if (axis == AXIS_NONE)
            continue;
        before[d] = s->window[axis].inside;
        s->window[axis].inside = true;
    }
    for (int r = 0; r < view_root(load->operands[0])->type->rank; r++)
        proven &= bounds_proven(s, load, tile, r);
    for (int d = 0; d < tile->type->rank; d++) {
        int axis = axes_of(&s->axes, tile, d);
        if (axis != AXIS_NONE)
            s->window[axis].inside = before[d];
    }
    return proven;
}

// Whether elements of the root lie at several places of the tile: a dimension is the sum of two of the tile's axes.
static bool overlaps(const struct shaper *s, const struct op *load)
{
    struct affine_map map;
    const struct value *root;
    struct value *terms[MAX_RANK][MAX_RANK];
    int n_terms[MAX_RANK];
    bounds_access(load, &root, &map, terms, n_terms);
    for (int r = 0; r < map.n_out; r++) {
        int n = 0;
        for (int d = 0; d < map.n_in; d++)
            n += map.coefficient[r][d] != 0 && axes_of(&s->axes, load->results[0], d) != AXIS_NONE;
        if (n > 1)
            return true;
    }
    return false;
}

static bool is_vector_factor(const struct shaper *s, const struct group *g, const struct value *v)
{
    return g->vector_axis != AXIS_NONE && axes_has(&s->axes, v, g->vector_axis);
}

// Whether the register tile's rows of the scalar factor, which are read side by side, are more than the ways of the
// first-level cache and all in one set of it.
static bool rows_collide(const struct shaper *s, const struct group *g, const struct op *load)
{
    const struct split *rows = g->n_splits ? &g->splits[g->n_splits - 1] : NULL;
    int64_t stride, bytes = dtype_bytes(load->results[0]->type->dtype);
    return rows && rows->axis != g->vector_axis && axes_has(&s->axes, load->results[0], rows->axis) &&
           rows->step * WAY_BYTES > s->target->l1d_bytes &&
           bounds_stride(s, load, load->results[0], rows->axis, &stride) && stride && stride * bytes % WAY_BYTES == 0;
}

static bool pays(struct shaper *s, const struct group *g, const struct value *v, const struct op *load, bool computed,
                 int64_t reuse)
{
    if (is_vector_factor(s, g, v)) {
        if (reuse < LEAST_REUSE)
            return false;
        if (computed || !bounds_unit_stride(s, load, load->results[0], g->vector_axis) || !needs_no_checks(s, load))
            return true;
        // Rows follow each other along the summed axis of the smallest stride.
        int64_t panel = s->window[g->vector_axis].size, least = INT64_MAX, stride;
        for (int i = 0; i < g->dot_axes.n_inner; i++) {
            int axis = g->dot_axes.inner[i];
            if (!axes_has(&s->axes, v, axis))
                continue;
            if (!bounds_stride(s, load, load->results[0], axis, &stride))
                return true;
            if (stride < least)
                least = stride;
        }
        return least != INT64_MAX && least > 4 * panel;
    }
    return computed || !needs_no_checks(s, load);
}

// ---- Copies of tiles -------------------------------------------------------------------------------------------

struct copy {
    struct value *value;
    const struct place *place;
};

static void copy_leaf(struct shaper *s, struct nest *n, struct value **acc)
{
    (void)acc;
    struct copy *c = n->data;
    place_store(s, c->place, c->value, leaf_value(s, c->value));
}

static void copy_nest(struct shaper *s, struct copy *c, const struct op *load)
{
    struct split splits[MAX_RANK];
    struct nest n = {.splits = splits, .leaf = copy_leaf, .data = c};
    int64_t width = c->place->panel ? c->place->panel : COPY_VECTORS * s->lanes;
    for (int vector = 0; vector < 2; vector++)
        for (int i = 0; i < c->place->rank; i++) {
            int axis = axes_of(&s->axes, c->value, c->place->dim_of[i]);
            if (axis == AXIS_NONE || (axis == s->vector_axis) != (vector == 1))
                continue;
            bool transposed = axis != s->vector_axis && s->vector_axis != AXIS_NONE &&
                              bounds_unit_stride(s, load, load->results[0], axis) &&
                              bounds_touches(s, load, load->results[0], s->vector_axis);
            splits[n.n_splits++] = (struct split){axis, transposed ? s->lanes : vector ? width : 1};
        }
    nest_emit(s, &n, 0, NULL);
}

// The dimensions of a factor in the order of its copy: summed axes and then the vectors last.
static int copy_order(struct shaper *s, const struct group *g, const struct value *v, int *order)
{
    int n = 0;
    for (int round = 0; round < 3; round++)
        for (int d = 0; d < v->type->rank; d++) {
            int axis = axes_of(&s->axes, v, d);
            bool inner = false;
            for (int i = 0; i < g->dot_axes.n_inner; i++)
                inner |= g->dot_axes.inner[i] == axis;
            int kind = axis != AXIS_NONE && axis == s->vector_axis ? 2 : inner ? 1 : 0;
            if (kind == round)
                order[n++] = d;
        }
    return n;
}

// What a copy of a load depends on besides sizes: its indices and the windows' offsets, but for the loop's index. False
// if they change with every program instance, or within one.
static bool find_keys(struct shaper *s, const struct op *load, const struct op *loop, struct value **keys, int *n)
{
    *n = 0;
    const struct value *index = loop ? loop->blocks[0]->args[0] : NULL;
    for (const struct op *op = load; op;
         op = op->operands[0]->def && op->operands[0]->def->code == OP_WINDOW ? op->operands[0]->def : NULL)
        for (int i = 1; i < op->n_operands; i++) {
            struct value *x = op->operands[i];
            if (x == index || x->symbol >= 0 || (x->def && x->def->code == OP_CONSTANT))
                continue;
            if (*n == MAX_OPERANDS || !bounds_shared_by_neighbours(x))
                return false;
            keys[(*n)++] = shape_scalar(s, x);
        }
    return true;
}

// The size of the scratch: in panels, for the loop's whole range, with gaps between rows.
static void resize(struct shaper *s, struct place *p, const struct value *v, const struct op *loop, int64_t gap)
{
    struct builder *b = &s->b;
    dim dims[MAX_RANK];
    struct value *size = NULL;
    int n = 0;
    if (p->panel)
        dims[n++] = (p->size[p->rank - 1] + p->panel - 1) / p->panel;
    for (int i = 0; i < p->rank; i++)
        dims[n++] = p->loop_dim >= 0 && p->dim_of[i] == p->loop_dim ? DIM_UNKNOWN : p->size[i];
    if (p->panel)
        dims[n - 1] = p->panel;
    if (p->loop_dim >= 0) {
        struct value *step = build_index(b, v->type->dims[p->loop_dim]);
        size = build_binary(b, OP_MUL, build_binary(b, OP_CEILDIV, shape_scalar(s, loop->operands[1]), step), step);
    }
    if (dims[n - 1] == DIM_UNKNOWN)
        size = build_binary(b, OP_ADD, size, build_index(b, gap));
    else
        dims[n - 1] += gap;
    op_remove(p->view->def);
    p->view = build_value(b, OP_SCRATCH, size != NULL, &size, 0, NULL, type_view(s->m, v->type->dtype, n, dims, NULL));
}

// Where a copy is made, and how it lies.
struct packing {
    int level; // of the nest; the copy is made before its loop
    bool box;
    bool shared;   // by neighbouring program instances
    int loop_dim;  // that spans the range of a loop around the dot; -1: none
    int64_t panel; // 0: the dimensions as they are
    int64_t gap;   // elements between rows
};

static void pack_tile(struct shaper *s, struct group *g, struct value *v, const struct op *load, const struct op *loop,
                      const struct packing *how)
{
    struct builder *b = &s->b;
    int outer_axis = s->vector_axis, outer_lanes = s->lanes;
    struct undo *mark = shape_mark(s);
    if (!is_vector_factor(s, g, v)) { // copied along its own contiguous axis
        s->vector_axis = AXIS_NONE;
        for (int d = 0; d < v->type->rank; d++) {
            int axis = axes_of(&s->axes, load->results[0], d);
            if (axis != AXIS_NONE && bounds_unit_stride(s, load, load->results[0], axis))
                s->vector_axis = axis;
        }
        s->lanes = s->vector_axis == AXIS_NONE ? 1 : outer_lanes;
    }
    int order[MAX_RANK];
    int n = copy_order(s, g, v, order);
    struct place *p = place_create(s, v, n, order);
    p->loop_dim = how->loop_dim;
    p->panel = how->panel;
    if (how->loop_dim >= 0)
        p->loop_index = loop->blocks[0]->args[0];
    if (how->loop_dim >= 0 || how->panel || how->gap)
        resize(s, p, v, loop, how->gap);
    // A copy that neighbouring program instances share is made by the first of them.
    struct value *keys[MAX_OPERANDS];
    int n_keys;
    struct op *once = NULL;
    if (how->shared && find_keys(s, load, loop, keys, &n_keys)) {
        once = build_op(b, OP_ONCE, n_keys, keys, 0, NULL, 0, NULL);
        build_enter(b, once->blocks[0]);
    }
    struct copy c = {v, p};
    if (loop) {
        struct op *f = build_for(b, shape_scalar(s, loop->operands[0]),
                                 how->loop_dim >= 0 ? shape_scalar(s, loop->operands[1]) : build_index(b, 1),
                                 how->loop_dim >= 0 ? shape_scalar(s, loop->operands[2]) : build_index(b, 1), 0, NULL);
        shape_bind(s, loop->blocks[0]->args[0], (struct binding){BIND_DIRECT, f->blocks[0]->args[0], NULL});
        shape_clone_scalars(s, loop->blocks[0]);
        copy_nest(s, &c, load);
        build_yield(b, 0, NULL);
        build_end(b, f);
    } else {
        copy_nest(s, &c, load);
    }
    if (once) {
        build_yield(b, 0, NULL);
        build_end(b, once);
    }
    shape_rollback(s, mark);
    s->vector_axis = outer_axis;
    s->lanes = outer_lanes;
    shape_bind(s, v, (struct binding){BIND_MEMORY, NULL, p});
}

// ---- Copies of boxes of a view ---------------------------------------------------------------------------------

// A tile of an overlapping view (a convolution's) repeats elements; copied is the box of the root that it covers.
struct box {
    struct value *root;           // new
    struct value *scratch;        // new
    struct value *base[MAX_RANK]; // of the box in the root
    int64_t size[MAX_RANK];
    struct value *at[MAX_RANK]; // the current position in the box
    int rank, lanes;
    struct attr pad;
    bool has_pad;
};

static void box_move(struct shaper *s, struct box *x, int64_t width)
{
    struct builder *b = &s->b;
    dim dims[MAX_RANK];
    struct value *from[MAX_RANK + 1] = {x->root}, *to[MAX_RANK + 2] = {NULL, x->scratch};
    for (int r = 0; r < x->rank; r++) {
        dims[r] = r == x->rank - 1 ? width : 1;
        from[1 + r] = shape_add(s, x->base[r], x->at[r]);
        to[2 + r] = x->at[r];
    }
    struct type *t = type_tile(s->m, x->root->type->dtype, x->rank, dims);
    t = type_shaped(s->m, t, x->lanes, x->rank - 1);
    to[0] = build_value(b, OP_LOAD, 1 + x->rank, from, x->has_pad, &x->pad, t);
    int64_t all[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct attr inbounds = {ATTR_INBOUNDS, {.ints = {x->rank, all}}};
    build_op(b, OP_STORE, 2 + x->rank, to, 1, &inbounds, 0, NULL);
}

static void box_level(struct shaper *s, struct box *x, int r)
{
    struct builder *b = &s->b;
    int64_t step = r == x->rank - 1 ? COPY_VECTORS * x->lanes : 1;
    int64_t main_end = x->size[r] / step * step;
    for (int part = 0; part < 2; part++) {
        int64_t from = part ? main_end : 0, to = part ? x->size[r] : main_end;
        if (from == to)
            continue;
        struct op *f =
            build_for(b, build_index(b, from), build_index(b, to), build_index(b, part ? to - from : step), 0, NULL);
        x->at[r] = f->blocks[0]->args[0];
        if (r == x->rank - 1)
            box_move(s, x, part ? to - from : step);
        else
            box_level(s, x, r + 1);
        build_yield(b, 0, NULL);
        build_end(b, f);
    }
}

// The root index of the tile's first element, in the new kernel.
static void tile_origin(struct shaper *s, const struct op *load, struct value **index)
{
    struct builder *b = &s->b;
    const struct value *view = load->operands[0];
    for (int d = 0; d < view->type->rank; d++) {
        int axis = axes_of(&s->axes, load->results[0], d);
        index[d] =
            shape_add(s, shape_scalar(s, load->operands[1 + d]), axis == AXIS_NONE ? NULL : s->window[axis].offset);
    }
    for (; view->def && view->def->code == OP_WINDOW; view = view->def->operands[0]) {
        const struct affine_map *map = op_attr(view->def, ATTR_MAP)->map;
        struct value *outer[MAX_RANK];
        for (int r = 0; r < map->n_out; r++) {
            outer[r] = shape_scalar(s, view->def->operands[1 + r]);
            for (int d = 0; d < map->n_in; d++)
                if (map->coefficient[r][d])
                    outer[r] = build_binary(b, OP_ADD, outer[r],
                                            build_binary(b, OP_MUL, index[d], build_index(b, map->coefficient[r][d])));
        }
        memcpy(index, outer, sizeof outer);
    }
}

// What a window with far distances covers is larger than a copy of it may be.
#define MOST_BOX_ELEMENTS ((int64_t)1 << 24)

// Copies the box that the load's window covers; false if it is too large.
static bool pack_box(struct shaper *s, struct value *v, const struct op *load)
{
    struct affine_map map;
    const struct value *root;
    struct value *terms[MAX_RANK][MAX_RANK];
    int n_terms[MAX_RANK];
    bounds_access(load, &root, &map, terms, n_terms);
    struct box x = {.rank = map.n_out};
    int64_t elements = 1;
    int bytes = (int)dtype_bytes(root->type->dtype);
    struct place *p = ARENA_NEW(s->scratch, struct place);
    p->loop_dim = -1;
    p->map = arena_copy(s->scratch, &map, sizeof map);
    for (int r = 0; r < map.n_out; r++) {
        x.size[r] = 1;
        for (int d = 0; d < map.n_in; d++) {
            int axis = axes_of(&s->axes, load->results[0], d);
            int64_t size = axis == AXIS_NONE ? 1 : s->window[axis].size;
            x.size[r] = wrap_add(x.size[r], wrap_mul(map.coefficient[r][d], size - 1));
            p->origin[d] = axis == AXIS_NONE ? NULL : s->window[axis].offset;
        }
        if (__builtin_mul_overflow(elements, x.size[r], &elements) || elements > MOST_BOX_ELEMENTS)
            return false;
    }
    x.root = shape_scalar(s, (struct value *)root);
    x.lanes = s->target->vector_bytes / bytes;
    while (x.lanes > 2 && x.lanes / 2 >= x.size[x.rank - 1])
        x.lanes /= 2;
    if (x.size[x.rank - 1] == 1)
        x.lanes = 1;
    const struct attr *pad = op_attr(load, ATTR_PAD);
    x.has_pad = pad != NULL;
    if (pad)
        x.pad = *pad;
    tile_origin(s, load, x.base);
    x.scratch =
        build_value(&s->b, OP_SCRATCH, 0, NULL, 0, NULL, type_view(s->m, root->type->dtype, x.rank, x.size, NULL));
    p->view = x.scratch;
    box_level(s, &x, 0);
    shape_bind(s, v, (struct binding){BIND_MEMORY, NULL, p});
    return true;
}

// ---- Decisions -------------------------------------------------------------------------------------------------

static bool negative_coefficient(const struct op *load)
{
    for (const struct value *v = load->operands[0]; v->def && v->def->code == OP_WINDOW; v = v->def->operands[0]) {
        const struct affine_map *map = op_attr(v->def, ATTR_MAP)->map;
        for (int r = 0; r < map->n_out; r++)
            for (int d = 0; d < map->n_in; d++)
                if (map->coefficient[r][d] < 0)
                    return true;
    }
    return false;
}

// Whether one copy can hold what a loop around the dot reads: step by step, side by side.
static bool spans_steps(const struct shaper *s, const struct value *v, const struct op *loop, int loop_dim)
{
    for (int i = 0; i < loop->n_results; i++)
        if (loop->results[i]->type->kind != TYPE_TILE) // its copies of scalars lack the carried ones
            return false;
    if (!is_zero(loop->operands[0]))
        return false;
    if (loop_dim < 0)
        return true;
    const struct op *step = loop->operands[2]->def;
    int64_t size = v->type->dims[loop_dim];
    return size > 1 && axes_of(&s->axes, v, loop_dim) != s->vector_axis && step && step->code == OP_CONSTANT &&
           op_attr(step, ATTR_VALUE)->number.i == size;
}

// Whether the factor is to be copied, and how.
static bool plan(struct shaper *s, struct group *g, struct value *v, const struct op *loop, const struct op *load,
                 bool computed, struct packing *how)
{
    bool vectors = is_vector_factor(s, g, v), collide = !vectors && rows_collide(s, g, load);
    bool window = load->operands[0]->def && load->operands[0]->def->code == OP_WINDOW;
    *how = (struct packing){.loop_dim = -1, .gap = collide ? LINE_BYTES / dtype_bytes(v->type->dtype) : 0};
    how->box = window && !computed && !loop && !vectors && !negative_coefficient(load);
    int first = 0;
    while (first < g->n_splits && axes_has(&s->axes, v, g->splits[first].axis))
        first++;
    if (first == g->n_splits && !collide && !(how->box && overlaps(s, load)))
        return false;
    int64_t reuse = 1;
    for (int j = first; j < g->n_splits; j++)
        if (!axes_has(&s->axes, v, g->splits[j].axis))
            reuse *= (s->axes.size[g->splits[j].axis] + g->splits[j].step - 1) / g->splits[j].step;
    if (!collide && !pays(s, g, v, load, computed, reuse))
        return false;
    if (loop && (!loop_dimension(load, loop, &how->loop_dim) || !spans_steps(s, v, loop, how->loop_dim)))
        return false;
    // Shared with other program instances: all of it at once, before any loop. Otherwise panels are made one at a time.
    struct value *keys[MAX_OPERANDS];
    int n_keys;
    bool panels = vectors && first == 1 && g->splits[0].axis == g->vector_axis;
    // What the kernel writes itself is another thing in each instance.
    how->shared = (panels || collide) && (loop ? loop : g->dot)->block == s->old->body &&
                  !s->written[view_root(load->operands[0])->id] && find_keys(s, load, loop, keys, &n_keys);
    if (panels && how->shared)
        how->panel = g->splits[0].step;
    how->level = how->shared || first == g->n_splits ? 0 : first;
    return true;
}

void pack_operands(struct shaper *s, struct group *g, int level)
{
    if (schedule_said(s->c->schedules, s->old, SCHEDULE_PACK) == 0)
        return;
    const struct op *loop =
        g->dot->block->parent && group_loop_fuses(s, g->dot->block->parent) ? g->dot->block->parent : NULL;
    for (int i = 0; i < 2; i++) {
        struct value *v = g->dot->operands[i];
        if (s->bind[v->id].kind == BIND_MEMORY || s->bind[v->id].kind == BIND_DIRECT)
            continue;
        bool computed;
        struct op *load = plain_load(v, &computed);
        struct packing how;
        if (!load || !shape_is_lazy(s, load) || !plan(s, g, v, loop, load, computed, &how) || level != how.level)
            continue;
        if (!how.box || !pack_box(s, v, load))
            pack_tile(s, g, v, load, loop, &how);
    }
}
