// One kernel of a group: axes, parameters, grid, loads and stores.
//
// A kernel walks axes: the dimensions of its group's space, with those merged that all its tensors walk as one. Sizes
// that are not constant are symbols d0, d1 .. of the kernel; the host computes them. So kernels that differ only in
// where their sizes come from are equal, and are compiled once.
#include <stdio.h>
#include <string.h>

#include "ir/dims.h"
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

struct value *emit_whole(struct emit *e, struct storage *s, int n, const dim *sizes)
{
    dim strides[MAX_RANK], stride = 1;
    for (int d = n - 1; d >= 0; d--) {
        strides[d] = stride;
        stride = dims_mul(e->l->m, stride, sizes[d]);
    }
    return emit_param(e, s, 0, n, sizes, strides);
}

struct value *emit_scalar(struct emit *e, struct value *v)
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
    *e = (struct emit){.l = l, .n_ops = g->n_ops, .ops = g->ops};
    struct loc loc = g->n_ops ? g->ops[0]->loc : l->graph->loc;
    const char *ops = "";
    for (int i = 0; i < g->n_ops && strlen(ops) < 38; i++)
        ops = arena_printf(l->arena, "%s_%s", ops, op_info[g->ops[i]->code].name);
    e->kernel = function_create(l->m, "", loc);
    emit_name(e, ops);
    e->b = (struct builder){.function = e->kernel, .block = e->kernel->body, .loc = loc, .diags = l->diags};
    e->tiles.arena = l->arena;
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

bool emit_walk(struct emit *e, const struct tensor_space *s, const struct place *p, const int *dims, const int *axis_of,
               struct access *out)
{
    dim strides[SPACE_PARTS];
    *out = (struct access){.storage = p->storage, .offset = p->view.offset};
    if (!tensor_space_strides(e->l->m, s, &p->view, dims, strides))
        return false;
    for (int i = 0; i < s->first[s->rank]; i++)
        if (axis_of[i] >= 0)
            out->stride[axis_of[i]] = strides[i];
    return true;
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

bool emit_covers(const struct emit *e, const struct emit_axis *x)
{
    int64_t size;
    return dims_to_int(e->l->m, x->size, &size) && size <= x->tile;
}

void emit_spread(struct emit *e, int n, const int *axes, int first)
{
    for (int i = n - 1; i >= 0; i--) {
        struct emit_axis *x = &e->axes[axes[i]];
        if (x->class == AXIS_PARALLEL && !emit_covers(e, x)) // a row that is reduced is one tile
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

struct value *emit_positions(struct emit *e, enum dtype t, int i, int n, const int *axes)
{
    dim dims[MAX_RANK];
    for (int d = 0; d < n; d++)
        dims[d] = d == i ? e->axes[axes[d]].tile : 1;
    struct type *tile = type_tile(e->l->m, t, n, dims);
    struct value *at = build_value(&e->b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = i}}, tile);
    return build_binary(&e->b, OP_ADD, at, build_cast(&e->b, t, e->axes[axes[i]].start));
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

struct kernel_text {
    const char *text;
    struct function *kernel;
    struct kernel_text *next;
};

static struct function *unique(struct lowering *l, struct function *k)
{
    const char *text = text_of(l, k);
    uint64_t hash = table_hash(0, text, strlen(text));
    struct kernel_text *equal = table_get(&l->texts, hash);
    for (struct kernel_text *t = equal; t; t = t->next) {
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
    *t = (struct kernel_text){text, k, equal};
    table_set(&l->texts, hash, t);
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
    build_op(&l->b, OP_LAUNCH, n, operands, 1, &kernel, 0, NULL)->loc.origin = emit_origin(e);
    l->failed |= l->b.failed;
}
