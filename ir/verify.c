// Whether a module obeys the rules of the IR. Two walks over every function:
//   1. structure (verify_structure.c): links between operations, blocks and values agree, counts and attributes are in
//      range, types are sound. Where this fails the function is not looked at further, since nothing can be relied on.
//   2. meaning: the signature, grid and outputs (verify_function.c), and here each operation by its own rules
//   (check.c),
//      dominance, terminators, views, shaping, and what belongs into each kind of function.
#include <string.h>

#include "ir/dims.h"
#include "ir/verify_internal.h"

const struct function_rules verify_rules[] = {
    [FUNCTION_KERNEL] = {"kernel", 1 << TYPE_SCALAR | 1 << TYPE_TILE | 1 << TYPE_VIEW,
                         1 << TYPE_SCALAR | 1 << TYPE_VIEW, "parameters, windows on them, and scratch"},
    [FUNCTION_GRAPH] = {"graph", 1 << TYPE_SCALAR | 1 << TYPE_TENSOR, 1 << TYPE_TENSOR, ""},
    [FUNCTION_HOST] = {"host", 1 << TYPE_SCALAR | 1 << TYPE_VIEW, 1 << TYPE_VIEW,
                       "parameters, constants, buffers, and subviews of these"},
};
const char *const verify_type_words[] = {"a scalar", "a tile", "a view", "a tensor"};

const char *verify_word(const struct function *k)
{
    return verify_rules[k->kind].word;
}

const char *verify_name(struct verifier *v, const struct value *x)
{
    if (x->symbol >= 0 && x->symbol < v->m->n_symbols)
        return v->m->symbols[x->symbol];
    return x->name ? arena_printf(&v->m->arena, "%%%s", x->name) : arena_printf(&v->m->arena, "%%%d", x->id);
}

const char *verify_type_text(struct verifier *v, const struct type *t)
{
    return type_string(&v->m->arena, v->m, t);
}

static bool is_terminator(const struct op *op)
{
    return op->code == OP_YIELD || op->code == OP_CONDITION;
}

static bool is_view(const struct value *x)
{
    return x->type->kind == TYPE_VIEW;
}

// A size that a type or an attribute names must be one that the caller gives.
struct size_use {
    struct verifier *v;
    struct loc loc;
};

static void use_size(void *data, int id)
{
    const struct size_use *use = data;
    struct verifier *v = use->v;
    if (v->sizes[id] || v->reported[id])
        return;
    v->reported[id] = true;
    ERROR(v, use->loc, "the size %s is not one of a parameter of %s @%s", v->m->symbols[id], verify_word(v->k),
          v->k->name);
}

void verify_sizes(struct verifier *v, int n, const dim *dims, struct loc loc)
{
    struct size_use use = {v, loc};
    for (int i = 0; i < n && v->k->kind != FUNCTION_KERNEL; i++)
        dims_symbols(v->m, dims[i], use_size, &use);
}

static void use_type_sizes(struct verifier *v, const struct type *t, struct loc loc)
{
    verify_sizes(v, t->rank, t->dims, loc);
    if (t->strided)
        verify_sizes(v, t->rank, t->strides, loc);
}

void verify_define(struct verifier *v, struct value *x, struct loc loc)
{
    v->visible[x->id] = x;
    use_type_sizes(v, x->type, loc);
    if (!(verify_rules[v->k->kind].types >> x->type->kind & 1))
        ERROR(v, loc, "%s is %s, %s; a %s has none", verify_name(v, x), verify_type_words[x->type->kind],
              verify_type_text(v, x->type), verify_word(v->k));
    if (x->type->kind != TYPE_TILE)
        return;
    const struct value **first = x->type->lanes ? &v->shaped : &v->unshaped;
    if (!*first)
        *first = x;
    if (v->shaped && v->unshaped && !v->shaping_reported) {
        v->shaping_reported = true;
        ERROR(v, loc, "%s is %s, but %s is %s; either all tiles of a kernel have a layout or none has",
              verify_name(v, x), verify_type_text(v, x->type), verify_name(v, x == v->shaped ? v->unshaped : v->shaped),
              verify_type_text(v, (x == v->shaped ? v->unshaped : v->shaped)->type));
    }
}

// Where a value is defined, in words.
static const char *place_of(struct verifier *v, const struct value *x)
{
    int line = x->def ? x->def->loc.line : 0;
    return line ? arena_printf(&v->m->arena, " (line %d)", line) : "";
}

static void check_uses(struct verifier *v, const struct op *op)
{
    for (int i = 0; i < op->n_operands; i++) {
        const struct value *x = op->operands[i];
        bool ours = x->id >= 0 && x->id < v->k->n_values && v->owned[x->id] == x;
        const char *name = op_info[op->code].name;
        if (!ours)
            ERROR(v, op->loc, "%s: operand %s is not a value of %s @%s", name, verify_name(v, x), verify_word(v->k),
                  v->k->name);
        else if (v->visible[x->id] == x)
            continue;
        else if (x->def && x->def->block == op->block)
            ERROR(v, op->loc, "%s: %s is used before it is defined%s; move its definition up", name, verify_name(v, x),
                  place_of(v, x));
        else
            ERROR(v, op->loc, "%s: %s is defined in a block%s that does not enclose this use; yield it from there",
                  name, verify_name(v, x), place_of(v, x));
    }
}

static bool makes_view(enum opcode code)
{
    return code == OP_WINDOW || code == OP_SCRATCH || code == OP_DATA || code == OP_BUFFER || code == OP_SUBVIEW;
}

// Views lead back to memory of a known owner.
static void check_views(struct verifier *v, const struct op *op)
{
    if (v->k->kind == FUNCTION_GRAPH)
        return; // has none at all
    for (int i = 0; i < op->n_results; i++)
        if (is_view(op->results[i]) && !makes_view(op->code))
            ERROR(v, op->loc, "%s: %s is a view; views are %s", op_info[op->code].name, verify_name(v, op->results[i]),
                  verify_rules[v->k->kind].views);
    for (int i = 0; i < op->n_blocks; i++)
        for (int j = 0; j < op->blocks[i]->n_args; j++)
            if (is_view(op->blocks[i]->args[j]))
                ERROR(v, op->loc, "%s: block argument %s is a view; use the view of the enclosing block",
                      op_info[op->code].name, verify_name(v, op->blocks[i]->args[j]));
    if (op->code == OP_DIM && op->n_operands && op->operands[0]->def && op->operands[0]->def->code == OP_WINDOW)
        ERROR(v, op->loc, "dim: %s is a window, which has no sizes of its own; ask the view it was made from",
              verify_name(v, op->operands[0]));
}

static void check_blocks(struct verifier *v, const struct op *op)
{
    if (op->code == OP_IF)
        for (int i = 0; i < op->n_blocks; i++)
            if (op->blocks[i]->n_args)
                ERROR(v, op->loc, "if: its blocks take no arguments");
    if (op->code == OP_FOR && op->blocks[0]->n_args) {
        const struct value *iv = op->blocks[0]->args[0];
        if (iv->type->kind != TYPE_SCALAR || iv->type->dtype != DTYPE_INDEX)
            ERROR(v, op->loc, "for: the induction variable %s is %s; it must be index", verify_name(v, iv),
                  verify_type_text(v, iv->type));
    }
    if (is_terminator(op)) {
        if (op->next)
            ERROR(v, op->loc, "%s: stands in the middle of a block; it must be the last operation",
                  op_info[op->code].name);
        bool in_body = !op->block->parent && op->block == v->k->body;
        if (in_body && v->k->kind != FUNCTION_GRAPH && (op->code != OP_YIELD || op->n_operands))
            ERROR(v, op->loc, "%s: the body of a %s hands over no values; store them", op_info[op->code].name,
                  verify_word(v->k));
    }
}

static void check_grid_op(struct verifier *v, const struct op *op)
{
    const char *name = op_info[op->code].name;
    bool scalar = true;
    for (int i = 0; i < op->n_results; i++)
        scalar &= op->results[i]->type->kind == TYPE_SCALAR;
    switch (op->code) {
    case OP_YIELD:
    case OP_CONSTANT:
    case OP_CAST:
    case OP_BITCAST:
    case OP_ASSUME:
        break;
    default:
        if (!opcode_is_scalar(op->code)) {
            ERROR(v, op->loc,
                  "%s: not allowed in %s; its sizes are scalar arithmetic on symbols, scalar "
                  "parameters and constants",
                  name, v->k->kind == FUNCTION_HOST ? "an arena" : "a grid");
            return;
        }
    }
    if (!scalar)
        ERROR(v, op->loc, "%s: the %s computes with scalars, not tiles", name,
              v->k->kind == FUNCTION_HOST ? "arena" : "grid");
}

static void check_block(struct verifier *v, struct block *b, bool in_grid);

// Whether the operation belongs into this kind of function, and the sizes it speaks of.
static void check_place(struct verifier *v, const struct op *op)
{
    const struct op_info *info = &op_info[op->code];
    if (!(info->functions >> v->k->kind & 1)) {
        const char *where = "";
        for (int kind = 0; kind <= FUNCTION_HOST; kind++)
            if (info->functions >> kind & 1)
                where = arena_printf(&v->m->arena, "%s%s%ss", where, *where ? " and " : "", verify_rules[kind].word);
        ERROR(v, op->loc, "%s: not an operation of a %s; it stands in %s", info->name, verify_word(v->k), where);
    }
    for (int i = 0; i < op->n_attrs; i++)
        if (attr_info[op->attrs[i].key].kind == ATTR_KIND_DIMS)
            verify_sizes(v, op->attrs[i].dims.n, op->attrs[i].dims.v, op->loc);
    if (op->code == OP_BUFFER && op->n_operands && !v->k->grid->first)
        ERROR(v, op->loc, "buffer: has an offset, but host @%s does not say how large its arena is", v->k->name);
}

static void check_one(struct verifier *v, struct op *op, bool in_grid)
{
    check_uses(v, op);
    check_place(v, op);
    struct type *types[MAX_OPERANDS] = {0};
    const char *fault = check_op(v->m, op, types);
    if (fault) {
        const char *of = op->n_results ? arena_printf(&v->m->arena, " (%s)", verify_name(v, op->results[0])) : "";
        ERROR(v, op->loc, "%s: %s%s", op_info[op->code].name, fault, of);
    }
    check_views(v, op);
    check_blocks(v, op);
    if (in_grid)
        check_grid_op(v, op);
    if (op->code == OP_PROGRAM_ID || op->code == OP_NUM_PROGRAMS) {
        int64_t d = op_int(op, ATTR_DIM, 0);
        if (v->n_grid && d >= v->n_grid)
            ERROR(v, op->loc, "%s: there is no dimension %lld; the grid of @%s has %d", op_info[op->code].name,
                  (long long)d, v->k->name, v->n_grid);
    }
    for (int i = 0; i < op->n_blocks; i++)
        check_block(v, op->blocks[i], in_grid);
    for (int i = 0; i < op->n_results; i++)
        verify_define(v, op->results[i], op->loc);
}

static void check_block(struct verifier *v, struct block *b, bool in_grid)
{
    struct loc loc = b->parent ? b->parent->loc : v->k->loc;
    for (int i = 0; i < b->n_args; i++)
        verify_define(v, b->args[i], loc);
    for (struct op *op = b->first; op; op = op->next)
        check_one(v, op, in_grid);
    // Nothing outside sees what the block defines.
    for (int i = 0; i < b->n_args; i++)
        v->visible[b->args[i]->id] = NULL;
    for (struct op *op = b->first; op; op = op->next)
        for (int i = 0; i < op->n_results; i++)
            v->visible[op->results[i]->id] = NULL;
}

static void release(void *scratch)
{
    arena_finish(scratch);
}

void verify_function(struct function *k, struct diags *diags)
{
    struct module *m = k->module;
    struct arena scratch;
    struct arena_hold hold;
    arena_init(&scratch);
    arena_hold(&hold, release, &scratch);
    struct verifier v = {.m = m, .k = k, .diags = diags};
    v.owned = ARENA_ARRAY(&scratch, struct value *, k->n_values);
    v.visible = ARENA_ARRAY(&scratch, struct value *, k->n_values);
    v.sizes = ARENA_ARRAY(&scratch, bool, m->n_symbols);
    v.reported = ARENA_ARRAY(&scratch, bool, m->n_symbols);
    if (verify_structure(&v)) {
        verify_signature(&v);
        check_block(&v, k->grid, true);
        check_block(&v, k->body, false);
    }
    arena_let_go(&hold);
    arena_finish(&scratch);
}

bool verify_module(struct module *m, struct diags *diags)
{
    int before = diags->n_errors;
    for (struct function *k = m->first_function; k; k = k->next)
        verify_function(k, diags);
    return diags->n_errors == before;
}
