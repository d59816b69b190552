// Products with what follows them element by element.
//
//   m axes: of the first factor and the result;  n axes: of the second and the result;  batch axes: of all;
//   k axes: of both factors alone
//
// The result's innermost axis is an n axis (the factors change places if it is not): its elements are the vectors. A
// constant second factor is stored while compiling as panels [n / BN][k][BN], which the kernel reads from end to end;
// one that is only known at run time is packed by the kernel, where that pays (shape_pack.c).
#include <string.h>

#include "ir/dims.h"
#include "ir/einsum.h"
#include "passes/copy_elements.h"
#include "passes/lower_graph.h"

struct product {
    struct emit e;
    struct group *g;
    struct accesses accesses;
    struct access *factor[2]; // [1] has the result's innermost axis
    const struct value *value[2];
    bool repeats[2][EMIT_AXES]; // the factor has equal elements along an axis that the product needs it to have
    int n_out, out[EMIT_AXES];  // the result's axes, in its order
    bool packed;
    int panel;                 // packed: the axis of the panels
    int64_t columns;           // packed: of a panel
    int panel_axes[EMIT_AXES]; // packed: the axes of a panel, the columns last
};

static bool in(const struct product *p, int factor, int axis)
{
    return p->factor[factor]->stride[axis] != 0 || p->repeats[factor][axis];
}

static bool in_result(const struct product *p, int axis)
{
    for (int i = 0; i < p->n_out; i++)
        if (p->out[i] == axis)
            return true;
    return false;
}

static bool is_constant_size(struct lowering *l, dim d, int64_t *size)
{
    return dims_to_int(l->m, d, size);
}

// ---- Axes ------------------------------------------------------------------------------------------------------

static bool make_axes(struct product *p, struct lowering *l, const char *labels, const struct place *left,
                      const int *result_order)
{
    const struct op *op = p->g->ops[0];
    struct tensor_space *space = &p->g->walk;
    struct einsum s;
    einsum_parse(labels, &s);
    if (p->g->kind != GROUP_EINSUM)
        walk_sums(p->g, &s);
    int axis_of[SPACE_PARTS], dims[3][MAX_RANK];
    memset(axis_of, -1, sizeof axis_of);
    const struct type *types[3] = {op->operands[0]->type, op->operands[1]->type, op->results[0]->type};
    // The result's axes first, then those summed over in the order of the second factor.
    static const int order[3] = {2, 1, 0};
    for (int i = 0; i < 3; i++) {
        int o = order[i];
        for (int j = 0; j < types[o]->rank; j++) {
            int d = o == 2 && result_order ? result_order[j] : j, x = walk_label(p->g, &s, s.axis[o][d]);
            for (int part = space->first[x]; part < space->first[x + 1]; part++)
                if (axis_of[part] < 0 && space->sizes[part] != 1)
                    axis_of[part] = emit_axis(&p->e, space->sizes[part], AXIS_PARALLEL, d);
            dims[o][d] = x;
        }
    }
    for (int i = 0; i < 2; i++) {
        p->factor[i] = ARENA_NEW(l->arena, struct access);
        struct place at = i == 0 && left ? *left : lower_graph_walked(l, op->operands[i]);
        if (!emit_walk(&p->e, space, &at, dims[i], axis_of, p->factor[i]))
            emit_walk(&p->e, space, lower_graph_place(l, op->operands[i]), dims[i], axis_of, p->factor[i]);
        p->value[i] = op->operands[i];
        p->accesses.list[p->accesses.n++] = p->factor[i];
    }
    emit_collect(&p->e, p->g, 1, axis_of, result_order, &p->accesses);
    // Mark what the result lacks, lest an axis of one factor merge with a summed one.
    for (int i = 0; i < p->e.n_axes; i++)
        p->e.axes[i].class = AXIS_REDUCED;
    for (int part = 0; part < space->first[p->g->rank]; part++)
        if (axis_of[part] >= 0)
            p->e.axes[axis_of[part]].class = AXIS_PARALLEL;
    emit_merge(&p->e, &p->accesses);
    for (int i = 0; i < p->e.n_axes; i++) {
        if (p->e.axes[i].class == AXIS_PARALLEL)
            p->out[p->n_out++] = i;
        else if (in(p, 0, i) != in(p, 1, i))
            p->repeats[in(p, 0, i)][i] = true;
    }
    for (int i = 0; i < p->n_out; i++)
        if (!in(p, 0, p->out[i]) && !in(p, 1, p->out[i]))
            p->repeats[i == p->n_out - 1][p->out[i]] = true;
    if (!p->n_out) { // one element
        p->out[p->n_out++] = emit_axis(&p->e, 1, AXIS_PARALLEL, 0);
        p->factor[0]->stride[p->out[0]] = 1;
    }
    if (in(p, 0, p->out[p->n_out - 1]) && !in(p, 1, p->out[p->n_out - 1])) {
        struct access *a = p->factor[0];
        const struct value *v = p->value[0];
        p->factor[0] = p->factor[1];
        p->value[0] = p->value[1];
        p->factor[1] = a;
        p->value[1] = v;
        bool repeats[EMIT_AXES];
        memcpy(repeats, p->repeats[0], sizeof repeats);
        memcpy(p->repeats[0], p->repeats[1], sizeof repeats);
        memcpy(p->repeats[1], repeats, sizeof repeats);
    }
    if (p->e.n_axes > MAX_RANK) {
        lower_graph_error(l, op->loc, "einsum: more than %d axes", MAX_RANK);
        return false;
    }
    return true;
}

// ---- Constant factors ------------------------------------------------------------------------------------------

// A panel is as wide as register tiles are: the kernel then reads it from end to end. A single row has more vectors of
// sums, for an addition waits for the one before, but not so many that there is one panel and nothing for threads to
// share.
//
// The code for all targets of a file has one copy of the constants. Narrower vectors take panels of the widest ones in
// strips, which costs AVX2 3 % of BERT.
#define PANEL_VECTORS 2
#define ROW_VECTORS 3
#define LEAST_PANEL 16 // columns

static int64_t panel_width(const struct product *p, int64_t columns)
{
    int64_t lanes = p->e.l->target->packed_bytes / 4, most = PANEL_VECTORS * lanes;
    if (p->n_out > 1)
        return most < LEAST_PANEL ? LEAST_PANEL : most;
    int64_t panels = (columns + ROW_VECTORS * lanes - 1) / (ROW_VECTORS * lanes);
    int64_t vectors = ((columns + panels - 1) / panels + lanes - 1) / lanes;
    return vectors * lanes;
}

// In the order of the axes: b of all, m of the first factor, n of the second, k summed over.
static void name_problem(struct product *p)
{
    char letters[EMIT_AXES];
    for (int i = 0; i < p->e.n_axes; i++)
        letters[i] = !in_result(p, i) ? 'k' : in(p, 0, i) && in(p, 1, i) ? 'b' : in(p, 0, i) ? 'm' : 'n';
    const char *what = p->factor[1]->storage->data.bytes ? "product_constant" : "product";
    emit_problem(&p->e, what, letters, p->g->ops[0]->results[0]->type->dtype);
}

// The constant second factor as panels, if it has one n axis and no batch axes, and all sizes are known.
static bool pack_panels(struct product *p, struct lowering *l)
{
    struct access *b = p->factor[1];
    if (!b->storage->data.bytes || dtype_info[b->storage->type->dtype].bits < 8)
        return false;
    int column = -1, k[EMIT_AXES], n_k = 0;
    int64_t sizes[EMIT_AXES], strides[EMIT_AXES], offset, depth = 1;
    if (!is_constant_size(l, b->offset, &offset))
        return false;
    for (int i = 0; i < p->e.n_axes; i++) {
        if (!in(p, 1, i))
            continue;
        if (!is_constant_size(l, p->e.axes[i].size, &sizes[i]) || !is_constant_size(l, b->stride[i], &strides[i]))
            return false;
        if (in_result(p, i)) {
            if (in(p, 0, i) || column >= 0)
                return false;
            column = i;
        } else {
            k[n_k++] = i;
            depth *= sizes[i];
        }
    }
    if (column < 0 || column != p->out[p->n_out - 1] || !depth || !sizes[column])
        return false;
    // The first factor's innermost axis is the fastest of k, so that its rows are read in order.
    int order[EMIT_AXES];
    int n_ordered = emit_order(&p->e, p->factor[0], n_k, k, order);
    for (int i = 0; i < n_k; i++)
        if (!p->factor[0]->stride[k[i]])
            order[n_ordered++] = k[i];
    int64_t width = emit_choose(&p->e, SCHEDULE_PANEL, panel_width(p, sizes[column]));
    if (width > sizes[column])
        width = sizes[column];
    int64_t panels = (sizes[column] + width - 1) / width;
    int bytes = dtype_info[b->storage->type->dtype].bits / 8;
    char *to = module_bytes(l->m, (size_t)(panels * depth * width * bytes));
    const char *from = b->storage->data.bytes;
    if (sizes[column] % width) // what lies behind the last column
        memset(to + (panels - 1) * depth * width * bytes, 0, (size_t)(depth * width * bytes));
    for (int64_t first = 0; first < sizes[column]; first += width) {
        int64_t columns = sizes[column] - first < width ? sizes[column] - first : width;
        for (int64_t r = 0; r < depth; r++) {
            int64_t at = offset + first * strides[column], left = r;
            for (int i = n_k - 1; i >= 0; i--) {
                at += left % sizes[order[i]] * strides[order[i]];
                left /= sizes[order[i]];
            }
            copy_elements(to + (first * depth + r * width) * bytes, 1, from + at * bytes, strides[column], columns,
                          bytes);
        }
    }
    lower_graph_let_go(b->storage);
    // The panels as a tensor [panel][k ..][column].
    struct data data = {b->storage->data.name, to, panels * depth * width * bytes, false};
    dim dims[MAX_RANK] = {panels};
    for (int i = 0; i < n_k; i++)
        dims[1 + i] = sizes[order[i]];
    dims[1 + n_k] = width;
    if (n_k + 2 > MAX_RANK)
        return false;
    struct type *t = type_tensor(l->m, b->storage->type->dtype, n_k + 2, dims);
    *b = (struct access){.storage = lower_graph_constant(l, t, data)};
    int64_t stride = width;
    for (int i = n_k - 1; i >= 0; i--) {
        b->stride[order[i]] = stride;
        stride *= sizes[order[i]];
    }
    b->stride[column] = 1;
    memset(p->repeats[1], 0, sizeof p->repeats[1]);
    p->packed = true;
    p->panel = column;
    p->columns = width;
    memcpy(p->panel_axes, order, sizeof *order * (size_t)n_k);
    p->panel_axes[n_k] = column;
    return true;
}

// ---- Tiles -----------------------------------------------------------------------------------------------------

#define ROWS 128
#define COLUMNS 128
#define DEPTH 32        // of a chunk of k, where a factor is packed at run time or k is not constant
#define SHORT_DEPTH 128 // k up to this is not cut

static void set_tile(struct product *p, struct lowering *l, int axis, int64_t most)
{
    int64_t size;
    if (!is_constant_size(l, p->e.axes[axis].size, &size) || size > most)
        size = most;
    p->e.axes[axis].tile = size < 1 ? 1 : size;
}

// Rows of the first factor longer than this do not stay in the first-level cache while a register tile's rows are read
// for one panel after the other: the sum is made in chunks of equal size, and lies in scratch between them.
#define LONG_DEPTH 1024

static int64_t depth_of_chunk(const struct product *p, int64_t size)
{
    int64_t n = (size + LONG_DEPTH - 1) / LONG_DEPTH, depth = p->packed && n > 1 && size % n == 0 ? size / n : size;
    int64_t most = schedule_info[SCHEDULE_DEPTH].most;
    return depth < 1 ? 1 : depth > most ? most : depth;
}

#define MOST_CHUNKS 64 // each has code of its own where a factor is packed

// A depth that the schedule says, or more where the chunks would be too many.
static int64_t choose_depth(struct product *p, int64_t size, int64_t depth)
{
    depth = emit_choose(&p->e, SCHEDULE_DEPTH, depth);
    int64_t least = p->packed ? (size + MOST_CHUNKS - 1) / MOST_CHUNKS : 1;
    return depth < least ? least : depth;
}

// What the kernel reads from beyond the second-level cache, by the order of its instances. Row blocks that count
// fastest share a panel of the second factor, and read the first again for every panel unless it stays in the cache.
// Columns that count fastest share a row block, and read all panels again for every row block unless they stay; the
// result's rows are then written whole.
static bool fewer_bytes_by_columns(const struct product *p, struct lowering *l)
{
    int64_t first = 4, blocks = 1, panels = 1, size, second = p->factor[1]->storage->data.size;
    int64_t cache = l->target->l2_bytes * 3 / 4;
    if (second <= l->target->l2_bytes / 4)
        return true;
    for (int i = 0; i < p->e.n_axes; i++) {
        if (!is_constant_size(l, p->e.axes[i].size, &size) || size > INT32_MAX)
            return false;
        int64_t tiles = (size + p->e.axes[i].tile - 1) / p->e.axes[i].tile;
        if (in(p, 0, i) && __builtin_mul_overflow(first, size, &first))
            return false;
        if (in_result(p, i))
            *(in(p, 0, i) ? &blocks : &panels) *= tiles;
    }
    double by_rows = (double)second + (double)first * (first <= cache ? 1 : (double)panels);
    double by_columns = (double)first + (double)second * (second <= cache ? 1 : (double)blocks);
    return by_columns < by_rows;
}

static void choose_tiles(struct product *p, struct lowering *l)
{
    int rows[EMIT_AXES], columns[EMIT_AXES], batch[EMIT_AXES], n_rows = 0, n_columns = 0, n_batch = 0;
    for (int i = 0; i < p->n_out; i++) {
        int axis = p->out[i];
        if (in(p, 0, axis) && in(p, 1, axis))
            batch[n_batch++] = axis;
        else if (in(p, 1, axis))
            columns[n_columns++] = axis;
        else
            rows[n_rows++] = axis;
    }
    int64_t most = emit_choose(&p->e, SCHEDULE_ROWS, ROWS);
    for (int i = n_rows - 1; i >= 0; i--) {
        set_tile(p, l, rows[i], most);
        most /= p->e.axes[rows[i]].tile;
    }
    most = p->packed ? p->columns : emit_choose(&p->e, SCHEDULE_COLUMNS, COLUMNS);
    for (int i = n_columns - 1; i >= 0; i--) {
        set_tile(p, l, columns[i], most);
        most /= p->e.axes[columns[i]].tile;
    }
    bool innermost = true;
    for (int i = p->e.n_axes - 1; i >= 0; i--) {
        int64_t size;
        if (in_result(p, i))
            continue;
        bool whole = is_constant_size(l, p->e.axes[i].size, &size) && (p->packed || size <= SHORT_DEPTH);
        int64_t depth = whole ? depth_of_chunk(p, size) : DEPTH;
        set_tile(p, l, i, innermost ? choose_depth(p, size, depth) : depth);
        innermost = false;
    }
    bool columns_first = emit_choose(&p->e, SCHEDULE_COLUMNS_FIRST, p->packed && fewer_bytes_by_columns(p, l));
    emit_spread(&p->e, n_rows, rows, columns_first ? 1 : 0);
    emit_spread(&p->e, n_columns, columns, columns_first ? 0 : 1);
    emit_spread(&p->e, n_batch, batch, 2);
}

// ---- The body --------------------------------------------------------------------------------------------------

static char label(int axis)
{
    return (char)('a' + axis);
}

// The tile with equal elements along the first n_new of its n axes, which are 1 long. Along what is summed there are 0s
// beyond the axis, as in what is loaded: those times infinity would be no 0.
static struct value *repeat(struct product *p, struct value *x, int n_new, int n, const int *axes)
{
    struct emit *e = &p->e;
    dim dims[MAX_RANK];
    for (int i = 0; i < n; i++)
        dims[i] = e->axes[axes[i]].tile;
    x = build_value(&e->b, OP_BROADCAST, 1, &x, 0, NULL, type_tile(e->l->m, x->type->dtype, n, dims));
    for (int i = 0; i < n_new; i++) {
        const struct emit_axis *axis = &e->axes[axes[i]];
        int64_t size;
        if (in_result(p, axes[i]) || (is_constant_size(e->l, axis->size, &size) && size && size % axis->tile == 0))
            continue;
        struct type *s = type_scalar(e->l->m, x->type->dtype);
        struct value *at = emit_positions(e, DTYPE_I64, i, n, axes);
        struct value *inside = build_binary(&e->b, OP_LT, at, build_cast(&e->b, DTYPE_I64, emit_size(e, axis->size)));
        struct value *zero = dtype_is_float(s->dtype) ? build_float(&e->b, s, 0) : build_int(&e->b, s, 0);
        x = build_select(&e->b, inside, x, zero);
    }
    return x;
}

static struct value *load_factor(struct product *p, int factor, char *labels)
{
    struct emit *e = &p->e;
    int at = (int)strlen(labels);
    if (factor == 1 && p->packed) { // [panel][k ..][column]
        const int *axes = p->panel_axes;
        dim sizes[MAX_RANK], strides[MAX_RANK], tile[MAX_RANK];
        struct value *index[MAX_RANK];
        const struct type *t = p->factor[1]->storage->type;
        dim stride = 1;
        for (int d = t->rank - 1; d >= 0; d--) {
            sizes[d] = t->dims[d];
            strides[d] = stride;
            stride *= t->dims[d];
            tile[d] = d == 0 ? 1 : d == t->rank - 1 ? p->columns : e->axes[axes[d - 1]].tile;
            index[d] = d == 0
                           ? build_binary(&e->b, OP_FLOORDIV, e->axes[p->panel].start, build_index(&e->b, p->columns))
                       : d == t->rank - 1 ? build_index(&e->b, 0)
                                          : e->axes[axes[d - 1]].start;
        }
        labels[at++] = 'z';
        for (int i = 0; i + 1 < t->rank; i++)
            labels[at++] = label(axes[i]);
        labels[at] = 0;
        struct value *view = emit_param(e, p->factor[1]->storage, 0, t->rank, sizes, strides);
        return build_load(&e->b, view, index, type_tile(e->l->m, t->dtype, t->rank, tile), NULL);
    }
    int all[EMIT_AXES], axes[EMIT_AXES], both[EMIT_AXES], n_new = 0;
    for (int i = 0; i < e->n_axes; i++)
        all[i] = i;
    int n = emit_order(e, p->factor[factor], e->n_axes, all, axes);
    for (int i = 0; i < e->n_axes; i++)
        if (p->repeats[factor][i])
            both[n_new++] = i;
    memcpy(both + n_new, axes, sizeof *axes * (size_t)n);
    n += n_new;
    for (int i = 0; i < n; i++)
        labels[at++] = label(both[i]);
    labels[at] = 0;
    struct value *x = emit_load(e, p->factor[factor], n, both);
    return n_new ? repeat(p, x, n_new, n, both) : x;
}

static struct value *dot(struct product *p, struct value *sum)
{
    char labels[3 * EMIT_AXES + 8] = "";
    struct value *x[3];
    x[0] = load_factor(p, 0, labels);
    strcat(labels, ",");
    x[1] = load_factor(p, 1, labels);
    strcat(labels, "->");
    size_t n = strlen(labels);
    for (int i = 0; i < p->n_out; i++)
        labels[n++] = label(p->out[i]);
    labels[n] = 0;
    x[2] = sum;
    return build_value(&p->e.b, OP_DOT, 3, x, 1, &(struct attr){ATTR_LABELS, {.string = labels}}, NULL);
}

// Loops over the chunks of the k axes from `axis` on.
static struct value *chunks(struct product *p, int axis, struct value *sum)
{
    struct emit *e = &p->e;
    int64_t size;
    while (axis < e->n_axes && (in_result(p, axis) || !in(p, 0, axis) ||
                                (is_constant_size(e->l, e->axes[axis].size, &size) && size <= e->axes[axis].tile)))
        axis++;
    if (axis == e->n_axes)
        return dot(p, sum);
    if (p->packed) { // a dot for each, which the loop below would fuse into one
        for (int64_t at = 0; at < size; at += e->axes[axis].tile) {
            e->axes[axis].start = build_index(&e->b, at);
            sum = chunks(p, axis + 1, sum);
        }
        return sum;
    }
    struct value *zero = build_index(&e->b, 0), *end = emit_size(e, e->axes[axis].size);
    struct op *loop = build_for(&e->b, zero, end, build_index(&e->b, e->axes[axis].tile), 1, &sum);
    e->axes[axis].start = loop->blocks[0]->args[0];
    struct value *next = chunks(p, axis + 1, loop->blocks[0]->args[1]);
    build_yield(&e->b, 1, &next);
    build_end(&e->b, loop);
    return loop->results[0];
}

// The sum over the axes that neither factor has elements of its own along: all are equal.
static struct value *count_repeats(struct product *p, struct value *sum)
{
    struct builder *b = &p->e.b;
    enum dtype t = sum->type->dtype;
    for (int i = 0; i < p->e.n_axes; i++) {
        if (in_result(p, i) || in(p, 0, i) || in(p, 1, i))
            continue;
        struct value *size = emit_size(&p->e, p->e.axes[i].size);
        struct type *s = type_scalar(p->e.l->m, t);
        struct value *zero = dtype_is_float(t) ? build_float(b, s, 0) : build_int(b, s, 0);
        sum = build_select(b, build_binary(b, OP_GT, size, build_index(b, 0)),
                           build_binary(b, OP_MUL, sum, build_cast(b, t, size)), zero);
    }
    return sum;
}

void emit_product(struct lowering *l, struct group *g, const char *labels, const struct place *left,
                  const int *result_order)
{
    struct product *p = ARENA_NEW(l->arena, struct product);
    p->g = g;
    emit_begin(&p->e, l, g);
    if (!make_axes(p, l, labels, left, result_order))
        return;
    name_problem(p);
    pack_panels(p, l);
    choose_tiles(p, l);
    emit_grid(&p->e);
    enum dtype result = g->ops[0]->results[0]->type->dtype;
    enum dtype wide = result == DTYPE_F64 ? DTYPE_F64 : dtype_is_float(result) ? DTYPE_F32 : result;
    if (dtype_is_int(result) && dtype_info[result].bits < 32)
        wide = DTYPE_I32;
    dim dims[MAX_RANK];
    for (int i = 0; i < p->n_out; i++)
        dims[i] = p->e.axes[p->out[i]].tile;
    struct type *t = type_tile(l->m, wide, p->n_out, dims);
    struct value *zero = dtype_is_float(wide) ? build_float(&p->e.b, t, 0) : build_int(&p->e.b, t, 0);
    struct value *sum = count_repeats(p, chunks(p, 0, zero));
    if (wide != result)
        sum = build_cast(&p->e.b, result, sum);
    table_set(&p->e.tiles, table_key(g->ops[0]->results[0]), sum);
    emit_members(&p->e, g, 1, p->n_out, p->out, &p->accesses);
    emit_end(&p->e);
}

void emit_einsum(struct lowering *l, struct group *g)
{
    const struct op *op = g->ops[0];
    emit_product(l, g, op_attr(op, ATTR_LABELS)->string, NULL, NULL);
}
