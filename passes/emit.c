// One kernel of a group: axes, parameters, grid, loads and stores.
//
// A kernel walks axes: the dimensions of its group's space, with those merged that all its tensors walk as one. Sizes
// that are not constant are symbols d0, d1 .. of the kernel; the host computes them. So kernels that differ only in
// where their sizes come from are equal, and are compiled once.
#include <stdio.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/scalar.h"
#include "passes/lower_graph.h"

// ---- Sizes and parameters --------------------------------------------------------------------------------------

dim emit_dim(struct emit *e, dim d)
{
    int64_t constant;
    if (dims_to_int(e->l->m, d, &constant) && constant >= 0)
        return constant;
    int i = 0;
    while (i < e->n_sizes && e->sizes[i] != d)
        i++;
    if (i == MAX_OPERANDS) {
        lower_graph_error(e->l, e->kernel->loc, "a kernel of more than %d sizes", MAX_OPERANDS);
        return 1;
    }
    if (i == e->n_sizes)
        e->sizes[e->n_sizes++] = d;
    char name[16];
    int n = snprintf(name, sizeof name, "d%d", i), symbol = module_symbol(e->l->m, name, (size_t)n);
    function_symbol(e->kernel, symbol);
    return dim_symbol(symbol);
}

struct value *emit_size(struct emit *e, dim d)
{
    dim own = emit_dim(e, d);
    return dim_is_symbol(own) ? function_symbol(e->kernel, dim_symbol_id(own)) : build_index(&e->b, own);
}

struct value *emit_param(struct emit *e, struct storage *s, dim offset, int n, const dim *sizes, const dim *strides)
{
    dim own_sizes[MAX_RANK], own_strides[MAX_RANK];
    bool contiguous = true;
    dim stride = 1;
    for (int d = n - 1; d >= 0; d--) {
        contiguous &= sizes[d] == 1 || strides[d] == stride;
        if (sizes[d] != 0) // tensor_view.c
            stride = dims_mul(e->l->m, stride, sizes[d]);
    }
    for (int d = 0; d < n; d++) {
        own_sizes[d] = emit_dim(e, sizes[d]);
        own_strides[d] = contiguous || sizes[d] == 1 ? 1 : emit_dim(e, strides[d]);
    }
    struct type *t = type_view(e->l->m, s->type->dtype, n, own_sizes, contiguous ? NULL : own_strides);
    for (int i = 0; i < e->kernel->n_params; i++)
        if (e->params[i].storage == s && e->params[i].offset == offset && e->params[i].value->type == t)
            return e->params[i].value;
    int i = e->kernel->n_params;
    if (i == MAX_OPERANDS - 16) {
        lower_graph_error(e->l, e->kernel->loc, "a kernel of more than %d tensors", i);
        return e->params[0].value;
    }
    struct value *p = function_add_param(e->kernel, arena_printf(&e->l->m->arena, "p%d", i), t);
    e->params[i] = (struct emit_param){.storage = s, .offset = offset, .value = p};
    return p;
}

// The parameter for a scalar, which the host computes.
static struct value *scalar_param(struct emit *e, struct value *v)
{
    int n = e->kernel->n_params;
    for (int i = 0; i < n; i++)
        if (e->params[i].scalar == v)
            return e->params[i].value;
    if (n == MAX_OPERANDS - 16) {
        lower_graph_error(e->l, e->kernel->loc, "a kernel of more than %d tensors and scalars", n);
        return build_int(&e->b, v->type, 0);
    }
    struct value *p = function_add_param(e->kernel, arena_printf(&e->l->m->arena, "p%d", n), v->type);
    e->params[n] = (struct emit_param){.scalar = v, .value = p};
    return p;
}

// ---- Axes ------------------------------------------------------------------------------------------------------

void emit_name(struct emit *e, const char *what)
{
    int number = e->l->n_kernels;
    const char *name;
    do // the module may have other graphs, and kernels that were there before
        name = arena_printf(&e->l->m->arena, "k%d%s", number++, what);
    while (module_function(e->l->m, name));
    e->kernel->name = name;
}

void emit_begin(struct emit *e, struct lowering *l, const struct group *g)
{
    *e = (struct emit){.l = l};
    struct loc loc = g->n_ops ? g->ops[0]->loc : l->graph->loc;
    const char *ops = "";
    for (int i = 0; i < g->n_ops && strlen(ops) < 38; i++)
        ops = arena_printf(l->arena, "%s_%s", ops, op_info[g->ops[i]->code].name);
    e->kernel = function_create(l->m, "", loc);
    emit_name(e, ops);
    e->b = (struct builder){.function = e->kernel, .block = e->kernel->body, .loc = loc, .diags = l->diags};
    e->tiles = ARENA_ARRAY(l->arena, struct value *, l->graph->n_values + 1);
}

void emit_problem(struct emit *e, const char *what, const char *letters, enum dtype t)
{
    struct arena *a = &e->l->m->arena;
    const char *problem = what;
    int64_t size;
    for (int i = 0; i < e->n_axes; i++)
        if (letters[i])
            problem = dims_to_int(e->l->m, e->axes[i].size, &size)
                          ? arena_printf(a, "%s-%c%lld", problem, letters[i], (long long)size)
                          : arena_printf(a, "%s-%c?", problem, letters[i]);
    e->kernel->schedule = schedule_create(a);
    e->kernel->schedule->problem = arena_printf(a, "%s-%s", problem, dtype_info[t].name);
}

int64_t emit_choose(struct emit *e, enum schedule_key key, int64_t otherwise)
{
    return schedule_choose(e->l->schedules, e->kernel, key, otherwise);
}

int emit_axis(struct emit *e, dim size, enum axis_class class, int of)
{
    if (e->n_axes == EMIT_AXES) {
        lower_graph_error(e->l, e->kernel->loc, "a kernel of more than %d dimensions", EMIT_AXES);
        return 0;
    }
    e->axes[e->n_axes] = (struct emit_axis){.size = size, .class = class, .dim = of, .tile = 1, .grid = -1};
    return e->n_axes++;
}

struct access emit_access(struct emit *e, const struct place *p, int n, const int *axis_of)
{
    struct access a = {.storage = p->storage, .offset = p->view.offset};
    for (int d = 0; d < p->view.rank; d++) {
        int axis = axis_of[n - p->view.rank + d];
        if (axis >= 0 && p->view.sizes[d] != 1 && e->axes[axis].size != 1)
            a.stride[axis] = p->view.strides[d];
    }
    return a;
}

static void list_access(struct emit *e, struct accesses *out, struct access *a)
{
    if (out->n == 2 * MAX_OPERANDS)
        lower_graph_error(e->l, e->kernel->loc, "a kernel of more than %d tensors", out->n);
    else
        out->list[out->n++] = a;
}

static void add_access(struct emit *e, struct accesses *out, struct value *v, const struct place *p, int n,
                       const int *axis_of)
{
    if (out->of[v->id])
        return;
    struct access *a = ARENA_NEW(e->l->arena, struct access);
    *a = emit_access(e, p, n, axis_of);
    out->of[v->id] = a;
    list_access(e, out, a);
}

// r[a.., i.., b..] = table[a.., indices[i..], b..]
static void add_lookup(struct emit *e, struct accesses *out, const struct op *take, const int *axis_of)
{
    const struct place *table = lower_graph_place(e->l, take->operands[0]);
    const struct place *indices = lower_graph_place(e->l, take->operands[1]);
    int axis = (int)op_int(take, ATTR_AXIS, 0), rank = indices->view.rank, others[MAX_RANK];
    for (int d = 0; d < table->view.rank; d++)
        others[d] = d < axis ? axis_of[d] : d == axis ? -1 : axis_of[d - 1 + rank];
    struct lookup *k = ARENA_NEW(e->l->arena, struct lookup);
    k->table = emit_access(e, table, table->view.rank, others);
    k->indices = emit_access(e, indices, rank, axis_of + axis);
    k->size = table->view.sizes[axis];
    k->stride = k->size == 1 ? 1 : table->view.strides[axis];
    out->lookups[take->results[0]->id] = k;
    list_access(e, out, &k->table);
    list_access(e, out, &k->indices);
}

// What stands for itself in a kernel: a constant with equal elements, or a size.
static bool is_immediate(const struct value *v)
{
    return v->def && (v->def->code == OP_CONSTANT || (v->def->code == OP_SIZES && !v->type->rank));
}

void emit_collect(struct emit *e, const struct group *g, int first, int n, const int *axis_of, const int *order,
                  struct accesses *out)
{
    struct lowering *l = e->l;
    if (!out->of) {
        out->of = ARENA_ARRAY(l->arena, struct access *, l->graph->n_values + 1);
        out->lookups = ARENA_ARRAY(l->arena, struct lookup *, l->graph->n_values + 1);
    }
    for (int i = first; i < g->n_ops; i++) {
        if (g->ops[i]->code == OP_TAKE) {
            add_lookup(e, out, g->ops[i], axis_of);
            continue;
        }
        for (int o = 0; o < g->ops[i]->n_operands; o++) {
            struct value *v = g->ops[i]->operands[o];
            if (v->type->kind == TYPE_TENSOR && l->grouping.of[v->id] != g && !is_immediate(v))
                add_access(e, out, v, lower_graph_place(l, v), n, axis_of);
        }
    }
    for (int i = 0; i < g->n_ops; i++) {
        struct value *v = g->ops[i]->results[0];
        if (!lower_graph_escapes(l, g, v))
            continue;
        in_place_choose(l, g, v, order);
        add_access(e, out, v, lower_graph_result(l, v, order), n, axis_of);
    }
}

static void drop_axis(struct emit *e, int i, struct accesses *accesses)
{
    size_t after = (size_t)(e->n_axes - i - 1);
    memmove(&e->axes[i], &e->axes[i + 1], sizeof *e->axes * after);
    for (int a = 0; a < accesses->n; a++) {
        dim *s = accesses->list[a]->stride;
        memmove(&s[i], &s[i + 1], sizeof *s * after);
        s[e->n_axes - 1] = 0;
    }
    e->n_axes--;
}

static bool walks_as_one(struct emit *e, int outer, int inner, const struct accesses *accesses)
{
    if (e->axes[outer].class != e->axes[inner].class || e->axes[outer].alone || e->axes[inner].alone)
        return false;
    for (int a = 0; a < accesses->n; a++) {
        dim o = accesses->list[a]->stride[outer], i = accesses->list[a]->stride[inner];
        if (!o != !i || (o && o != dims_mul(e->l->m, i, e->axes[inner].size)))
            return false;
    }
    return true;
}

static bool merge_one(struct emit *e, struct accesses *accesses)
{
    for (int outer = 0; outer < e->n_axes; outer++)
        for (int inner = 0; inner < e->n_axes; inner++)
            if (inner != outer && walks_as_one(e, outer, inner, accesses)) {
                e->axes[inner].size = dims_mul(e->l->m, e->axes[outer].size, e->axes[inner].size);
                drop_axis(e, outer, accesses);
                return true;
            }
    return false;
}

void emit_merge(struct emit *e, struct accesses *accesses)
{
    while (merge_one(e, accesses))
        ;
}

int emit_order(struct emit *e, const struct access *a, int n, const int *axes, int *order)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (!a->stride[axes[i]])
            continue;
        // Inside of all whose stride is a multiple of its own.
        int at = count;
        while (at > 0) {
            dim before = a->stride[order[at - 1]], mine = a->stride[axes[i]];
            bool larger = mine != before && dims_exact(e->l->m, mine, before) != DIM_UNKNOWN;
            if (!larger && !(mine > before && before >= 0))
                break;
            order[at] = order[at - 1];
            at--;
        }
        order[at] = axes[i];
        count++;
    }
    return count;
}

// ---- Tiles -----------------------------------------------------------------------------------------------------

static bool covered(struct emit *e, const struct emit_axis *x)
{
    int64_t size;
    return dims_to_int(e->l->m, x->size, &size) && size <= x->tile;
}

void emit_spread(struct emit *e, int n, const int *axes, int first)
{
    for (int i = n - 1; i >= 0; i--) {
        struct emit_axis *x = &e->axes[axes[i]];
        if (x->class == AXIS_PARALLEL && !covered(e, x)) // a row that is reduced is one tile
            x->grid = first < 2 ? first++ : 2;
    }
}

static int64_t tile_of(struct emit *e, int axis, int64_t most)
{
    int64_t size;
    if (dims_to_int(e->l->m, e->axes[axis].size, &size) && size < most)
        return size < 1 ? 1 : size;
    return most < 1 ? 1 : most;
}

#define TRANSPOSED_TILE 64 // of either axis, where neighbours in one tensor are apart in another
#define SYMBOLIC_TILE 256  // of an inner axis of unknown size: more would idle where it is short

void emit_divide(struct emit *e, int64_t budget, const struct accesses *accesses)
{
    int last = e->n_axes - 1;
    while (last >= 0 && e->axes[last].class != AXIS_PARALLEL)
        last--;
    bool transposes[EMIT_AXES] = {false}, any = false;
    for (int a = 0; a < accesses->n; a++)
        for (int i = 0; i < last; i++)
            if (accesses->list[a]->stride[i] == 1 && accesses->list[a]->stride[last])
                any = transposes[i] = true;
    for (int i = last; i >= 0; i--) {
        struct emit_axis *x = &e->axes[i];
        if (x->class != AXIS_PARALLEL)
            continue;
        bool symbolic = dim_is_symbol(x->size);
        int64_t most = any ? (transposes[i] || i == last ? TRANSPOSED_TILE : 1) : budget;
        if (symbolic && i > 0 && most > SYMBOLIC_TILE)
            most = SYMBOLIC_TILE;
        x->tile = tile_of(e, i, most);
        budget /= x->tile;
    }
}

// ---- The grid --------------------------------------------------------------------------------------------------

static struct value *tiles_of(struct emit *e, const struct emit_axis *x)
{
    dim size = emit_dim(e, x->size);
    if (!dim_is_symbol(size))
        return build_index(&e->b, (size + x->tile - 1) / x->tile);
    return build_binary(&e->b, OP_CEILDIV, emit_size(e, x->size), build_index(&e->b, x->tile));
}

void emit_grid(struct emit *e)
{
    int n_grid = 1;
    for (int i = 0; i < e->n_axes; i++)
        n_grid = e->axes[i].grid >= n_grid ? e->axes[i].grid + 1 : n_grid;
    build_enter(&e->b, e->kernel->grid);
    struct value *sizes[3];
    for (int g = 0; g < n_grid; g++) {
        sizes[g] = NULL;
        for (int i = 0; i < e->n_axes; i++) {
            if (e->axes[i].grid != g)
                continue;
            struct value *tiles = tiles_of(e, &e->axes[i]);
            sizes[g] = sizes[g] ? build_binary(&e->b, OP_MUL, sizes[g], tiles) : tiles;
        }
        if (!sizes[g])
            sizes[g] = build_index(&e->b, 1);
    }
    build_yield(&e->b, n_grid, sizes);
    build_enter(&e->b, e->kernel->body);
    for (int g = 0; g < n_grid; g++) {
        struct value *id = build_value(&e->b, OP_PROGRAM_ID, 0, NULL, 1, &(struct attr){ATTR_DIM, {.i = g}}, NULL);
        int left = 0;
        for (int i = 0; i < e->n_axes; i++)
            left += e->axes[i].grid == g;
        for (int i = e->n_axes - 1; i >= 0; i--) { // the last counts fastest
            struct emit_axis *x = &e->axes[i];
            if (x->grid != g)
                continue;
            struct value *mine = id;
            if (--left) {
                struct value *tiles = tiles_of(e, x);
                mine = build_binary(&e->b, OP_MOD, id, tiles);
                id = build_binary(&e->b, OP_FLOORDIV, id, tiles);
            }
            x->start = build_binary(&e->b, OP_MUL, mine, build_index(&e->b, x->tile));
        }
    }
    for (int i = 0; i < e->n_axes; i++)
        if (e->axes[i].grid < 0)
            e->axes[i].start = build_index(&e->b, 0);
}

// ---- Loads and stores ------------------------------------------------------------------------------------------

struct value *emit_view(struct emit *e, const struct access *a, int n, const int *axes)
{
    dim sizes[MAX_RANK], strides[MAX_RANK];
    for (int i = 0; i < n; i++) {
        bool has = axes[i] >= 0 && a->stride[axes[i]];
        dim bound = axes[i] >= 0 ? a->bound[axes[i]] : 0;
        sizes[i] = bound ? bound : has ? e->axes[axes[i]].size : 1;
        strides[i] = has ? a->stride[axes[i]] : 1;
    }
    return emit_param(e, a->storage, a->offset, n, sizes, strides);
}

// The order of the axes in which the elements of a tensor lie next to each other, where that is not the given one: the
// axis of stride 1 changes places with the last. False: the given order will do.
static bool memory_order(const struct access *a, int n, const int *axes, int *order)
{
    if (!n || a->stride[axes[n - 1]] == 1)
        return false;
    int inner = -1;
    for (int i = 0; i < n; i++)
        if (a->stride[axes[i]] == 1)
            inner = i;
    if (inner < 0 || !a->stride[axes[n - 1]])
        return false;
    for (int i = 0; i < n; i++)
        order[i] = i;
    order[inner] = n - 1;
    order[n - 1] = inner;
    return true;
}

static void starts(struct emit *e, const struct access *a, int n, const int *axes, struct value **index, dim *tile)
{
    for (int i = 0; i < n; i++) {
        bool has = a->stride[axes[i]];
        index[i] = has ? e->axes[axes[i]].start : build_index(&e->b, 0);
        tile[i] = has ? e->axes[axes[i]].tile : 1;
    }
}

static struct value *swap(struct emit *e, struct value *x, int n, const int *order)
{
    int64_t axes[MAX_RANK];
    for (int i = 0; i < n; i++)
        axes[i] = order[i];
    return build_value(&e->b, OP_TRANSPOSE, 1, &x, 1, &(struct attr){ATTR_AXES, {.ints = {n, axes}}}, NULL);
}

static struct value *load(struct emit *e, const struct access *a, int n, const int *axes)
{
    int order[MAX_RANK], own[MAX_RANK];
    bool swapped = memory_order(a, n, axes, order);
    for (int i = 0; i < n; i++)
        own[i] = axes[swapped ? order[i] : i];
    struct value *index[MAX_RANK];
    dim tile[MAX_RANK];
    struct value *view = emit_view(e, a, n, own);
    starts(e, a, n, own, index, tile);
    struct value *x = build_load(&e->b, view, index, type_tile(e->l->m, view->type->dtype, n, tile), NULL);
    return swapped ? swap(e, x, n, order) : x;
}

// 0 or 1, as the host finds out: the stride of elements side by side that may broadcast (tensor_view.c).
static bool unit_or_none(const struct emit *e, dim stride)
{
    int64_t lo, hi;
    dims_range(e->l->m, stride, &lo, &hi);
    return dim_is_symbol(stride) && lo >= 0 && hi <= 1;
}

// Vectors of elements side by side, and the one element, of which a select takes what the stride says: a stride that is
// not known would be a load for each element. Of what is not there neither reads more than the tensor has.
static struct value *load_stretched(struct emit *e, const struct access *a, int axis, int n, const int *axes)
{
    struct module *m = e->l->m;
    dim stride = a->stride[axis], size = e->axes[axis].size;
    struct access row = *a, one = *a;
    row.stride[axis] = 1;
    row.bound[axis] = dims_min(m, size, dims_add(m, dims_mul(m, stride, dims_sub(m, size, 1)), 1));
    one.stride[axis] = 0;
    one.bound[axis] = dims_min(m, size, 1);
    struct value *is_row = build_binary(&e->b, OP_EQ, emit_size(e, stride), build_index(&e->b, 1));
    return build_select(&e->b, is_row, load(e, &row, n, axes), load(e, &one, n, axes));
}

struct value *emit_load(struct emit *e, const struct access *a, int n, const int *axes)
{
    bool masks = e->l->target->vector_bytes > 16; // loads with a mask; SSE has none
    for (int i = n - 1; i >= 0 && masks; i--)
        if (unit_or_none(e, a->stride[axes[i]]) && e->axes[axes[i]].tile > 1)
            return load_stretched(e, a, axes[i], n, axes);
    return load(e, a, n, axes);
}

void emit_store(struct emit *e, struct value *x, const struct access *a, int n, const int *axes)
{
    int order[MAX_RANK], own[MAX_RANK];
    bool swapped = memory_order(a, n, axes, order);
    struct value *index[MAX_RANK];
    dim tile[MAX_RANK];
    starts(e, a, n, axes, index, tile);
    struct type *want = type_tile(e->l->m, x->type->dtype, n, tile);
    if (x->type != want)
        x = build_value(&e->b, OP_BROADCAST, 1, &x, 0, NULL, want);
    if (swapped)
        x = swap(e, x, n, order);
    for (int i = 0; i < n; i++)
        own[i] = axes[swapped ? order[i] : i];
    struct value *view = emit_view(e, a, n, own);
    starts(e, a, n, own, index, tile);
    build_store(&e->b, x, view, index);
}

// ---- Element-wise operations -----------------------------------------------------------------------------------

static struct value *immediate(struct emit *e, struct value *v)
{
    struct type *t = type_scalar(e->l->m, v->type->dtype);
    if (v->def->code == OP_SIZES)
        return build_cast(&e->b, t->dtype, emit_size(e, op_attr(v->def, ATTR_DIMS)->dims.v[0]));
    return build_value(&e->b, OP_CONSTANT, 0, NULL, 1, op_attr(v->def, ATTR_VALUE), t);
}

static struct value *tile_of_value(struct emit *e, struct value *v, int n, const int *axes,
                                   const struct accesses *accesses)
{
    if (e->tiles[v->id])
        return e->tiles[v->id];
    if (is_immediate(v))
        return immediate(e, v);
    if (v->type->kind != TYPE_TENSOR)
        return scalar_param(e, v);
    return e->tiles[v->id] = emit_load(e, accesses->of[v->id], n, axes);
}

static struct value *identity_of(struct emit *e, const struct value *x, enum opcode combine)
{
    struct type *s = type_scalar(e->l->m, x->type->dtype);
    union scalar identity = scalar_identity(combine, s->dtype);
    return dtype_is_float(s->dtype) ? build_float(&e->b, s, identity.f) : build_int(&e->b, s, identity.i);
}

// Elements beyond the axis's size become the combiner's identity.
static struct value *masked(struct emit *e, struct value *x, int i, int n, const int *axes, enum opcode combine)
{
    struct emit_axis *axis = &e->axes[axes[i]];
    dim dims[MAX_RANK];
    for (int d = 0; d < n; d++)
        dims[d] = d == i ? axis->tile : 1;
    struct type *t = type_tile(e->l->m, DTYPE_I64, n, dims);
    struct value *at = build_value(&e->b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = i}}, t);
    struct value *inside = build_binary(&e->b, OP_LT, at, build_cast(&e->b, DTYPE_I64, emit_size(e, axis->size)));
    return build_select(&e->b, inside, x, identity_of(e, x, combine));
}

static struct value *broadcast_to_axes(struct emit *e, struct value *x, int n, const int *axes)
{
    dim dims[MAX_RANK];
    for (int d = 0; d < n; d++)
        dims[d] = e->axes[axes[d]].tile;
    struct type *t = type_tile(e->l->m, x->type->dtype, n, dims);
    return x->type == t ? x : build_value(&e->b, OP_BROADCAST, 1, &x, 0, NULL, t);
}

// Whether the tile has positions beyond the axis: a tile is never empty.
static bool beyond(struct emit *e, const struct emit_axis *x)
{
    return !covered(e, x) || x->size == 0;
}

static struct value *reduce_axes(struct emit *e, const struct op *op, struct value *x, int n, const int64_t *axes,
                                 struct value *count)
{
    struct value *operands[2] = {x, count};
    struct attr attrs[2] = {{ATTR_COMBINE, {.opcode = op_attr(op, ATTR_COMBINE)->opcode}},
                            {ATTR_AXES, {.ints = {n, axes}}}};
    return build_value(&e->b, OP_REDUCE, count ? 2 : 1, operands, 2, attrs, NULL);
}

static struct value *reduce(struct emit *e, const struct op *op, struct value *x, int n, const int *axes)
{
    int64_t whole[MAX_RANK], partial[MAX_RANK];
    int n_whole = 0, n_partial = 0;
    for (int i = 0; i < n; i++) {
        if (e->axes[axes[i]].class != AXIS_REDUCED)
            continue;
        if (beyond(e, &e->axes[axes[i]]))
            partial[n_partial++] = i;
        else
            whole[n_whole++] = i;
    }
    if (!n_whole && !n_partial)
        return x;
    x = broadcast_to_axes(e, x, n, axes);
    if (n_whole)
        x = reduce_axes(e, op, x, n_whole, whole, NULL);
    for (int i = n_partial - 1; i >= 0; i--)
        x = reduce_axes(e, op, x, 1, &partial[i], emit_size(e, e->axes[axes[partial[i]]].size));
    return x;
}

static struct value *scan(struct emit *e, const struct op *op, struct value *x, int n, const int *axes)
{
    struct attr attrs[ATTR_COUNT];
    int axis = -1;
    for (int i = 0; i < n; i++)
        if (e->axes[axes[i]].alone && e->axes[axes[i]].dim == op_int(op, ATTR_AXIS, 0))
            axis = i;
    if (axis < 0) // of one element
        return op_attr(op, ATTR_EXCLUSIVE) ? identity_of(e, x, op_attr(op, ATTR_COMBINE)->opcode) : x;
    x = broadcast_to_axes(e, x, n, axes);
    if (!covered(e, &e->axes[axes[axis]]))
        x = masked(e, x, axis, n, axes, op_attr(op, ATTR_COMBINE)->opcode);
    for (int i = 0; i < op->n_attrs; i++) {
        attrs[i] = op->attrs[i];
        if (attrs[i].key == ATTR_AXIS)
            attrs[i].i = axis;
    }
    return build_value(&e->b, OP_SCAN, 1, &x, op->n_attrs, attrs, NULL);
}

static struct value *iota(struct emit *e, const struct op *op, int n, const int *axes)
{
    struct type *element = type_scalar(e->l->m, op->results[0]->type->dtype);
    for (int i = 0; i < n; i++) {
        struct emit_axis *x = &e->axes[axes[i]];
        if (!x->alone || x->dim != op_int(op, ATTR_AXIS, 0))
            continue;
        dim dims[MAX_RANK];
        for (int d = 0; d < n; d++)
            dims[d] = d == i ? x->tile : 1;
        struct type *t = type_tile(e->l->m, element->dtype, n, dims);
        struct value *at = build_value(&e->b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = i}}, t);
        return build_binary(&e->b, OP_ADD, at, build_cast(&e->b, element->dtype, x->start));
    }
    return build_int(&e->b, element, 0);
}

// The index along one axis of every element of a tile of the axes.
static struct value *along(struct emit *e, int i, int n, const int *axes)
{
    dim dims[MAX_RANK];
    for (int d = 0; d < n; d++)
        dims[d] = d == i ? e->axes[axes[d]].tile : 1;
    struct type *t = type_tile(e->l->m, DTYPE_I64, n, dims);
    struct value *at = build_value(&e->b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = i}}, t);
    return build_binary(&e->b, OP_ADD, at, build_cast(&e->b, DTYPE_I64, e->axes[axes[i]].start));
}

static struct value *look_up(struct emit *e, const struct lookup *k, int n, const int *axes)
{
    struct value *operands[MAX_RANK + 2];
    dim sizes[MAX_RANK + 1] = {k->size}, strides[MAX_RANK + 1] = {k->stride};
    int rank = 1;
    operands[1] = build_cast(&e->b, DTYPE_I64, emit_load(e, &k->indices, n, axes));
    for (int i = 0; i < n; i++) {
        if (!k->table.stride[axes[i]])
            continue;
        sizes[rank] = e->axes[axes[i]].size;
        strides[rank] = k->table.stride[axes[i]];
        operands[1 + rank++] = along(e, i, n, axes);
    }
    if (rank > MAX_RANK) {
        lower_graph_error(e->l, e->b.loc, "take: more than %d dimensions", MAX_RANK);
        return operands[1];
    }
    operands[0] = emit_param(e, k->table.storage, k->table.offset, rank, sizes, strides);
    return build_value(&e->b, OP_GATHER, rank + 1, operands, 0, NULL, NULL);
}

void emit_members(struct emit *e, const struct group *g, int first, int n, const int *axes,
                  const struct accesses *accesses)
{
    for (int i = first; i < g->n_ops && !e->l->failed; i++) {
        const struct op *op = g->ops[i];
        struct value *x[MAX_OPERANDS], *result;
        e->b.loc = op->loc;
        for (int o = 0; o < op->n_operands && op->code != OP_TAKE; o++)
            x[o] = tile_of_value(e, op->operands[o], n, axes, accesses);
        if (op->code == OP_TAKE)
            result = look_up(e, accesses->lookups[op->results[0]->id], n, axes);
        else if (op->code == OP_REDUCE)
            result = reduce(e, op, x[0], n, axes);
        else if (op->code == OP_SCAN)
            result = scan(e, op, x[0], n, axes);
        else if (op->code == OP_IOTA)
            result = iota(e, op, n, axes);
        else
            result = build_value(&e->b, op->code, op->n_operands, x, op->n_attrs, op->attrs, NULL);
        e->tiles[op->results[0]->id] = result;
    }
    for (int i = 0; i < g->n_ops && !e->l->failed; i++) {
        struct value *v = g->ops[i]->results[0];
        if (lower_graph_escapes(e->l, g, v))
            emit_store(e, e->tiles[v->id], accesses->of[v->id], n, axes);
    }
}

// ---- Launching -------------------------------------------------------------------------------------------------

// The kernel's text without its name, to find an equal one.
static const char *text_of(struct lowering *l, const struct function *k)
{
    struct module alone = *l->m;
    struct function copy = *k;
    copy.name = "k";
    copy.next = NULL;
    alone.first_function = alone.last_function = &copy;
    char *text;
    print_module(l->arena, &alone, &text);
    return text;
}

static struct function *unique(struct lowering *l, struct function *k)
{
    const char *text = text_of(l, k);
    for (struct kernel_text *t = l->texts; t; t = t->next) {
        if (strcmp(t->text, text))
            continue;
        struct function *before = l->m->first_function;
        while (before->next != k)
            before = before->next;
        before->next = k->next;
        if (l->m->last_function == k)
            l->m->last_function = before;
        return t->kernel;
    }
    struct kernel_text *t = ARENA_NEW(l->arena, struct kernel_text);
    *t = (struct kernel_text){text, k, l->texts};
    l->texts = t;
    l->n_kernels++;
    return k;
}

// The memory that a parameter begins at.
static struct value *argument(struct emit *e, const struct emit_param *p)
{
    struct lowering *l = e->l;
    struct builder *b = &l->b;
    struct storage *s = p->storage;
    if (p->scalar)
        return lower_graph_scalar(l, p->scalar);
    struct value *operands[2] = {lower_graph_memory(l, s), NULL};
    if (p->offset == 0)
        return operands[0];
    operands[1] = dims_build(b, p->offset);
    struct type *t = type_view(l->m, s->type->dtype, 1, (dim[]){DIM_UNKNOWN}, NULL);
    return build_value(b, OP_SUBVIEW, 2, operands, 0, NULL, t);
}

void emit_end(struct emit *e)
{
    struct lowering *l = e->l;
    l->failed |= e->b.failed;
    if (l->failed)
        return;
    struct function *k = unique(l, e->kernel);
    l->b.loc = e->kernel->loc;
    struct value *operands[MAX_OPERANDS];
    int n = e->kernel->n_params;
    for (int i = 0; i < n; i++)
        operands[i] = argument(e, &e->params[i]);
    for (int id = 0; id < e->kernel->n_symbols; id++) {
        if (!e->kernel->symbols[id])
            continue;
        int which = 0;
        while (strcmp(l->m->symbols[id], arena_printf(l->arena, "d%d", which)))
            which++;
        if (n == MAX_OPERANDS) {
            lower_graph_error(l, e->kernel->loc, "a kernel of more than %d arguments", MAX_OPERANDS);
            return;
        }
        operands[n++] = dims_build(&l->b, e->sizes[which]);
    }
    struct attr kernel = {ATTR_KERNEL, {.string = k->name}};
    build_op(&l->b, OP_LAUNCH, n, operands, 1, &kernel, 0, NULL);
    l->failed |= l->b.failed;
}
