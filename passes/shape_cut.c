// How a group's nest is cut, by its first anchor: the vector axis, its lanes, and the positions along each axis that a
// step of the nest covers.
//
// A dot gets a register tile, rows x vectors of its sum. Anything else is walked in vectors along the axis that most of
// its accesses are contiguous along; a short row that is reduced and read again stays in registers.
#include <string.h>

#include "ir/einsum.h"
#include "passes/shape.h"

#define MOST_WHOLE_VECTORS 16 // a row that is reduced and read again stays in registers up to this size
#define CHUNK_VECTORS 4       // else it is walked by this many vectors
#define MOST_ROWS_AT_ONCE 4   // of such short rows
#define MOST_ROWS 14          // of a register tile
#define MOST_STRIDED_ROWS 6   // when each row needs an address register
#define MOST_UNROLLED 4       // short reduced axes are unrolled
#define MOST_OVERLAPPED 8     // so is the inner axis of windows that overlap, which are
#define OVERLAPPED_ROWS 4     // so many at once,
#define OVERLAPPED_VECTORS 2  // of so many vectors each
#define LEAST_SAVED 8         // narrower vectors save at least one lane of so many
#define MOST_AT_ONCE 256      // rows of a step, all its axes together

// ---- Choosing the vector axis ----------------------------------------------------------------------------------

static void score(const struct shaper *s, const struct op *access, const struct value *tile, const bool *axes,
                  int weight, int *scores)
{
    for (int x = 0; x < s->axes.n; x++)
        if (axes[x]) {
            if (bounds_unit_stride(s, access, tile, x))
                scores[x] += weight;
            else if (bounds_touches(s, access, tile, x))
                scores[x] -= weight;
        }
}

// Whether an index counts the positions along an axis one by one.
static bool counts_along(const struct shaper *s, const struct value *v, int axis)
{
    const struct op *op = v->def;
    if (!op || !axes_has(&s->axes, v, axis))
        return false;
    if (op->code == OP_BROADCAST)
        return counts_along(s, op->operands[0], axis);
    if (op->code == OP_ADD)
        return axes_has(&s->axes, op->operands[0], axis)
                   ? counts_along(s, op->operands[0], axis) && !axes_has(&s->axes, op->operands[1], axis)
                   : counts_along(s, op->operands[1], axis);
    return op->code == OP_IOTA;
}

// Gathered by whole vectors, or element by element.
static void score_gather(const struct shaper *s, const struct op *gather, const bool *axes, int weight, int *scores)
{
    const struct type *view = gather->operands[0]->type;
    for (int x = 0; x < s->axes.n; x++) {
        int moved = 0;
        for (int i = 1; i <= view->rank; i++)
            moved += axes_has(&s->axes, gather->operands[i], x);
        bool unit = !view->strided || view->strides[view->rank - 1] == 1;
        if (axes[x] && moved)
            scores[x] += moved == 1 && unit && counts_along(s, gather->operands[view->rank], x) ? weight : -weight;
    }
}

// In memory of the pass's own, tiles are row-major.
static void score_place(const struct shaper *s, const struct value *v, int weight, int *scores)
{
    bool last = true;
    for (int d = v->type->rank - 1; d >= 0; d--) {
        int axis = axes_of(&s->axes, v, d);
        if (axis == AXIS_NONE)
            continue;
        scores[axis] += last ? weight : -weight;
        last = false;
    }
}

static void score_cone(const struct shaper *s, const struct block *b, const struct anchor *a, int *scores)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op->n_results == 1 && a->cone[op->results[0]->id] && op->results[0]->type->kind == TYPE_TILE) {
            if (op->code == OP_LOAD && s->bind[op->results[0]->id].kind != BIND_MEMORY)
                score(s, op, op->results[0], a->axes, 1, scores);
            if (op->code == OP_GATHER && s->bind[op->results[0]->id].kind != BIND_MEMORY)
                score_gather(s, op, a->axes, 2, scores);
        }
        for (int i = 0; i < op->n_results; i++)
            if (a->cone[op->results[i]->id] && s->bind[op->results[i]->id].kind == BIND_MEMORY)
                score_place(s, op->results[i], 1, scores);
        for (int i = 0; i < op->n_blocks; i++)
            score_cone(s, op->blocks[i], a, scores);
    }
}

#define FULL_VECTOR 16 // elements

static int pick_vector_axis(struct shaper *s, const struct anchor *a)
{
    int *scores = ARENA_ARRAY(s->scratch, int, s->axes.n + 1);
    score_cone(s, s->old->body, a, scores);
    if (a->kind == ANCHOR_OP && a->op->code == OP_STORE && a->op->operands[0]->type->kind == TYPE_TILE)
        score(s, a->op, a->op->operands[0], a->axes, 2, scores);
    if (a->kind == ANCHOR_EXPORT && a->value->type->kind == TYPE_TILE)
        score_place(s, a->value, 1, scores);
    // An axis that does not fill a vector counts by what it fills of it.
    for (int x = 0; x < s->axes.n; x++)
        scores[x] *= (int)(s->axes.size[x] < FULL_VECTOR ? s->axes.size[x] : FULL_VECTOR);
    int best = AXIS_NONE;
    for (int x = 0; x < s->axes.n; x++)
        if (a->axes[x] && (best == AXIS_NONE || scores[x] > scores[best] ||
                           (scores[x] == scores[best] && s->axes.size[x] >= s->axes.size[best])))
            best = x;
    return best;
}

// ---- Lanes -----------------------------------------------------------------------------------------------------

static int element_bytes(enum dtype d)
{
    if (d == DTYPE_I1 || d == DTYPE_INDEX)
        return 0;
    if (dtype_is_float(d) && dtype_bytes(d) < 4)
        return 4; // computed in f32
    return (int)dtype_bytes(d);
}

static void widest(const struct shaper *s, const struct block *b, const struct anchor *a, int *bytes)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++) {
            const struct type *t = op->results[i]->type;
            if (a->cone[op->results[i]->id] && t->kind == TYPE_TILE && element_bytes(t->dtype) > *bytes)
                *bytes = element_bytes(t->dtype);
        }
        for (int i = 0; i < op->n_blocks; i++)
            widest(s, op->blocks[i], a, bytes);
    }
}

static int pick_lanes(const struct shaper *s, int bytes, int axis)
{
    if (axis == AXIS_NONE)
        return 1;
    int lanes = s->target->vector_bytes / (bytes ? bytes : 8);
    while (lanes > 2 && lanes / 2 >= s->axes.size[axis])
        lanes /= 2;
    return lanes;
}

// Where a whole register is several operations of the unit, narrower vectors lose no speed, and may leave fewer lanes
// empty at the end of a row: 24 columns are one and a half vectors of 16, but three of 8.
static int dot_lanes(const struct shaper *s, int bytes, int axis)
{
    int lanes = pick_lanes(s, bytes, axis);
    if (axis == AXIS_NONE)
        return lanes;
    int64_t size = s->axes.size[axis];
    while (lanes * bytes > s->target->unit_bytes) {
        int64_t whole = (size + lanes - 1) / lanes * lanes, half = (size + lanes / 2 - 1) / (lanes / 2) * (lanes / 2);
        if ((whole - half) * LEAST_SAVED < whole)
            break;
        lanes /= 2;
    }
    return lanes;
}

// ---- By a dot --------------------------------------------------------------------------------------------------

static void dot_axes_find(const struct shaper *s, const struct op *dot, struct dot_axes *x)
{
    struct einsum e;
    einsum_parse(op_attr(dot, ATTR_LABELS)->string, &e);
    *x = (struct dot_axes){0};
    // Output axes in the sum's order, summed ones in the left factor's order.
    for (int d = 0; d < e.rank[2]; d++) {
        int axis = axes_of(&s->axes, dot->operands[2], d), label = e.axis[2][d];
        if (axis == AXIS_NONE)
            continue;
        if (e.in[0][label] && e.in[1][label])
            x->batch[x->n_batch++] = axis;
        else if (e.in[0][label])
            x->rows[x->n_rows++] = axis;
        else
            x->columns[x->n_columns++] = axis;
    }
    for (int i = 0; i < 2; i++)
        for (int d = 0; d < e.rank[i]; d++) {
            int axis = axes_of(&s->axes, dot->operands[i], d);
            bool known = axis == AXIS_NONE || !einsum_contracts(&e, e.axis[i][d]);
            for (int k = 0; k < x->n_inner; k++)
                known |= x->inner[k] == axis;
            if (!known)
                x->inner[x->n_inner++] = axis;
        }
}

static void add_split(struct group *g, int axis, int64_t step)
{
    g->splits[g->n_splits++] = (struct split){axis, step};
}

static void by_dot(struct shaper *s, struct group *g, struct op *dot)
{
    struct dot_axes *x = &g->dot_axes;
    dot_axes_find(s, dot, x);
    g->dot = dot;
    // Vectors lie along the sum's last dimension.
    const struct value *sum = dot->results[0];
    int last = AXIS_NONE;
    for (int d = 0; d < sum->type->rank; d++)
        if (axes_of(&s->axes, sum, d) != AXIS_NONE)
            last = axes_of(&s->axes, sum, d);
    for (int i = 0; i < x->n_rows; i++)
        g->swapped |= x->rows[i] == last;
    if (!x->n_columns && x->n_rows)
        g->swapped = true;
    if (!x->n_rows && x->n_columns)
        g->swapped = false;
    if (g->swapped) {
        struct dot_axes y = *x;
        memcpy(x->rows, y.columns, sizeof y.columns);
        memcpy(x->columns, y.rows, sizeof y.rows);
        x->n_rows = y.n_columns;
        x->n_columns = y.n_rows;
    }
    int bytes = element_bytes(sum->type->dtype);
    bytes = bytes ? bytes : 8;
    g->vector_axis = x->n_columns ? x->columns[x->n_columns - 1] : AXIS_NONE;
    g->lanes = dot_lanes(s, bytes, g->vector_axis);
    int row = x->n_rows ? x->rows[x->n_rows - 1] : AXIS_NONE;
    // Rows at a stride that is only known at run time take an address register each.
    int64_t stride;
    const struct op *load = dot->operands[g->swapped ? 1 : 0]->def;
    bool fixed =
        !load || load->code != OP_LOAD || row == AXIS_NONE || bounds_stride(s, load, load->results[0], row, &stride);
    struct register_tile t = tile_choose(s->target, g->lanes, bytes, row == AXIS_NONE ? 1 : s->axes.size[row],
                                         g->vector_axis == AXIS_NONE ? 1 : s->axes.size[g->vector_axis],
                                         fixed ? MOST_ROWS : MOST_STRIDED_ROWS);
    int64_t rows = schedule_said(s->c->schedules, s->old, SCHEDULE_REGISTER_ROWS),
            vectors = schedule_said(s->c->schedules, s->old, SCHEDULE_REGISTER_VECTORS);
    if (rows != SCHEDULE_OPEN)
        t.rows = rows;
    if (vectors != SCHEDULE_OPEN)
        t.vectors = vectors;
    for (int i = 0; i < x->n_batch; i++)
        add_split(g, x->batch[i], 1);
    for (int i = 0; i + 1 < x->n_columns; i++)
        add_split(g, x->columns[i], 1);
    if (g->vector_axis != AXIS_NONE)
        add_split(g, g->vector_axis, t.vectors * g->lanes);
    for (int i = 0; i + 1 < x->n_rows; i++)
        add_split(g, x->rows[i], 1);
    if (row == AXIS_NONE)
        return;
    g->splits[g->n_splits++] = (struct split){.axis = row, .step = t.rows, .rest_at_once = true};
    if (g->vector_axis != AXIS_NONE && s->clip[row].known) {
        struct register_tile few = tile_for_few(s->target, t, (s->axes.size[g->vector_axis] + g->lanes - 1) / g->lanes);
        g->few_rows = few.rows;
        g->few_columns = few.vectors * g->lanes;
    }
}

// ---- By the rows of anything else ------------------------------------------------------------------------------

static bool ever_reduced(const struct shaper *s, const struct block *b, int axis)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (group_reduces(s, op, axis))
            return true;
        for (int i = 0; i < op->n_blocks; i++)
            if (ever_reduced(s, op->blocks[i], axis))
                return true;
    }
    return false;
}

// The axis that codegen transposes an access along: the last of those it is contiguous along that is long enough, of
// which there are several only if the view has sizes of 1.
static int contiguous_axis(const struct shaper *s, const struct op *access, const struct value *tile,
                           const struct group *g)
{
    int found = AXIS_NONE;
    for (int d = tile->type->rank - 1; d >= 0; d--) {
        int axis = axes_of(&s->axes, tile, d);
        if (axis == AXIS_NONE || axis == g->vector_axis || !bounds_unit_stride(s, access, tile, axis))
            continue;
        if (s->axes.size[axis] >= g->lanes / 2)
            return axis;
        if (found == AXIS_NONE)
            found = axis;
    }
    return found;
}

// The transposing loads and stores of a group want a square of vectors: the axis along which such an access is
// contiguous, if it is not the vector axis.
static bool transposed_axis(const struct shaper *s, const struct block *b, const struct anchor *a,
                            const struct group *g, int axis)
{
    for (const struct op *op = b->first; op; op = op->next) {
        const struct value *tile = op->code == OP_LOAD ? op->results[0] : op->code == OP_STORE ? op->operands[0] : NULL;
        bool in = tile && tile->type->kind == TYPE_TILE && (a->op == op || a->cone[tile->id]);
        if (in && s->bind[tile->id].kind != BIND_MEMORY && bounds_touches(s, op, tile, g->vector_axis) &&
            contiguous_axis(s, op, tile, g) == axis)
            return true;
        for (int i = 0; i < op->n_blocks; i++)
            if (transposed_axis(s, op->blocks[i], a, g, axis))
                return true;
    }
    return false;
}

// Windows that are reduced, where neighbours along an axis have positions in common.
struct overlap {
    int along;  // that axis, or AXIS_NONE
    int inside; // the axis of the windows
    const struct op *load;
};

static void overlap_in(const struct shaper *s, const struct op *load, const struct anchor *a, int vector_axis,
                       struct overlap *o)
{
    const struct value *root, *tile = load->results[0];
    struct affine_map map;
    struct value *terms[MAX_RANK][MAX_RANK];
    int n_terms[MAX_RANK];
    bounds_access(load, &root, &map, terms, n_terms);
    for (int d = 0; d < map.n_in; d++)
        for (int k = 0; k < map.n_in; k++) {
            int along = axes_of(&s->axes, tile, d), inside = axes_of(&s->axes, tile, k);
            if (along == AXIS_NONE || along == vector_axis || inside == AXIS_NONE || group_reduces(s, a->op, along) ||
                !group_reduces(s, a->op, inside) || s->axes.size[inside] > MOST_OVERLAPPED)
                continue;
            for (int r = 0; r < map.n_out; r++) {
                int64_t apart = map.coefficient[r][d], step = map.coefficient[r][k];
                if (apart > 0 && step > 0 && (apart - 1) / step < s->axes.size[inside] - 1)
                    *o = (struct overlap){along, inside, load};
            }
        }
}

static void find_overlap(const struct shaper *s, const struct block *b, const struct anchor *a, int vector_axis,
                         struct overlap *o)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op->code == OP_LOAD && a->cone[op->results[0]->id] && op->results[0]->type->kind == TYPE_TILE &&
            s->bind[op->results[0]->id].kind != BIND_MEMORY)
            overlap_in(s, op, a, vector_axis, o);
        for (int i = 0; i < op->n_blocks; i++)
            find_overlap(s, op->blocks[i], a, vector_axis, o);
    }
}

static void by_rows(struct shaper *s, struct group *g, struct anchor *a)
{
    g->vector_axis = pick_vector_axis(s, a);
    int bytes = 0;
    widest(s, s->old->body, a, &bytes);
    g->lanes = pick_lanes(s, bytes, g->vector_axis);
    struct overlap overlap = {AXIS_NONE, AXIS_NONE, NULL};
    if (a->kind == ANCHOR_OP && a->op->code == OP_REDUCE && g->vector_axis != AXIS_NONE)
        find_overlap(s, s->old->body, a, g->vector_axis, &overlap);
    int64_t at_once = 1;
    for (int x = 0; x < s->axes.n; x++) {
        if (!a->axes[x] || x == g->vector_axis)
            continue;
        bool reduced = a->kind == ANCHOR_OP && group_reduces(s, a->op, x);
        int64_t step = 1;
        if (g->vector_axis != AXIS_NONE && transposed_axis(s, s->old->body, a, g, x))
            step = g->lanes;
        else if (x == overlap.along)
            step = OVERLAPPED_ROWS;
        else if (overlap.along != AXIS_NONE && reduced)
            step = x == overlap.inside ? s->axes.size[x] : 1;
        else if (reduced && s->axes.size[x] <= MOST_UNROLLED)
            step = s->axes.size[x];
        int64_t count = step < s->axes.size[x] ? step : s->axes.size[x];
        if (at_once * count > MOST_AT_ONCE)
            step = count = 1;
        at_once *= count;
        add_split(g, x, step);
        if (x == overlap.along && step > 1)
            g->splits[g->n_splits - 1].told_apart = overlap.load;
    }
    if (g->vector_axis == AXIS_NONE)
        return;
    int64_t size = s->axes.size[g->vector_axis];
    bool whole = size <= MOST_WHOLE_VECTORS * g->lanes && !s->clip[g->vector_axis].known &&
                 ever_reduced(s, s->old->body, g->vector_axis);
    bool square = false;
    for (int i = 0; i < g->n_splits; i++)
        square |= g->splits[i].step == g->lanes && g->lanes > 1;
    // Short rows that are reduced wait for their sums: several at once fill the time.
    struct split *last = g->n_splits ? &g->splits[g->n_splits - 1] : NULL;
    if (whole && last && last->step == 1 && !ever_reduced(s, s->old->body, last->axis)) {
        int64_t vectors = (size + g->lanes - 1) / g->lanes, rows = s->target->n_vector_registers / 2 / vectors;
        last->step = rows < 1 ? 1 : rows < MOST_ROWS_AT_ONCE ? rows : MOST_ROWS_AT_ONCE;
        if (last->step > s->axes.size[last->axis])
            last->step = s->axes.size[last->axis];
    }
    int64_t vectors = square ? 1 : overlap.along != AXIS_NONE ? OVERLAPPED_VECTORS : CHUNK_VECTORS;
    add_split(g, g->vector_axis, whole ? size : vectors * g->lanes);
}

void cut_group(struct shaper *s, struct group *g, struct anchor *a)
{
    if (a->kind == ANCHOR_LOOP)
        by_dot(s, g, group_loop_dot(a->op));
    else if (a->kind == ANCHOR_OP && a->op->code == OP_DOT)
        by_dot(s, g, a->op);
    else
        by_rows(s, g, a);
}
