// Whether a module obeys the rules of the IR. Two walks over every function:
//   1. structure: links between operations, blocks and values agree, counts and attributes are in range, types are
//      sound. Where this fails the function is not looked at further, since nothing can be relied on.
//   2. meaning: each operation by its own rules (check.c), dominance, terminators, views, the grid, shaping, and what
//      belongs into each kind of function.
#include <string.h>

#include "ir/dims.h"

#define MOST_NESTING 200                      // of blocks; passes recurse over them
#define MOST_TILE_ELEMENTS ((int64_t)1 << 31) // arithmetic on sizes of tiles cannot overflow

struct verifier {
    struct module *m;
    struct function *k;
    struct diags *diags;
    struct value **owned;                  // by id: the function's values
    struct value **visible;                // by id: the values that dominate the place the walk has reached
    int n_grid;                            // dimensions of the grid, 0 if unknown
    const struct value *shaped, *unshaped; // the first tile of either kind
    bool shaping_reported;
    bool *sizes;    // by symbol: the types of the parameters name it
    bool *reported; // by symbol: that they do not
};

// What is different in each kind of function.
static const struct function_rules {
    const char *word;
    unsigned types;      // a bit for each enum type_kind of values
    unsigned parameters; // likewise
    const char *views;   // where views come from
} function_rules[] = {
    [FUNCTION_KERNEL] = {"kernel", 1 << TYPE_SCALAR | 1 << TYPE_TILE | 1 << TYPE_VIEW,
                         1 << TYPE_SCALAR | 1 << TYPE_VIEW, "parameters, windows on them, and scratch"},
    [FUNCTION_GRAPH] = {"graph", 1 << TYPE_SCALAR | 1 << TYPE_TENSOR, 1 << TYPE_TENSOR, ""},
    [FUNCTION_HOST] = {"host", 1 << TYPE_SCALAR | 1 << TYPE_VIEW, 1 << TYPE_VIEW,
                       "parameters, constants, buffers, and subviews of these"},
};
static const char *const type_words[] = {"a scalar", "a tile", "a view", "a tensor"}; // by enum type_kind

static const char *word_of(const struct function *k)
{
    return function_rules[k->kind].word;
}

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
        for (int i = 0; i < t->rank; i++) {
            int64_t size;
            if (t->dims[i] == DIM_UNKNOWN)
                return "is a tensor of unknown size; give it a name";
            if (dim_is_symbol(t->dims[i]) && dim_symbol_id(t->dims[i]) < v->m->n_symbols &&
                dims_to_int(v->m, t->dims[i], &size) && size < 0)
                return "is a tensor with a size below 0";
        }
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
        ERROR(v, loc, "%s is defined twice in %s @%s", x ? name_of(v, x) : "a missing value", word_of(v->k),
              v->k->name);
        return false;
    }
    v->owned[x->id] = x;
    const char *fault = type_fault(v, x->type);
    if (fault)
        ERROR(v, loc, "%s %s", name_of(v, x), fault);
    return !fault;
}

static const char *attr_fault(const struct verifier *v, const struct attr *a)
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
    case ATTR_KIND_DIMS:
        if (a->dims.n < 0 || (a->dims.n > 0 && !a->dims.v))
            return "not a list";
        for (int i = 0; i < a->dims.n; i++)
            if (a->dims.v[i] == DIM_UNKNOWN)
                return "a list with a size that is not known";
        return dim_fault(v, a->dims.v, a->dims.n) ? "a list with a symbol that the module does not have" : NULL;
    case ATTR_KIND_DATA:
        return a->data.size < 0 || (a->data.size > 0 && !a->data.bytes) ? "without its bytes" : NULL;
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
        const char *fault = attr_fault(v, &op->attrs[i]);
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

static bool structure_of_function(struct verifier *v)
{
    struct function *k = v->k;
    bool ok = true;
    if ((int)k->kind < 0 || k->kind > FUNCTION_HOST) {
        ERROR(v, k->loc, "@%s is an unknown kind of function", k->name);
        return false;
    }
    for (int i = 0; i < k->n_params; i++)
        ok &= own(v, k->params[i], k->loc);
    for (int i = 0; i < k->n_symbols; i++) {
        if (!k->symbols[i])
            continue;
        ok &= own(v, k->symbols[i], k->loc);
        if (k->symbols[i]->symbol != i || i >= v->m->n_symbols) {
            ERROR(v, k->loc, "symbol %d of %s @%s names another symbol", i, word_of(k), k->name);
            ok = false;
        }
    }
    if (k->kind != FUNCTION_KERNEL && (k->n_inputs < 0 || k->n_outputs < 0)) {
        ERROR(v, k->loc, "%s @%s has %d inputs and %d outputs", word_of(k), k->name, k->n_inputs, k->n_outputs);
        ok = false;
    }
    ok &= structure_of_block(v, k->grid, NULL, 0);
    ok &= structure_of_block(v, k->body, NULL, 0);
    return ok;
}

// ---- Meaning ---------------------------------------------------------------------------------------------------

static bool is_identifier(const char *s)
{
    for (const char *c = s; *c; c++)
        if (!(*c == '_' || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (c > s && *c >= '0' && *c <= '9')))
            return false;
    return *s != 0;
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
    ERROR(v, use->loc, "the size %s is not one of a parameter of %s @%s", v->m->symbols[id], word_of(v->k), v->k->name);
}

static void use_sizes(struct verifier *v, int n, const dim *dims, struct loc loc)
{
    struct size_use use = {v, loc};
    for (int i = 0; i < n && v->k->kind != FUNCTION_KERNEL; i++)
        dims_symbols(v->m, dims[i], use_size, &use);
}

static void use_type_sizes(struct verifier *v, const struct type *t, struct loc loc)
{
    use_sizes(v, t->rank, t->dims, loc);
    if (t->strided)
        use_sizes(v, t->rank, t->strides, loc);
}

static void define(struct verifier *v, struct value *x, struct loc loc)
{
    v->visible[x->id] = x;
    use_type_sizes(v, x->type, loc);
    if (!(function_rules[v->k->kind].types >> x->type->kind & 1))
        ERROR(v, loc, "%s is %s, %s; a %s has none", name_of(v, x), type_words[x->type->kind], type_text(v, x->type),
              word_of(v->k));
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
            ERROR(v, op->loc, "%s: operand %s is not a value of %s @%s", name, name_of(v, x), word_of(v->k),
                  v->k->name);
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
            ERROR(v, op->loc, "%s: %s is a view; views are %s", op_info[op->code].name, name_of(v, op->results[i]),
                  function_rules[v->k->kind].views);
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
        bool in_body = !op->block->parent && op->block == v->k->body;
        if (in_body && v->k->kind != FUNCTION_GRAPH && (op->code != OP_YIELD || op->n_operands))
            ERROR(v, op->loc, "%s: the body of a %s hands over no values; store them", op_info[op->code].name,
                  word_of(v->k));
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
                where = arena_printf(&v->m->arena, "%s%s%ss", where, *where ? " and " : "", function_rules[kind].word);
        ERROR(v, op->loc, "%s: not an operation of a %s; it stands in %s", info->name, word_of(v->k), where);
    }
    for (int i = 0; i < op->n_attrs; i++)
        if (attr_info[op->attrs[i].key].kind == ATTR_KIND_DIMS)
            use_sizes(v, op->attrs[i].dims.n, op->attrs[i].dims.v, op->loc);
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

// A host's arena, if it has one yet, is a number of bytes.
static void check_arena(struct verifier *v)
{
    const struct function *h = v->k;
    const struct op *end = block_terminator(h->grid);
    if (h->grid->n_args || h->body->n_args)
        ERROR(v, h->loc, "the arena and the body of host @%s take no block arguments", h->name);
    if (!h->grid->first)
        return;
    const struct type *t = end && end->code == OP_YIELD && end->n_operands == 1 ? end->operands[0]->type : NULL;
    if (!t || t->kind != TYPE_SCALAR || t->dtype != DTYPE_INDEX)
        ERROR(v, end ? end->loc : h->loc, "the arena of host @%s must end in a yield of its bytes, one index", h->name);
}

// ---- Parameters and results --------------------------------------------------------------------------------------

static void declare_size(void *data, int id)
{
    ((struct verifier *)data)->sizes[id] = true;
}

static void check_parameter(struct verifier *v, int i)
{
    struct function *k = v->k;
    struct value *x = k->params[i];
    bool kernel = k->kind == FUNCTION_KERNEL; // a C function has its names
    if (!x->name && kernel)
        ERROR(v, k->loc, "parameter %d of kernel @%s has no name", i + 1, k->name);
    else if (kernel && !is_identifier(x->name))
        ERROR(v, k->loc, "the parameter name '%s' of kernel @%s is not a C identifier", x->name, k->name);
    for (int j = 0; kernel && j < i; j++)
        if (x->name && k->params[j]->name && !strcmp(x->name, k->params[j]->name))
            ERROR(v, k->loc, "kernel @%s has two parameters %s; rename one", k->name, name_of(v, x));
    if (!(function_rules[k->kind].parameters >> x->type->kind & 1))
        ERROR(v, k->loc, "parameter %s of %s @%s is %s%s", name_of(v, x), word_of(k), k->name,
              type_words[x->type->kind],
              x->type->kind == TYPE_TILE  ? "; pass a view and load from it"
              : k->kind == FUNCTION_GRAPH ? "; the parameters of a graph are tensors"
              : k->kind == FUNCTION_HOST  ? "; the parameters of a host function are views"
                                          : "; the parameters of a kernel are views and scalars");
    if (x->def || x->block || x->symbol >= 0)
        ERROR(v, k->loc, "parameter %s of %s @%s names another definition", name_of(v, x), word_of(k), k->name);
    for (int d = 0; d < 2 * x->type->rank; d++) {
        bool stride = d >= x->type->rank;
        dim size = stride ? x->type->strides[d - x->type->rank] : x->type->dims[d];
        if (stride && !x->type->strided)
            break;
        dims_symbols(v->m, size, declare_size, v);
        if (kernel && dims_is_expression(v->m, size))
            ERROR(v, k->loc,
                  "%s in %s of kernel @%s is an expression; give the kernel a size of its own and pass the value",
                  dim_string(&v->m->arena, v->m, size), name_of(v, x), k->name);
    }
}

// Users find inputs and outputs by their names.
static void check_names(struct verifier *v, const char *what, int n, const char *const *names)
{
    for (int i = 0; names && i < n; i++)
        for (int j = 0; j < i; j++)
            if (names[i] && names[j] && !strcmp(names[i], names[j]))
                ERROR(v, v->k->loc, "%s @%s has two %ss named \"%s\"; rename one", word_of(v->k), v->k->name, what,
                      names[i]);
}

static void check_symbols(struct verifier *v)
{
    struct function *k = v->k;
    for (int i = 0; i < v->m->n_symbols; i++) {
        bool used = v->sizes[i] || (i < k->n_symbols && k->symbols[i]);
        if (used && !dims_is_expression(v->m, dim_symbol(i)) && !is_identifier(v->m->symbols[i]))
            ERROR(v, k->loc, "the size '%s' of %s @%s is not a C identifier", v->m->symbols[i], word_of(k), k->name);
    }
    for (int i = 0; i < k->n_symbols; i++) {
        if (!k->symbols[i])
            continue;
        if (dims_is_expression(v->m, dim_symbol(i)))
            ERROR(v, k->loc, "the size %s of %s @%s is an expression; %s", v->m->symbols[i], word_of(k), k->name,
                  k->kind == FUNCTION_KERNEL ? "give the kernel a size of its own and pass the value"
                                             : "compute it from the sizes in it");
        define(v, k->symbols[i], k->loc);
        use_sizes(v, 1, &(dim){dim_symbol(i)}, k->loc);
    }
}

static void check_params(struct verifier *v)
{
    struct function *k = v->k;
    if (module_function(v->m, k->name) != k)
        ERROR(v, k->loc, "there are two functions @%s; rename one", k->name);
    if (!is_identifier(k->name))
        ERROR(v, k->loc, "the %s name '%s' is not a C identifier; use letters, digits and _", word_of(k), k->name);
    for (int i = 0; i < k->n_params; i++) {
        check_parameter(v, i);
        v->visible[k->params[i]->id] = k->params[i];
    }
    check_symbols(v);
    if (k->kind == FUNCTION_KERNEL)
        return;
    check_names(v, "input", k->n_inputs, k->input_names);
    check_names(v, "output", k->n_outputs, k->output_names);
    int wanted = k->kind == FUNCTION_HOST ? k->n_inputs + k->n_outputs : k->n_inputs;
    if (wanted != k->n_params)
        ERROR(v, k->loc, "%s @%s has %d parameters for %d inputs and %d outputs", word_of(k), k->name, k->n_params,
              k->n_inputs, k->n_outputs);
}

// A graph's body ends in a yield of its outputs.
static void check_outputs(struct verifier *v)
{
    const struct function *g = v->k;
    const struct op *end = block_terminator(g->body);
    if (g->grid->first || g->grid->n_args || g->body->n_args)
        ERROR(v, g->loc, "graph @%s has a grid or block arguments; graphs have neither", g->name);
    if (!end || end->code != OP_YIELD) {
        ERROR(v, g->loc, "graph @%s does not end in a yield of its outputs", g->name);
        return;
    }
    if (end->n_operands != g->n_outputs)
        ERROR(v, end->loc, "graph @%s yields %d values and has %d outputs", g->name, end->n_operands, g->n_outputs);
    for (int i = 0; i < end->n_operands; i++)
        if (end->operands[i]->type->kind != TYPE_TENSOR)
            ERROR(v, end->loc,
                  "output %d of graph @%s is %s; an output is a tensor, as broadcast makes one of a scalar", i + 1,
                  g->name, type_text(v, end->operands[i]->type));
}

static void verify_function(struct module *m, struct function *k, struct diags *diags)
{
    struct arena scratch;
    arena_init(&scratch);
    struct verifier v = {.m = m, .k = k, .diags = diags};
    v.owned = ARENA_ARRAY(&scratch, struct value *, k->n_values);
    v.visible = ARENA_ARRAY(&scratch, struct value *, k->n_values);
    v.sizes = ARENA_ARRAY(&scratch, bool, m->n_symbols);
    v.reported = ARENA_ARRAY(&scratch, bool, m->n_symbols);
    if (structure_of_function(&v)) {
        check_params(&v);
        if (k->kind == FUNCTION_KERNEL)
            check_grid(&v);
        else if (k->kind == FUNCTION_GRAPH)
            check_outputs(&v);
        else
            check_arena(&v);
        check_block(&v, k->grid, true);
        check_block(&v, k->body, false);
    }
    arena_finish(&scratch);
}

bool verify_module(struct module *m, struct diags *diags)
{
    int before = diags->n_errors;
    for (struct function *k = m->first_function; k; k = k->next)
        verify_function(m, k, diags);
    return diags->n_errors == before;
}
