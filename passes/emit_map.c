// Kernels of element-wise operations, with reductions and scans among them.
//
// An axis that is reduced lies in one tile, so that a row is read once: its exact size where that is constant, else a
// bound. There are two kernels for such rows, one for up to LONGEST_ROW and one for all that a tile may hold; the host
// chooses, and checks that the row is not longer than that. A tile costs what there is of it only, so both are as fast;
// but the interpreter can run the first.
#include <string.h>

#include "ir/dims.h"
#include "passes/lower_graph.h"

#define LONGEST_ROW 65536                // of a size that is not constant
#define LARGEST_TILE ((int64_t)1 << 26)  // of rows of such sizes
#define LARGEST_ROW LARGEST_TILE         // of such a size in the second kernel
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
            if (!p->storage || p->storage->data.bytes || p->view.tensor_rank)
                continue;
            tensor_view_order(l->m, &p->view, order);
            return;
        }
    layout_order(l, g->ops[g->n_ops - 1]->results[0], order);
}

static bool is_open_row(const struct emit *e, const struct emit_axis *x)
{
    int64_t size;
    return x->class == AXIS_REDUCED && !dims_to_int(e->l->m, x->size, &size);
}

// The tile along reduced axes whose sizes are not constant, if it is to have `all` elements at most, and along one of
// them `most`.
static int64_t longest_row(const struct emit *e, int64_t most, int64_t all)
{
    int64_t constant = 1, size;
    int open = 0;
    for (int i = 0; i < e->n_axes; i++) {
        if (e->axes[i].class != AXIS_REDUCED)
            continue;
        if (is_open_row(e, &e->axes[i]))
            open++;
        else if (dims_to_int(e->l->m, e->axes[i].size, &size) && size > 0 &&
                 __builtin_mul_overflow(constant, size, &constant))
            constant = all;
    }
    for (;; most /= 2) {
        int64_t product = constant;
        for (int i = 0; i < open && product <= all; i++)
            product *= most;
        if (!open || product <= all || most == 1)
            return open ? most : 0;
    }
}

// In the host function: whether all rows of unknown length are so short.
static struct value *are_rows_below(struct emit *e, int64_t most)
{
    struct builder *b = &e->l->b;
    struct value *all = NULL;
    for (int i = 0; i < e->n_axes; i++) {
        if (!is_open_row(e, &e->axes[i]))
            continue;
        struct value *fits = build_binary(b, OP_LE, dims_build(b, e->axes[i].size), build_index(b, most));
        all = all ? build_binary(b, OP_AND, all, fits) : fits;
    }
    return all;
}

// The host checks that rows of unknown length fit the tile.
static void assert_rows(struct emit *e, struct loc loc, int64_t most)
{
    struct arena *a = &e->l->m->arena;
    const char *where = loc.node ? arena_printf(a, "%s: node '%s': ", loc.file, loc.node) : "";
    const char *sizes = "";
    for (int i = 0; i < e->n_axes; i++)
        if (is_open_row(e, &e->axes[i]))
            sizes = arena_printf(a, "%s%s%s", sizes, *sizes ? " or " : "", dim_string(a, e->l->m, e->axes[i].size));
    const char *message = arena_printf(a,
                                       "%sa reduction over %s elements: compiled for sizes that are not constant it "
                                       "takes at most %lld; give the size when compiling",
                                       where, sizes, (long long)most);
    struct value *fits = are_rows_below(e, most);
    build_op(&e->l->b, OP_ASSERT, 1, &fits, 1, &(struct attr){ATTR_MESSAGE, {.string = message}}, 0, NULL);
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

// Begins the kernel: its axes, and what it accesses.
static void begin(struct emit *e, struct lowering *l, struct group *g, struct accesses *accesses)
{
    int order[MAX_RANK], axis_of[SPACE_PARTS];
    choose_order(l, g, order);
    emit_begin(e, l, g);
    for (int i = 0; i < g->rank; i++)
        for (int d = order[i], p = g->walk.first[d]; p < g->walk.first[d + 1]; p++) {
            axis_of[p] = -1;
            if (g->walk.sizes[p] == 1)
                continue;
            axis_of[p] = emit_axis(e, g->walk.sizes[p], g->reduced[d] ? AXIS_REDUCED : AXIS_PARALLEL, d);
            e->axes[axis_of[p]].alone = walk_is_counted(g, d);
        }
    emit_collect(e, g, 0, axis_of, order, accesses);
    emit_merge(e, accesses);
}

// The kernel with tiles of `longest` along open rows, and its launch.
static void finish(struct emit *e, struct group *g, struct accesses *accesses, int64_t longest)
{
    struct lowering *l = e->l;
    char letters[EMIT_AXES];
    for (int i = 0; i < e->n_axes; i++)
        letters[i] = e->axes[i].class == AXIS_REDUCED ? 'k' : 'm';
    emit_problem(e, g->kind == GROUP_REDUCE ? "rows" : "map", letters, g->ops[0]->results[0]->type->dtype);
    int64_t row = 1, rows = 1, constant = 1;
    for (int i = 0; i < e->n_axes; i++) {
        struct emit_axis *x = &e->axes[i];
        if (x->class != AXIS_REDUCED)
            continue;
        int64_t size;
        bool open = is_open_row(e, x);
        x->tile = open ? longest : dims_to_int(l->m, x->size, &size) && size > 1 ? size : 1;
        if (__builtin_mul_overflow(constant, open ? 1 : x->tile, &constant) || constant > MOST_ELEMENTS) {
            lower_graph_error(l, g->ops[0]->loc, "%s: reduces more than %lld elements at once; reduce axis by axis",
                              op_info[g->ops[0]->code].name, (long long)MOST_ELEMENTS);
            return;
        }
        if (__builtin_mul_overflow(row, open ? 512 : x->tile, &row) || row > MOST_ELEMENTS)
            row = MOST_ELEMENTS;
        rows = MOST_ROWS;
    }
    if (rows > 1 && rows * row > ROW_ELEMENTS)
        rows = ROW_ELEMENTS / row;
    bool by_rows = row > 1;
    emit_divide(e, emit_choose(e, by_rows ? SCHEDULE_ROWS : SCHEDULE_ELEMENTS, by_rows ? rows : MAP_ELEMENTS),
                accesses);
    keep_small(e);
    if (!e->n_axes) // one element
        emit_axis(e, 1, AXIS_PARALLEL, 0);
    int axes[EMIT_AXES];
    for (int i = 0; i < e->n_axes; i++)
        axes[i] = i;
    if (e->n_axes > MAX_RANK) {
        lower_graph_error(l, g->ops[0]->loc, "%s: %d dimensions that cannot be walked as fewer than %d",
                          op_info[g->ops[0]->code].name, e->n_axes, MAX_RANK);
        return;
    }
    emit_spread(e, e->n_axes, axes, 0);
    emit_grid(e);
    emit_members(e, g, 0, e->n_axes, axes, accesses);
    emit_end(e);
}

// Scalars that both branches hand over are computed before them.
static void compute_scalars(struct lowering *l, const struct group *g)
{
    for (int i = 0; i < g->n_ops; i++)
        for (int o = 0; o < g->ops[i]->n_operands; o++) {
            struct value *v = g->ops[i]->operands[o];
            if (v->type->kind == TYPE_SCALAR && !(v->def && v->def->code == OP_CONSTANT))
                lower_graph_scalar(l, v);
        }
}

void emit_map(struct lowering *l, struct group *g)
{
    struct emit e;
    struct accesses accesses = {0};
    begin(&e, l, g, &accesses);
    int64_t usual = longest_row(&e, LONGEST_ROW, LARGEST_TILE), most = longest_row(&e, LARGEST_ROW, MOST_ELEMENTS);
    if (!usual || l->failed) {
        finish(&e, g, &accesses, 0);
        return;
    }
    struct builder *b = &l->b;
    compute_scalars(l, g);
    struct op *choice = build_if(b, are_rows_below(&e, usual), 0, NULL);
    finish(&e, g, &accesses, usual);
    build_yield(b, 0, NULL);
    build_enter(b, choice->blocks[1]);
    struct emit large;
    struct accesses same = {0};
    begin(&large, l, g, &same);
    assert_rows(&large, g->ops[0]->loc, most);
    finish(&large, g, &same, most);
    build_yield(b, 0, NULL);
    build_end(b, choice);
}
