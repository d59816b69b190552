#include "ir/ir.h"

#include <stdlib.h>
#include <string.h>

#include "ir/layout.h"
#include "ir/scalar.h"
#include "ir/table.h"
#include "runtime/memory.h"

const struct op_info op_info[OP_COUNT] = {
#define SCALAR(e, name, n, types, flags, identity, f, i)                                                               \
    [OP_##e] = {name, n, 1, 0, EFFECT_PURE, NULL, FUNCTIONS_KGH, SCALAR_TYPES_##types, flags, IDENTITY_##identity},
#define COMMUTES SCALAR_COMMUTES
#define ASSOCIATES SCALAR_ASSOCIATES
#include "ir/scalar.def"
#undef SCALAR
#undef COMMUTES
#undef ASSOCIATES
#define OP(e, name, operands, results, blocks, check, effect, format, functions)                                       \
    [OP_##e] = {name, operands, results, blocks, EFFECT_##effect, format, FUNCTIONS_##functions, 0, 0, 0},
#include "ir/ops.def"
#undef OP
};

const struct attr_info attr_info[ATTR_COUNT] = {
#define ATTR(e, name, kind) [ATTR_##e] = {name, ATTR_KIND_##kind},
#include "ir/attr.def"
#undef ATTR
};

enum opcode opcode_from_name(const char *name, size_t length)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (strlen(op_info[i].name) == length && !memcmp(op_info[i].name, name, length))
            return (enum opcode)i;
    return OP_NONE;
}

// ---- Modules and types -----------------------------------------------------------------------------------------

struct module *module_create(void)
{
    struct arena a;
    arena_init(&a);
    struct module *m = ARENA_NEW(&a, struct module);
    m->arena = a;
    return m;
}

struct owned {
    void *p;
    struct owned *next;
};

void module_own(struct module *m, void *p)
{
    struct owned *o = ARENA_NEW(&m->arena, struct owned);
    *o = (struct owned){p, m->owned};
    m->owned = o;
}

bool module_disown(struct module *m, void *p)
{
    for (struct owned **o = &m->owned; *o; o = &(*o)->next)
        if ((*o)->p == p) {
            *o = (*o)->next;
            return true;
        }
    return false;
}

void *module_bytes(struct module *m, size_t bytes)
{
    struct owned *o = ARENA_NEW(&m->arena, struct owned);
    o->p = memory_alloc(bytes);
    if (!o->p)
        arena_unwind();
    o->next = m->owned;
    m->owned = o;
    return o->p;
}

static void note_read(struct table *read, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        const struct attr *data = op_attr(op, ATTR_DATA);
        if (data && data->data.bytes)
            table_set(read, table_key(data->data.bytes), (void *)op);
        for (int i = 0; i < op->n_blocks; i++)
            note_read(read, op->blocks[i]);
    }
}

void module_free_unread(struct module *m)
{
    struct table read = {.arena = &m->arena};
    for (const struct function *f = m->first_function; f; f = f->next)
        note_read(&read, f->body);
    for (struct owned **o = &m->owned; *o;) {
        if (table_get(&read, table_key((*o)->p))) {
            o = &(*o)->next;
            continue;
        }
        memory_free((*o)->p);
        *o = (*o)->next;
    }
}

void module_free_constants(struct module *m)
{
    for (; m->owned; m->owned = m->owned->next)
        memory_free(m->owned->p);
}

void module_destroy(struct module *m)
{
    if (!m)
        return;
    module_free_constants(m);
    struct arena a = m->arena; // m lives in it
    arena_finish(&a);
}

static void release(void *module)
{
    module_destroy(module);
}

void module_hold(struct arena_hold *h, struct module *m)
{
    arena_hold(h, release, m);
}

int module_symbol(struct module *m, const char *name, size_t length)
{
    for (int i = 0; i < m->n_symbols; i++)
        if (strlen(m->symbols[i]) == length && !memcmp(m->symbols[i], name, length))
            return i;
    if (!(m->n_symbols & (m->n_symbols - 1))) { // full: room is for the next power of two
        const char **grown = ARENA_ARRAY(&m->arena, const char *, 2 * (size_t)m->n_symbols + 1);
        if (m->n_symbols)
            memcpy(grown, m->symbols, sizeof *grown * (size_t)m->n_symbols);
        m->symbols = grown;
    }
    m->symbols[m->n_symbols] = arena_strndup(&m->arena, name, length);
    return m->n_symbols++;
}

struct function *module_function(struct module *m, const char *name)
{
    for (struct function *k = m->first_function; k; k = k->next)
        if (!strcmp(k->name, name))
            return k;
    return NULL;
}

static struct type *intern(struct module *m, const struct type *t)
{
    uint64_t hash = (uint64_t)t->kind * 31 + (uint64_t)t->dtype * 7 + (uint64_t)t->lanes * 1009 + t->strided;
    for (int i = 0; i < t->rank; i++)
        hash = hash * 0x9E3779B97F4A7C15u + (uint64_t)t->dims[i] + (hash >> 29);
    struct type **slot = &m->types[hash >> 7 & 255];
    for (struct type *u = *slot; u; u = u->next) {
        size_t dims = sizeof(dim) * (size_t)t->rank;
        if (u->kind == t->kind && u->dtype == t->dtype && u->rank == t->rank && u->strided == t->strided &&
            u->lanes == t->lanes && u->vector_axis == t->vector_axis && u->linear == t->linear &&
            !memcmp(u->dims, t->dims, dims) && (!t->strided || !memcmp(u->strides, t->strides, dims)))
            return u;
    }
    struct type *u = arena_copy(&m->arena, t, sizeof *t);
    u->next = *slot;
    *slot = u;
    return u;
}

struct type *type_scalar(struct module *m, enum dtype t)
{
    return intern(m, &(struct type){.kind = TYPE_SCALAR, .dtype = t});
}

struct type *type_tile(struct module *m, enum dtype d, int rank, const dim *dims)
{
    struct type t = {.kind = TYPE_TILE, .dtype = d, .rank = rank};
    memcpy(t.dims, dims, sizeof(dim) * (size_t)rank);
    return intern(m, &t);
}

struct type *type_shaped(struct module *m, const struct type *tile, int lanes, int vector_axis)
{
    struct type t = *tile;
    t.lanes = lanes;
    t.vector_axis = lanes > 1 ? vector_axis : 0;
    t.linear = NULL;
    return intern(m, &t);
}

struct interned_layout {
    struct layout layout;
    struct interned_layout *next;
};

static const struct layout *intern_layout(struct module *m, const struct layout *l)
{
    struct interned_layout *i = m->layouts;
    while (i && !layout_equal(&i->layout, l))
        i = i->next;
    if (!i) {
        i = ARENA_NEW(&m->arena, struct interned_layout);
        i->layout = *l;
        i->next = m->layouts;
        m->layouts = i;
    }
    return &i->layout;
}

struct type *type_linear(struct module *m, const struct type *tile, const struct layout *l)
{
    if (!layout_valid(l) || l->out.rank != tile->rank)
        return NULL;
    for (int d = 0; d < LAYOUT_DIMS; d++)
        if (d < LAYOUT_DIM0 ? d == LAYOUT_OFFSET ? l->in.bits[d] || l->out.bits[d] : l->out.bits[d] : l->in.bits[d])
            return NULL;
    for (int d = 0; d < tile->rank; d++)
        if (layout_out_size(l, LAYOUT_DIM0 + d) != (uint64_t)tile->dims[d])
            return NULL;
    if (!layout_surjective(l))
        return NULL;
    struct type t = *tile;
    t.lanes = 1;
    t.vector_axis = 0;
    t.linear = intern_layout(m, l);
    return intern(m, &t);
}

struct type *type_tensor(struct module *m, enum dtype d, int rank, const dim *dims)
{
    struct type t = {.kind = TYPE_TENSOR, .dtype = d, .rank = rank};
    if (rank) // dims may be NULL then
        memcpy(t.dims, dims, sizeof(dim) * (size_t)rank);
    return intern(m, &t);
}

struct type *type_view(struct module *m, enum dtype d, int rank, const dim *dims, const dim *strides)
{
    struct type t = {.kind = TYPE_VIEW, .dtype = d, .rank = rank, .strided = strides != NULL};
    if (rank) // else dims may be NULL
        memcpy(t.dims, dims, sizeof(dim) * (size_t)rank);
    if (strides)
        memcpy(t.strides, strides, sizeof(dim) * (size_t)rank);
    return intern(m, &t);
}

struct type *type_with_dtype(struct module *m, const struct type *t, enum dtype d)
{
    struct type u = *t;
    u.dtype = d;
    return intern(m, &u);
}

// ---- Looking at operations -------------------------------------------------------------------------------------

const struct attr *op_attr(const struct op *op, enum attr_key key)
{
    for (int i = 0; i < op->n_attrs; i++)
        if (op->attrs[i].key == key)
            return &op->attrs[i];
    return NULL;
}

int64_t op_int(const struct op *op, enum attr_key key, int64_t otherwise)
{
    const struct attr *a = op_attr(op, key);
    return a ? a->i : otherwise;
}

struct ints op_ints(const struct op *op, enum attr_key key)
{
    const struct attr *a = op_attr(op, key);
    return a ? a->ints : (struct ints){0};
}

bool block_contains(const struct block *b, const struct op *op)
{
    for (const struct block *c = op->block; c; c = c->parent ? c->parent->block : NULL)
        if (c == b)
            return true;
    return false;
}

struct op *block_terminator(const struct block *b)
{
    if (b->last && (b->last->code == OP_YIELD || b->last->code == OP_CONDITION))
        return b->last;
    return NULL;
}

struct value *view_root(struct value *view)
{
    while (view->def && view->def->code == OP_WINDOW)
        view = view->def->operands[0];
    return view;
}

bool block_writes(const struct block *b, const struct value *root)
{
    for (const struct op *o = b->first; o; o = o->next) {
        if (op_info[o->code].effect == EFFECT_WRITE && view_root(o->operands[1]) == root)
            return true;
        for (int i = 0; i < o->n_blocks; i++)
            if (block_writes(o->blocks[i], root))
                return true;
    }
    return false;
}

// ---- Building --------------------------------------------------------------------------------------------------

static struct value *value_create(struct function *k, struct type *type, const char *name)
{
    struct value *v = ARENA_NEW(&k->module->arena, struct value);
    v->type = type;
    v->name = name;
    v->symbol = -1;
    v->id = k->n_values++;
    return v;
}

struct block *block_create(struct function *k, struct op *parent)
{
    struct block *b = ARENA_NEW(&k->module->arena, struct block);
    b->parent = parent;
    return b;
}

static void append_value(struct arena *a, struct value ***list, int *n, struct value *v)
{
    struct value **grown = ARENA_ARRAY(a, struct value *, *n + 1);
    if (*n)
        memcpy(grown, *list, sizeof *grown * (size_t)*n);
    grown[(*n)++] = v;
    *list = grown;
}

struct value *block_add_arg(struct function *k, struct block *b, const char *name, struct type *type)
{
    struct value *v = value_create(k, type, name);
    v->block = b;
    append_value(&k->module->arena, &b->args, &b->n_args, v);
    return v;
}

struct function *function_create(struct module *m, const char *name, struct loc loc)
{
    struct function *k = ARENA_NEW(&m->arena, struct function);
    k->module = m;
    k->name = arena_strdup(&m->arena, name);
    k->loc = loc;
    k->grid = block_create(k, NULL);
    k->body = block_create(k, NULL);
    if (m->last_function)
        m->last_function->next = k;
    else
        m->first_function = k;
    m->last_function = k;
    return k;
}

struct value *function_add_param(struct function *k, const char *name, struct type *type)
{
    struct value *v = value_create(k, type, name);
    append_value(&k->module->arena, &k->params, &k->n_params, v);
    return v;
}

struct value *function_symbol(struct function *k, int symbol)
{
    if (symbol >= k->n_symbols) {
        struct value **grown = ARENA_ARRAY(&k->module->arena, struct value *, symbol + 1);
        if (k->n_symbols)
            memcpy(grown, k->symbols, sizeof *grown * (size_t)k->n_symbols);
        k->symbols = grown;
        k->n_symbols = symbol + 1;
    }
    if (!k->symbols[symbol]) {
        struct value *v = value_create(k, type_scalar(k->module, DTYPE_INDEX), k->module->symbols[symbol]);
        v->symbol = symbol;
        k->symbols[symbol] = v;
    }
    return k->symbols[symbol];
}

struct attr *attr_copy(struct arena *a, int n, const struct attr *attrs)
{
    struct attr *copy = n ? arena_copy(a, attrs, sizeof *attrs * (size_t)n) : NULL;
    for (int i = 0; i < n; i++) {
        enum attr_kind kind = attr_info[copy[i].key].kind;
        if (kind == ATTR_KIND_INTS)
            copy[i].ints.v = arena_copy(a, copy[i].ints.v, sizeof(int64_t) * (size_t)copy[i].ints.n);
        else if (kind == ATTR_KIND_STRING)
            copy[i].string = arena_strdup(a, copy[i].string);
        else if (kind == ATTR_KIND_DIMS)
            copy[i].dims.v = arena_copy(a, copy[i].dims.v, sizeof(dim) * (size_t)copy[i].dims.n);
        else if (kind == ATTR_KIND_DATA && copy[i].data.name)
            copy[i].data.name = arena_strdup(a, copy[i].data.name);
        else if (kind == ATTR_KIND_AFFINE)
            copy[i].map = arena_copy(a, copy[i].map, sizeof *copy[i].map);
    }
    return copy;
}

static void insert(struct block *block, struct op *before, struct op *op)
{
    op->block = block;
    op->next = before;
    op->previous = before ? before->previous : block->last;
    *(op->previous ? &op->previous->next : &block->first) = op;
    *(before ? &before->previous : &block->last) = op;
}

void op_remove(struct op *op)
{
    *(op->previous ? &op->previous->next : &op->block->first) = op->next;
    *(op->next ? &op->next->previous : &op->block->last) = op->previous;
    op->block = NULL;
}

static void check_built(struct builder *b, struct op *op)
{
    struct module *m = b->function->module;
    struct type *types[MAX_OPERANDS] = {0};
    const char *fault = check_op(m, op, types);
    for (int i = 0; i < op->n_results; i++)
        if (!op->results[i]->type)
            op->results[i]->type = types[i] ? types[i] : type_scalar(m, DTYPE_INDEX);
    if (!fault)
        return;
    if (b->diags && !b->failed)
        diag_error(b->diags, op->loc, "%s: %s", op_info[op->code].name, fault);
    b->failed = true;
}

struct op *build_op(struct builder *b, enum opcode code, int n_operands, struct value *const *operands, int n_attrs,
                    const struct attr *attrs, int n_results, struct type *const *result_types)
{
    struct function *k = b->function;
    struct arena *a = &k->module->arena;
    struct op *op = ARENA_NEW(a, struct op);
    op->code = code;
    op->loc = b->loc;
    op->n_operands = n_operands;
    op->operands = arena_copy(a, operands, sizeof *operands * (size_t)n_operands);
    op->n_attrs = n_attrs;
    op->attrs = attr_copy(a, n_attrs, attrs);
    op->n_results = n_results;
    op->results = ARENA_ARRAY(a, struct value *, n_results);
    for (int i = 0; i < n_results; i++) {
        op->results[i] = value_create(k, result_types ? result_types[i] : NULL, NULL);
        op->results[i]->def = op;
    }
    op->n_blocks = op_info[code].n_blocks;
    op->blocks = ARENA_ARRAY(a, struct block *, op->n_blocks);
    for (int i = 0; i < op->n_blocks; i++)
        op->blocks[i] = block_create(k, op);
    insert(b->block, b->before, op);
    if (!op->n_blocks)
        check_built(b, op);
    return op;
}

void build_finish(struct builder *b, struct op *op)
{
    check_built(b, op);
}

struct value *build_value(struct builder *b, enum opcode code, int n_operands, struct value *const *operands,
                          int n_attrs, const struct attr *attrs, struct type *result_type)
{
    return build_op(b, code, n_operands, operands, n_attrs, attrs, 1, &result_type)->results[0];
}

struct value *build_unary(struct builder *b, enum opcode code, struct value *x)
{
    return build_value(b, code, 1, &x, 0, NULL, NULL);
}

struct value *build_binary(struct builder *b, enum opcode code, struct value *x, struct value *y)
{
    return build_value(b, code, 2, (struct value *[]){x, y}, 0, NULL, NULL);
}

struct value *build_select(struct builder *b, struct value *c, struct value *x, struct value *y)
{
    return build_value(b, OP_SELECT, 3, (struct value *[]){c, x, y}, 0, NULL, NULL);
}

struct value *build_int(struct builder *b, struct type *type, int64_t x)
{
    struct attr value = {ATTR_VALUE, {.number = {.i = x, .f = (double)x}}};
    return build_value(b, OP_CONSTANT, 0, NULL, 1, &value, type);
}

struct value *build_float(struct builder *b, struct type *type, double x)
{
    struct attr value = {ATTR_VALUE, {.number = {.is_float = true, .f = x}}};
    return build_value(b, OP_CONSTANT, 0, NULL, 1, &value, type);
}

struct value *build_identity(struct builder *b, enum opcode combine, struct type *type)
{
    union scalar x = scalar_identity(combine, type->dtype);
    return dtype_is_float(type->dtype) ? build_float(b, type, x.f) : build_int(b, type, x.i);
}

struct value *build_index(struct builder *b, int64_t x)
{
    return build_int(b, type_scalar(b->function->module, DTYPE_INDEX), x);
}

struct value *build_cast(struct builder *b, enum dtype to, struct value *x)
{
    return build_value(b, OP_CAST, 1, &x, 1, &(struct attr){ATTR_TO, {.dtype = to}}, NULL);
}

struct value *build_load(struct builder *b, struct value *view, struct value *const *indices, struct type *tile,
                         const struct attr *pad)
{
    struct value *operands[MAX_RANK + 1] = {view};
    if (view->type->rank) // else indices may be NULL
        memcpy(operands + 1, indices, sizeof *indices * (size_t)view->type->rank);
    return build_value(b, OP_LOAD, view->type->rank + 1, operands, pad != NULL, pad, tile);
}

void build_store(struct builder *b, struct value *x, struct value *view, struct value *const *indices)
{
    struct value *operands[MAX_RANK + 2] = {x, view};
    if (view->type->rank)
        memcpy(operands + 2, indices, sizeof *indices * (size_t)view->type->rank);
    build_op(b, OP_STORE, view->type->rank + 2, operands, 0, NULL, 0, NULL);
}

struct op *build_for(struct builder *b, struct value *lo, struct value *hi, struct value *step, int n_carried,
                     struct value *const *initial)
{
    struct value *operands[MAX_OPERANDS] = {lo, hi, step};
    struct type *types[MAX_OPERANDS] = {0};
    for (int i = 0; i < n_carried; i++) {
        operands[3 + i] = initial[i];
        types[i] = initial[i]->type;
    }
    struct op *op = build_op(b, OP_FOR, 3 + n_carried, operands, 0, NULL, n_carried, types);
    block_add_arg(b->function, op->blocks[0], NULL, lo->type);
    for (int i = 0; i < n_carried; i++)
        block_add_arg(b->function, op->blocks[0], NULL, types[i]);
    build_enter(b, op->blocks[0]);
    return op;
}

struct op *build_if(struct builder *b, struct value *condition, int n_results, struct type *const *types)
{
    struct op *op = build_op(b, OP_IF, 1, &condition, 0, NULL, n_results, types);
    build_enter(b, op->blocks[0]);
    return op;
}

void build_enter(struct builder *b, struct block *block)
{
    b->block = block;
    b->before = NULL;
}

void build_yield(struct builder *b, int n, struct value *const *values)
{
    build_op(b, OP_YIELD, n, values, 0, NULL, 0, NULL);
}

void build_end(struct builder *b, struct op *op)
{
    b->block = op->block;
    b->before = op->next;
    build_finish(b, op);
}
