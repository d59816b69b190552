// Whether a module obeys the rules of the IR. Two walks over every kernel:
//   1. structure: links between operations, blocks and values agree, counts and attributes are in range, types are
//      sound. Where this fails the kernel is not looked at further, since nothing can be relied on.
//   2. meaning: each operation by its own rules (check.c), dominance, terminators, views, the grid, shaping.
#include <string.h>

#include "ir/ir.h"

#define MOST_NESTING 200                      // of blocks; passes recurse over them
#define MOST_TILE_ELEMENTS ((int64_t)1 << 31) // arithmetic on sizes of tiles cannot overflow

struct verifier {
    struct module *m;
    struct function *k;
    struct diags *diags;
    struct value **owned;                  // by id: the kernel's values
    struct value **visible;                // by id: the values that dominate the place the walk has reached
    int n_grid;                            // dimensions of the grid, 0 if unknown
    const struct value *shaped, *unshaped; // the first tile of either kind
    bool shaping_reported;
};

#define ERROR(v, loc, ...) diag_error((v)->diags, loc, __VA_ARGS__)

static const char *name_of(struct verifier *v, const struct value *x)
{
    if (x->symbol >= 0 && x->symbol < v->m->n_symbols)
        return v->m->symbols[x->symbol];
    return x->name ? arena_printf(&v->m->arena, "%%%s", x->name) : arena_printf(&v->m->arena, "%%%d", x->id);
}

static const char *type_text(struct verifier *v, const struct type *t)
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

// ---- Structure -------------------------------------------------------------------------------------------------

static bool dtype_is_valid(int t)
{
    return t >= 0 && t < DTYPE_COUNT;
}

static const char *dim_fault(const struct verifier *v, const dim *dims, int rank)
{
    for (int i = 0; i < rank; i++)
        if (dim_is_symbol(dims[i]) && dim_symbol_id(dims[i]) >= v->m->n_symbols)
            return "a size or stride is a symbol that the module does not have";
    return NULL;
}

// NULL, or what is wrong with a type.
static const char *type_fault(const struct verifier *v, const struct type *t)
{
    if (!t)
        return "has no type";
    if (!dtype_is_valid((int)t->dtype))
        return "has an unknown element type";
    if (t->rank < 0 || t->rank > MAX_RANK)
        return "has too many dimensions";
    switch (t->kind) {
    case TYPE_SCALAR:
        return t->rank || t->lanes ? "is a scalar with dimensions or a layout" : NULL;
    case TYPE_VIEW: {
        const char *fault = dim_fault(v, t->dims, t->rank);
        return fault || !t->strided ? fault : dim_fault(v, t->strides, t->rank);
    }
    case TYPE_TENSOR:
        for (int i = 0; i < t->rank; i++)
            if (t->dims[i] == DIM_UNKNOWN)
                return "is a tensor of unknown size; give it a name";
        return t->lanes || t->strided ? "is a tensor with a layout" : dim_fault(v, t->dims, t->rank);
    case TYPE_TILE: {
        int64_t elements = 1;
        for (int i = 0; i < t->rank; i++) {
            if (t->dims[i] < 1)
                return "is a tile with a size that is not a constant of at least 1";
            if (t->dims[i] > MOST_TILE_ELEMENTS / elements)
                return "is a tile of more than 2^31 elements; use smaller tiles and a loop";
            elements *= t->dims[i];
        }
        if (t->lanes < 0 || (t->lanes > 1 && (t->vector_axis < 0 || t->vector_axis >= t->rank)))
            return "is a tile with a layout that does not exist";
        return NULL;
    }
    }
    return "has an unknown kind of type";
}

// Registers a value where it is defined.
static bool own(struct verifier *v, struct value *x, struct loc loc)
{
    if (!x || x->id < 0 || x->id >= v->k->n_values || v->owned[x->id]) {
        ERROR(v, loc, "%s is defined twice in kernel @%s", x ? name_of(v, x) : "a missing value", v->k->name);
        return false;
    }
    v->owned[x->id] = x;
    const char *fault = type_fault(v, x->type);
    if (fault)
        ERROR(v, loc, "%s %s", name_of(v, x), fault);
    return !fault;
}

static const char *attr_fault(const struct attr *a)
{
    if ((int)a->key < 0 || a->key >= ATTR_COUNT)
        return "unknown";
    switch (attr_info[a->key].kind) {
    case ATTR_KIND_INTS:
        return a->ints.n < 0 || (a->ints.n > 0 && !a->ints.v) ? "not a list" : NULL;
    case ATTR_KIND_STRING:
        return a->string ? NULL : "missing";
    case ATTR_KIND_OPCODE:
        return (int)a->opcode >= 0 && a->opcode < OP_COUNT ? NULL : "not an operation";
    case ATTR_KIND_DTYPE:
        return dtype_is_valid((int)a->dtype) ? NULL : "not an element type";
    case ATTR_KIND_AFFINE:
        return a->map && a->map->n_in >= 0 && a->map->n_in <= MAX_RANK && a->map->n_out >= 0 &&
                       a->map->n_out <= MAX_RANK
                   ? NULL
                   : "not an affine map";
    default:
        return NULL;
    }
}

static bool structure_of_block(struct verifier *v, struct block *b, struct op *parent, int depth);

static bool structure_of_op(struct verifier *v, struct op *op, int depth)
{
    if ((int)op->code < 0 || op->code >= OP_COUNT) {
        ERROR(v, op->loc, "unknown operation %d", (int)op->code);
        return false;
    }
    const struct op_info *info = &op_info[op->code];
    if (op->n_operands < 0 || op->n_operands > MAX_OPERANDS || op->n_results < 0 || op->n_results > MAX_OPERANDS) {
        ERROR(v, op->loc, "%s: has %d operands and %d results; %d is the most", info->name, op->n_operands,
              op->n_results, MAX_OPERANDS);
        return false;
    }
    if (op->n_blocks != info->n_blocks) {
        ERROR(v, op->loc, "%s: has %d blocks, not %d", info->name, op->n_blocks, info->n_blocks);
        return false;
    }
    bool ok = true;
    for (int i = 0; i < op->n_attrs; i++) {
        const char *fault = attr_fault(&op->attrs[i]);
        if (fault) {
            ERROR(v, op->loc, "%s: attribute %d is %s", info->name, i + 1, fault);
            ok = false;
        }
    }
    for (int i = 0; i < op->n_operands; i++) {
        if (!op->operands[i]) {
            ERROR(v, op->loc, "%s: operand %d is missing", info->name, i + 1);
            ok = false;
        } else if (type_fault(v, op->operands[i]->type)) { // may belong to another kernel
            ERROR(v, op->loc, "%s: operand %d, %s, %s", info->name, i + 1, name_of(v, op->operands[i]),
                  type_fault(v, op->operands[i]->type));
            ok = false;
        }
    }
    for (int i = 0; i < op->n_blocks; i++)
        ok &= structure_of_block(v, op->blocks[i], op, depth + 1);
    for (int i = 0; i < op->n_results; i++) {
        struct value *x = op->results[i];
        ok &= own(v, x, op->loc);
        if (x && (x->def != op || x->block || x->symbol >= 0)) {
            ERROR(v, op->loc, "%s: result %s names another definition", info->name, name_of(v, x));
            ok = false;
        }
    }
    return ok;
}

static bool structure_of_block(struct verifier *v, struct block *b, struct op *parent, int depth)
{
    struct loc loc = parent ? parent->loc : v->k->loc;
    if (!b || b->parent != parent) {
        ERROR(v, loc, "a block is not linked to the operation that holds it");
        return false;
    }
    if (depth > MOST_NESTING) {
        ERROR(v, loc, "blocks are nested more than %d deep", MOST_NESTING);
        return false;
    }
    bool ok = true;
    for (int i = 0; i < b->n_args; i++) {
        struct value *x = b->args[i];
        ok &= own(v, x, loc);
        if (x && (x->block != b || x->def || x->symbol >= 0)) {
            ERROR(v, loc, "block argument %s names another definition", name_of(v, x));
            ok = false;
        }
    }
    struct op *previous = NULL;
    for (struct op *op = b->first; op; previous = op, op = op->next) {
        if (op->block != b || op->previous != previous) {
            ERROR(v, op->loc, "an operation is not linked to its block and its neighbours");
            return false;
        }
        ok &= structure_of_op(v, op, depth);
    }
    if (b->last != previous) {
        ERROR(v, loc, "a block's last operation is not the end of its list");
        return false;
    }
    return ok;
}

static bool structure_of_kernel(struct verifier *v)
{
    struct function *k = v->k;
    bool ok = true;
    for (int i = 0; i < k->n_params; i++)
        ok &= own(v, k->params[i], k->loc);
    for (int i = 0; i < k->n_symbols; i++) {
        if (!k->symbols[i])
            continue;
        ok &= own(v, k->symbols[i], k->loc);
        if (k->symbols[i]->symbol != i || i >= v->m->n_symbols) {
            ERROR(v, k->loc, "symbol %d of kernel @%s names another symbol", i, k->name);
            ok = false;
        }
    }
    ok &= structure_of_block(v, k->grid, NULL, 0);
    ok &= structure_of_block(v, k->body, NULL, 0);
    return ok;
}

// ---- Meaning ---------------------------------------------------------------------------------------------------

static void define(struct verifier *v, struct value *x, struct loc loc)
{
    v->visible[x->id] = x;
    if (x->type->kind != TYPE_TILE)
        return;
    const struct value **first = x->type->lanes ? &v->shaped : &v->unshaped;
    if (!*first)
        *first = x;
    if (v->shaped && v->unshaped && !v->shaping_reported) {
        v->shaping_reported = true;
        ERROR(v, loc, "%s is %s, but %s is %s; either all tiles of a kernel have a layout or none has", name_of(v, x),
              type_text(v, x->type), name_of(v, x == v->shaped ? v->unshaped : v->shaped),
              type_text(v, (x == v->shaped ? v->unshaped : v->shaped)->type));
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
            ERROR(v, op->loc, "%s: operand %s is not a value of kernel @%s", name, name_of(v, x), v->k->name);
        else if (v->visible[x->id] == x)
            continue;
        else if (x->def && x->def->block == op->block)
            ERROR(v, op->loc, "%s: %s is used before it is defined%s; move its definition up", name, name_of(v, x),
                  place_of(v, x));
        else
            ERROR(v, op->loc, "%s: %s is defined in a block%s that does not enclose this use; yield it from there",
                  name, name_of(v, x), place_of(v, x));
    }
}

// Views lead back to memory of a known owner.
static void check_views(struct verifier *v, const struct op *op)
{
    for (int i = 0; i < op->n_results; i++)
        if (is_view(op->results[i]) && op->code != OP_WINDOW && op->code != OP_SCRATCH &&
            !(v->k->kind == FUNCTION_HOST && (op->code == OP_DATA || op->code == OP_BUFFER || op->code == OP_SUBVIEW)))
            ERROR(v, op->loc, "%s: %s is a view; views are parameters, windows on them, and scratch",
                  op_info[op->code].name, name_of(v, op->results[i]));
    for (int i = 0; i < op->n_blocks; i++)
        for (int j = 0; j < op->blocks[i]->n_args; j++)
            if (is_view(op->blocks[i]->args[j]))
                ERROR(v, op->loc, "%s: block argument %s is a view; use the view of the enclosing block",
                      op_info[op->code].name, name_of(v, op->blocks[i]->args[j]));
    if (op->code == OP_DIM && op->n_operands && op->operands[0]->def && op->operands[0]->def->code == OP_WINDOW)
        ERROR(v, op->loc, "dim: %s is a window, which has no sizes of its own; ask the view it was made from",
              name_of(v, op->operands[0]));
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
            ERROR(v, op->loc, "for: the induction variable %s is %s; it must be index", name_of(v, iv),
                  type_text(v, iv->type));
    }
    if (is_terminator(op)) {
        if (op->next)
            ERROR(v, op->loc, "%s: stands in the middle of a block; it must be the last operation",
                  op_info[op->code].name);
        if (!op->block->parent && op->block == v->k->body && (op->code != OP_YIELD || op->n_operands))
            ERROR(v, op->loc, "%s: the body of a kernel hands over no values; store them", op_info[op->code].name);
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
                  "%s: not allowed in a grid; its sizes are scalar arithmetic on symbols, scalar "
                  "parameters and constants",
                  name);
            return;
        }
    }
    if (!scalar)
        ERROR(v, op->loc, "%s: the grid computes with scalars, not tiles", name);
}

static void check_block(struct verifier *v, struct block *b, bool in_grid);

static void check_one(struct verifier *v, struct op *op, bool in_grid)
{
    check_uses(v, op);
    struct type *types[MAX_OPERANDS] = {0};
    const char *fault = check_op(v->m, op, types);
    if (fault) {
        const char *of = op->n_results ? arena_printf(&v->m->arena, " (%s)", name_of(v, op->results[0])) : "";
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
        define(v, op->results[i], op->loc);
}

static void check_block(struct verifier *v, struct block *b, bool in_grid)
{
    struct loc loc = b->parent ? b->parent->loc : v->k->loc;
    for (int i = 0; i < b->n_args; i++)
        define(v, b->args[i], loc);
    for (struct op *op = b->first; op; op = op->next)
        check_one(v, op, in_grid);
    // Nothing outside sees what the block defines.
    for (int i = 0; i < b->n_args; i++)
        v->visible[b->args[i]->id] = NULL;
    for (struct op *op = b->first; op; op = op->next)
        for (int i = 0; i < op->n_results; i++)
            v->visible[op->results[i]->id] = NULL;
}

static void check_grid(struct verifier *v)
{
    struct function *k = v->k;
    const struct op *end = block_terminator(k->grid);
    if (k->grid->n_args || k->body->n_args)
        ERROR(v, k->loc, "the grid and the body of kernel @%s take no block arguments", k->name);
    if (!end || end->code != OP_YIELD) {
        ERROR(v, k->loc, "kernel @%s has no grid: end its grid block with a yield of 1 to 3 sizes", k->name);
        return;
    }
    if (end->n_operands < 1 || end->n_operands > 3) {
        ERROR(v, end->loc, "the grid of kernel @%s has %d sizes; give 1 to 3", k->name, end->n_operands);
        return;
    }
    v->n_grid = end->n_operands;
    for (int i = 0; i < end->n_operands; i++) {
        const struct type *t = end->operands[i]->type;
        if (t->kind != TYPE_SCALAR || t->dtype != DTYPE_INDEX)
            ERROR(v, end->loc, "size %d of the grid, %s, is %s; it must be index", i, name_of(v, end->operands[i]),
                  type_text(v, t));
    }
}

static bool is_identifier(const char *s)
{
    for (const char *c = s; *c; c++)
        if (!(*c == '_' || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (c > s && *c >= '0' && *c <= '9')))
            return false;
    return *s != 0;
}

static void check_params(struct verifier *v)
{
    struct function *k = v->k;
    if (module_function(v->m, k->name) != k)
        ERROR(v, k->loc, "there are two kernels @%s; rename one", k->name);
    if (!is_identifier(k->name))
        ERROR(v, k->loc, "the kernel name '%s' is not a C identifier; use letters, digits and _", k->name);
    for (int i = 0; i < k->n_params; i++) {
        const struct value *x = k->params[i];
        if (!x->name)
            ERROR(v, k->loc, "parameter %d of kernel @%s has no name", i + 1, k->name);
        else if (!is_identifier(x->name))
            ERROR(v, k->loc, "the parameter name '%s' of kernel @%s is not a C identifier", x->name, k->name);
        for (int j = 0; j < i; j++)
            if (x->name && k->params[j]->name && !strcmp(x->name, k->params[j]->name))
                ERROR(v, k->loc, "kernel @%s has two parameters %s; rename one", k->name, name_of(v, x));
        if (x->type->kind == TYPE_TILE)
            ERROR(v, k->loc, "parameter %s of kernel @%s is a tile; pass a view and load from it", name_of(v, x),
                  k->name);
        if (x->def || x->block || x->symbol >= 0)
            ERROR(v, k->loc, "parameter %s of kernel @%s names another definition", name_of(v, x), k->name);
        define(v, k->params[i], k->loc);
    }
    for (int i = 0; i < k->n_symbols; i++)
        if (k->symbols[i])
            define(v, k->symbols[i], k->loc);
}

static void verify_kernel(struct module *m, struct function *k, struct diags *diags)
{
    struct arena scratch;
    arena_init(&scratch);
    struct verifier v = {.m = m, .k = k, .diags = diags};
    v.owned = ARENA_ARRAY(&scratch, struct value *, k->n_values);
    v.visible = ARENA_ARRAY(&scratch, struct value *, k->n_values);
    if (structure_of_kernel(&v)) {
        check_params(&v);
        check_grid(&v);
        check_block(&v, k->grid, true);
        check_block(&v, k->body, false);
    }
    arena_finish(&scratch);
}

bool verify_module(struct module *m, struct diags *diags)
{
    int before = diags->n_errors;
    for (struct function *k = m->first_function; k; k = k->next)
        verify_kernel(m, k, diags);
    return diags->n_errors == before;
}
