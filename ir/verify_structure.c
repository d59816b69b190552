// The first walk of the verifier: whether the links, counts, attributes and types of a function can be relied on.
#include <stddef.h>

#include "ir/dims.h"
#include "ir/verify_internal.h"

#define MOST_NESTING 200 // of blocks; passes recurse over them

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
                return "is a tensor with a size that is not known, or too large";
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
        ERROR(v, loc, "%s is defined twice in %s @%s", x ? verify_name(v, x) : "a missing value", verify_word(v->k),
              v->k->name);
        return false;
    }
    v->owned[x->id] = x;
    const char *fault = type_fault(v, x->type);
    if (fault)
        ERROR(v, loc, "%s %s", verify_name(v, x), fault);
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
            ERROR(v, op->loc, "%s: operand %d, %s, %s", info->name, i + 1, verify_name(v, op->operands[i]),
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
            ERROR(v, op->loc, "%s: result %s names another definition", info->name, verify_name(v, x));
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
            ERROR(v, loc, "block argument %s names another definition", verify_name(v, x));
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

bool verify_structure(struct verifier *v)
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
            ERROR(v, k->loc, "symbol %d of %s @%s names another symbol", i, verify_word(k), k->name);
            ok = false;
        }
    }
    if (k->kind != FUNCTION_KERNEL && (k->n_inputs < 0 || k->n_outputs < 0)) {
        ERROR(v, k->loc, "%s @%s has %d inputs and %d outputs", verify_word(k), k->name, k->n_inputs, k->n_outputs);
        ok = false;
    }
    ok &= structure_of_block(v, k->grid, NULL, 0);
    ok &= structure_of_block(v, k->body, NULL, 0);
    return ok;
}
