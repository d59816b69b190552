// Tiles in scratch memory: made, stored to and loaded from at the current windows.
#include <string.h>

#include "passes/shape.h"

#define LARGEST_FIXED ((int64_t)1 << 20) // elements that scratch has room for, however many there are

static int64_t widest_vector(const struct shaper *s, const struct value *v)
{
    enum dtype d = v->type->dtype;
    return s->target->vector_bytes / (d == DTYPE_INDEX ? 1 : dtype_bytes(d));
}

// Where an axis is clipped, its last vectors are masked and may reach over the end, for any choice of vectors.
static int64_t room(const struct shaper *s, const struct value *v, int axis)
{
    int64_t size = s->window[axis].size;
    if (!s->clip[axis].known)
        return size;
    int64_t widest = widest_vector(s, v);
    return (size + widest - 1) / widest * widest;
}

// What there is of an axis that ends at a size of the kernel; NULL: it has no such end.
static struct value *clipped_room(struct shaper *s, const struct value *v, int axis)
{
    const struct clip *c = &s->clip[axis];
    if (!c->known || c->base || s->window[axis].offset || !c->bound || c->bound->symbol < 0)
        return NULL;
    struct value *step = build_index(&s->b, widest_vector(s, v));
    return build_binary(&s->b, OP_MUL, build_binary(&s->b, OP_CEILDIV, nest_trip(s, axis), step), step);
}

// Scratch for the windows' part of a tile. order lists the value's dimensions as they lie in memory (NULL: as they
// are); dimensions of size 1 are dropped.
struct place *place_create(struct shaper *s, struct value *old, int n_order, const int *order)
{
    struct place *p = ARENA_NEW(s->scratch, struct place);
    p->loop_dim = -1;
    dim dims[MAX_RANK];
    struct value *sizes[MAX_RANK];
    int64_t elements = 1;
    int n_sizes = 0;
    for (int i = 0; i < (order ? n_order : old->type->rank); i++) {
        int d = order ? order[i] : i, axis = axes_of(&s->axes, old, d);
        if (axis == AXIS_NONE)
            continue;
        p->dim_of[p->rank] = d;
        p->origin[d] = s->window[axis].offset;
        dims[p->rank] = p->size[p->rank] = room(s, old, axis);
        if (__builtin_mul_overflow(elements, p->size[p->rank], &elements))
            elements = INT64_MAX;
        p->rank++;
    }
    for (int i = 0; i < p->rank && elements > LARGEST_FIXED; i++) {
        sizes[n_sizes] = clipped_room(s, old, axes_of(&s->axes, old, p->dim_of[i]));
        if (sizes[n_sizes])
            dims[i] = DIM_UNKNOWN;
        n_sizes += sizes[n_sizes] != NULL;
    }
    if (!p->rank) { // one element
        p->dim_of[0] = 0;
        dims[p->rank++] = p->size[0] = 1;
    }
    p->view =
        build_value(&s->b, OP_SCRATCH, n_sizes, sizes, 0, NULL, type_view(s->m, old->type->dtype, p->rank, dims, NULL));
    return p;
}

static void place_indices(struct shaper *s, const struct place *p, struct value *old, struct value **indices)
{
    struct builder *b = &s->b;
    if (p->panel)
        indices++;
    for (int i = 0; i < p->rank; i++) {
        int d = p->dim_of[i], axis = axes_of(&s->axes, old, d);
        struct value *x = axis == AXIS_NONE ? NULL : shape_sub(s, s->window[axis].offset, p->origin[d]);
        if (d == p->loop_dim)
            x = shape_add(s, x, shape_scalar(s, p->loop_index));
        indices[i] = x ? x : build_index(b, 0);
    }
    if (p->panel) {
        struct value **last = &indices[p->rank - 1], *panel = build_index(b, p->panel);
        indices[-1] = build_binary(b, OP_FLOORDIV, *last, panel);
        *last = build_binary(b, OP_MOD, *last, panel);
    }
}

static int place_rank(const struct place *p)
{
    return p->rank + (p->panel != 0);
}

// A tile type with a dimension of 1 in front.
static struct type *in_panel(struct shaper *s, const struct type *t)
{
    dim dims[MAX_RANK] = {1};
    memcpy(dims + 1, t->dims, sizeof(dim) * (size_t)t->rank);
    return type_shaped(s->m, type_tile(s->m, t->dtype, t->rank + 1, dims), t->lanes, t->vector_axis + 1);
}

// The tile's type with the scratch's dimensions.
static struct type *place_type(struct shaper *s, const struct place *p, struct value *old)
{
    const struct type *full = leaf_type(s, old);
    dim dims[MAX_RANK];
    int vector_axis = 0, lanes = 1;
    for (int i = 0; i < p->rank; i++) {
        dims[i] = full->dims[p->dim_of[i]];
        if (full->lanes > 1 && full->vector_axis == p->dim_of[i]) {
            vector_axis = i;
            lanes = full->lanes;
        }
    }
    return type_shaped(s->m, type_tile(s->m, full->dtype, p->rank, dims), lanes, vector_axis);
}

static bool is_permuted(const struct place *p)
{
    for (int i = 1; i < p->rank; i++)
        if (p->dim_of[i] < p->dim_of[i - 1])
            return true;
    return false;
}

static struct attr all_inbounds(struct shaper *s, int rank)
{
    int64_t *v = ARENA_ARRAY(s->scratch, int64_t, rank);
    for (int i = 0; i < rank; i++)
        v[i] = i;
    return (struct attr){ATTR_INBOUNDS, {.ints = {rank, v}}};
}

struct value *place_load(struct shaper *s, const struct place *p, struct value *old)
{
    struct builder *b = &s->b;
    if (p->map) { // a box of a view: the tile's dimensions reach it through the map
        struct value *operands[MAX_RANK + 1] = {p->view};
        for (int r = 0; r < p->map->n_out; r++)
            operands[1 + r] = build_index(b, 0);
        struct attr map = {ATTR_MAP, {.map = p->map}};
        struct value *window = build_value(b, OP_WINDOW, 1 + p->map->n_out, operands, 1, &map, NULL);
        operands[0] = window;
        for (int d = 0; d < old->type->rank; d++) {
            int axis = axes_of(&s->axes, old, d);
            struct value *x = axis == AXIS_NONE ? NULL : shape_sub(s, s->window[axis].offset, p->origin[d]);
            operands[1 + d] = x ? x : build_index(b, 0);
        }
        struct attr inbounds = all_inbounds(s, p->map->n_out);
        return build_value(b, OP_LOAD, 1 + old->type->rank, operands, 1, &inbounds, leaf_type(s, old));
    }
    struct value *operands[MAX_RANK + 1] = {p->view};
    place_indices(s, p, old, operands + 1);
    struct attr inbounds = all_inbounds(s, place_rank(p));
    struct type *t = place_type(s, p, old);
    struct value *x = build_value(b, OP_LOAD, 1 + place_rank(p), operands, 1, &inbounds, p->panel ? in_panel(s, t) : t);
    if (p->panel)
        x = build_value(b, OP_RESHAPE, 1, &x, 0, NULL, t);
    if (is_permuted(p)) {
        int64_t axes[MAX_RANK];
        bool taken[MAX_RANK] = {false};
        for (int i = 0; i < p->rank; i++) { // i-th dimension of the value among those in memory
            int least = -1;
            for (int j = 0; j < p->rank; j++)
                if (!taken[j] && (least < 0 || p->dim_of[j] < p->dim_of[least]))
                    least = j;
            taken[least] = true;
            axes[i] = least;
        }
        struct attr order = {ATTR_AXES, {.ints = {p->rank, axes}}};
        x = build_value(b, OP_TRANSPOSE, 1, &x, 1, &order, NULL);
    }
    struct type *want = leaf_type(s, old);
    return x->type == want ? x : build_value(b, OP_RESHAPE, 1, &x, 0, NULL, want);
}

void place_store(struct shaper *s, const struct place *p, struct value *old, struct value *x)
{
    struct builder *b = &s->b;
    struct type *t = place_type(s, p, old);
    if (is_permuted(p)) {
        // First to the value's dimensions that are in memory, then into their order there.
        struct type shape = *x->type;
        int64_t axes[MAX_RANK];
        int rank = 0;
        for (int d = 0; d < old->type->rank; d++)
            for (int i = 0; i < p->rank; i++)
                if (p->dim_of[i] == d) {
                    shape.dims[rank] = x->type->dims[d];
                    if (x->type->lanes > 1 && x->type->vector_axis == d)
                        shape.vector_axis = rank;
                    axes[i] = rank++;
                }
        struct type *plain =
            type_shaped(s->m, type_tile(s->m, shape.dtype, rank, shape.dims), x->type->lanes, shape.vector_axis);
        if (plain != x->type)
            x = build_value(b, OP_RESHAPE, 1, &x, 0, NULL, plain);
        struct attr order = {ATTR_AXES, {.ints = {rank, axes}}};
        x = build_value(b, OP_TRANSPOSE, 1, &x, 1, &order, NULL);
    } else if (x->type != t) {
        x = build_value(b, OP_RESHAPE, 1, &x, 0, NULL, t);
    }
    if (p->panel)
        x = build_value(b, OP_RESHAPE, 1, &x, 0, NULL, in_panel(s, x->type));
    struct value *operands[MAX_RANK + 2] = {x, p->view};
    place_indices(s, p, old, operands + 2);
    struct attr inbounds = all_inbounds(s, place_rank(p));
    build_op(b, OP_STORE, 2 + place_rank(p), operands, 1, &inbounds, 0, NULL);
}
