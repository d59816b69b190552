// Kernels of element-wise operations, with reductions and scans among them.
//
// An axis that is reduced lies in one tile, so that a row is read once: its exact size where that is constant, else
// LONGEST_ROW, or less where several such axes make one tile, and the host checks that it is not longer.
#include <string.h>

#include "ir/dims.h"
#include "passes/lower_graph.h"

#define LONGEST_ROW 65536                // of a size that is not constant
#define LARGEST_TILE ((int64_t)1 << 26)  // of rows of such sizes
#define MOST_ELEMENTS ((int64_t)1 << 30) // of a row
#define MAP_ELEMENTS 16384
#define ROW_ELEMENTS 8192
#define MOST_ROWS 16

// The order in which the group's space is walked: that of an operand that lies in memory in another order than its
// dimensions (images whose channels are innermost), so that results lie as it does.
static void choose_order(struct lowering *l, const struct group *g, int *order)
{
    for (int d = 0; d < g->rank; d++)
        order[d] = d;
    for (int i = 0; i < g->n_ops; i++)
        for (int o = 0; o < g->ops[i]->n_operands; o++) {
            struct value *v = g->ops[i]->operands[o];
            bool table = g->ops[i]->code == OP_TAKE && o == 0; // its sizes are others
            if (v->type->kind != TYPE_TENSOR || l->grouping.of[v->id] == g || v->type->rank != g->rank ||
                (!table && memcmp(v->type->dims, g->space, sizeof(dim) * (size_t)g->rank)))
                continue;
            const struct place *p = &l->places[v->id];
            if (!p->storage || p->storage->data.bytes)
                continue;
            tensor_view_order(l->m, &p->view, order);
            return;
        }
}

static bool walks_alone(const struct group *g, int d)
{
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = g->ops[i];
        int shift = g->rank - op->results[0]->type->rank;
        if ((op->code == OP_SCAN || op->code == OP_IOTA) && op_int(op, ATTR_AXIS, 0) + shift == d)
            return true;
    }
    return false;
}

// The host checks that rows of unknown length fit the tile.
static void assert_row(struct emit *e, dim size, int64_t most)
{
    struct builder *b = &e->l->b;
    struct value *fits = build_binary(b, OP_LE, dims_build(b, size), build_index(b, most));
    const char *message =
        arena_printf(&e->l->m->arena,
                     "a reduction over %s elements: compiled for sizes that are not constant it takes "
                     "at most %lld; give the size when compiling",
                     dim_string(e->l->arena, e->l->m, size), (long long)most);
    build_op(b, OP_ASSERT, 1, &fits, 1, &(struct attr){ATTR_MESSAGE, {.string = message}}, 0, NULL);
}

// The tile along reduced axes whose sizes are not constant.
static int64_t longest_row(const struct emit *e)
{
    int64_t most = LONGEST_ROW, constant = 1, size;
    int open = 0;
    for (int i = 0; i < e->n_axes; i++) {
        if (e->axes[i].class != AXIS_REDUCED)
            continue;
        if (!dims_to_int(e->l->m, e->axes[i].size, &size))
            open++;
        else if (size > 0 && __builtin_mul_overflow(constant, size, &constant))
            constant = LARGEST_TILE;
    }
    for (;; most /= 2) {
        int64_t all = constant;
        for (int i = 0; i < open && all <= LARGEST_TILE; i++)
            all *= most;
        if (all <= LARGEST_TILE || most == 1)
            return most;
    }
}

// Rows that are long even one by one leave less room for many.
static void keep_small(struct emit *e)
{
    for (;;) {
        int64_t all = 1;
        struct emit_axis *largest = NULL;
        for (int i = 0; i < e->n_axes; i++) {
            struct emit_axis *x = &e->axes[i];
            if (__builtin_mul_overflow(all, x->tile, &all))
                all = INT64_MAX;
            if (x->class == AXIS_PARALLEL && x->tile > 1 && (!largest || x->tile > largest->tile))
                largest = x;
        }
        if (all <= MOST_ELEMENTS || !largest)
            return;
        largest->tile = (largest->tile + 1) / 2;
    }
}

void emit_map(struct lowering *l, struct group *g)
{
    struct emit e;
    struct accesses accesses = {0};
    int order[MAX_RANK], axis_of[MAX_RANK];
    choose_order(l, g, order);
    emit_begin(&e, l, g);
    for (int i = 0; i < g->rank; i++) {
        int d = order[i];
        axis_of[d] = -1;
        if (g->space[d] == 1)
            continue;
        axis_of[d] = emit_axis(&e, g->space[d], g->reduced[d] ? AXIS_REDUCED : AXIS_PARALLEL, d);
        e.axes[axis_of[d]].alone = walks_alone(g, d);
    }
    emit_collect(&e, g, 0, g->rank, axis_of, order, &accesses);
    emit_merge(&e, &accesses);
    char letters[EMIT_AXES];
    for (int i = 0; i < e.n_axes; i++)
        letters[i] = e.axes[i].class == AXIS_REDUCED ? 'k' : 'm';
    emit_problem(&e, g->kind == GROUP_REDUCE ? "rows" : "map", letters, g->ops[0]->results[0]->type->dtype);
    int64_t row = 1, rows = 1, longest = longest_row(&e);
    for (int i = 0; i < e.n_axes; i++) {
        struct emit_axis *x = &e.axes[i];
        if (x->class != AXIS_REDUCED)
            continue;
        int64_t size;
        bool constant = dims_to_int(l->m, x->size, &size);
        x->tile = !constant ? longest : size < 1 ? 1 : size;
        if (!constant)
            assert_row(&e, x->size, longest);
        if (__builtin_mul_overflow(row, constant ? x->tile : 512, &row) || row > MOST_ELEMENTS) {
            lower_graph_error(l, g->ops[0]->loc, "%s: reduces more than %lld elements at once; reduce axis by axis",
                              op_info[g->ops[0]->code].name, (long long)MOST_ELEMENTS);
            return;
        }
        rows = MOST_ROWS;
    }
    if (rows > 1 && rows * row > ROW_ELEMENTS)
        rows = ROW_ELEMENTS / row;
    bool by_rows = row > 1;
    emit_divide(&e, emit_choose(&e, by_rows ? SCHEDULE_ROWS : SCHEDULE_ELEMENTS, by_rows ? rows : MAP_ELEMENTS),
                &accesses);
    keep_small(&e);
    if (!e.n_axes) // one element
        emit_axis(&e, 1, AXIS_PARALLEL, 0);
    int axes[EMIT_AXES];
    for (int i = 0; i < e.n_axes; i++)
        axes[i] = i;
    if (e.n_axes > MAX_RANK) {
        lower_graph_error(l, g->ops[0]->loc, "%s: %d dimensions that cannot be walked as fewer than %d",
                          op_info[g->ops[0]->code].name, e.n_axes, MAX_RANK);
        return;
    }
    emit_spread(&e, e.n_axes, axes, 0);
    emit_grid(&e);
    emit_members(&e, g, 0, e.n_axes, axes, &accesses);
    emit_end(&e);
}
