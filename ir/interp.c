// The interpreter's control: the grid, blocks and structured operations, of kernels and graphs. interp_graph.c runs
// graphs; interp_tile.c, interp_tensor.c and interp_memory.c hold the operations.
#include "ir/interp.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ir/interp_state.h"

static const char *kind(const struct interp *in)
{
    return in->k->kind == FUNCTION_GRAPH ? "graph" : "kernel";
}

bool interp_fail(struct interp *in, const struct op *op, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(&in->diags->arena, format, args);
    va_end(args);
    if (op)
        diag_error(in->diags, op->loc, "%s: %s", op_info[op->code].name, text);
    else
        diag_error(in->diags, in->k->loc, "%s @%s: %s", kind(in), in->k->name, text);
    return false;
}

bool interp_charge(struct interp *in, const struct op *op, int64_t n)
{
    if (n > in->budget) {
        in->undecided = true;
        return !in->quiet &&
               interp_fail(in, op, "the %s runs too long for the interpreter; use a smaller problem", kind(in));
    }
    in->budget -= n;
    return true;
}

union scalar *interp_result(struct interp *in, const struct op *op, const struct value *v)
{
    struct content *c = &in->contents[v->id];
    if (c->elements)
        return c->elements;
    if (!interp_resolve(in, op, v))
        return NULL;
    const struct type *t = interp_type(in, v);
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++)
        if (__builtin_mul_overflow(n, t->dims[d], &n))
            n = INT64_MAX;
    if (n > in->room) {
        in->undecided = true;
        if (!in->quiet)
            interp_fail(in, op, "the values of the %s need more memory than the interpreter takes", kind(in));
        return NULL;
    }
    c->elements = calloc((size_t)n + 1, sizeof *c->elements); // there may be none
    if (!c->elements)
        interp_fail(in, op, "out of memory");
    else
        in->room -= n;
    return c->elements;
}

// ---- Operations that compute scalars and have no file of their own ---------------------------------------------

static bool set_index(struct interp *in, const struct op *op, int64_t x)
{
    union scalar *result = interp_result(in, op, op->results[0]);
    if (result)
        result->i = x;
    return result != NULL;
}

static bool run_dim(struct interp *in, const struct op *op)
{
    const struct value *x = op->operands[0];
    int64_t d = op_int(op, ATTR_DIM, 0);
    bool is_view = x->type->kind == TYPE_VIEW;
    return set_index(in, op, is_view ? in->contents[x->id].reference->root.sizes[d] : interp_type(in, x)->dims[d]);
}

static bool run_assume(struct interp *in, const struct op *op)
{
    int64_t x = interp_index(in, op->operands[0]), divisor = op_int(op, ATTR_DIVISIBLE, 1);
    if (x % divisor)
        return interp_fail(in, op, "%lld is not divisible by %lld", (long long)x, (long long)divisor);
    int64_t least = op_int(op, ATTR_LEAST, INT64_MIN), most = op_int(op, ATTR_MOST, INT64_MAX);
    if (x < least)
        return interp_fail(in, op, "%lld is less than %lld", (long long)x, (long long)least);
    if (x > most)
        return interp_fail(in, op, "%lld is more than %lld", (long long)x, (long long)most);
    return set_index(in, op, x);
}

// ---- Blocks ----------------------------------------------------------------------------------------------------

// Copies n values. No source is among the targets.
static bool copy(struct interp *in, const struct op *op, int n, struct value *const *from, struct value *const *to)
{
    for (int i = 0; i < n; i++) {
        union scalar *target = interp_result(in, op, to[i]);
        int64_t elements = target ? type_elements(interp_type(in, to[i])) : 0;
        if (!target || !interp_charge(in, op, elements))
            return false;
        memcpy(target, interp_elements(in, from[i]), sizeof *target * (size_t)elements);
    }
    return true;
}

static bool run_and_yield(struct interp *in, const struct op *op, const struct block *b)
{
    return interp_block(in, b) && copy(in, op, op->n_results, block_terminator(b)->operands, op->results);
}

// The results of a loop hold the carried values between iterations: nothing else reads them before the loop ends.
static bool run_for(struct interp *in, const struct op *op)
{
    const struct block *b = op->blocks[0];
    int64_t i = interp_index(in, op->operands[0]), end = interp_index(in, op->operands[1]);
    int64_t step = interp_index(in, op->operands[2]);
    if (step <= 0)
        return interp_fail(in, op, "the step is %lld; it must be positive", (long long)step);
    if (!copy(in, op, op->n_results, op->operands + 3, op->results))
        return false;
    while (i < end) {
        union scalar *iv = interp_result(in, op, b->args[0]);
        if (!iv || !interp_charge(in, op, 1) || !copy(in, op, op->n_results, op->results, b->args + 1))
            return false;
        iv->i = i;
        if (!run_and_yield(in, op, b))
            return false;
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return true;
}

static bool run_while(struct interp *in, const struct op *op)
{
    const struct block *test = op->blocks[0], *body = op->blocks[1];
    if (!copy(in, op, op->n_results, op->operands, op->results))
        return false;
    for (;;) {
        if (!interp_charge(in, op, 1) || !copy(in, op, op->n_results, op->results, test->args) ||
            !interp_block(in, test))
            return false;
        if (!interp_elements(in, block_terminator(test)->operands[0])->i)
            return true;
        if (!copy(in, op, op->n_results, op->results, body->args) || !run_and_yield(in, op, body))
            return false;
    }
}

static bool run_if(struct interp *in, const struct op *op)
{
    const struct block *b = op->blocks[interp_elements(in, op->operands[0])->i ? 0 : 1];
    return !b->first || run_and_yield(in, op, b);
}

static bool run_op(struct interp *in, const struct op *op)
{
    if (opcode_is_scalar(op->code))
        return interp_map(in, op);
    switch (op->code) {
    case OP_CONSTANT:
        return in->k->kind == FUNCTION_GRAPH || interp_constant(in, op); // interp_prepare makes those of graphs
    case OP_IOTA:
        return interp_iota(in, op);
    case OP_PROGRAM_ID:
        return set_index(in, op, in->program[op_int(op, ATTR_DIM, 0)]);
    case OP_NUM_PROGRAMS:
        return set_index(in, op, in->grid[op_int(op, ATTR_DIM, 0)]);
    case OP_DIM:
        return run_dim(in, op);
    case OP_CAST:
    case OP_BITCAST:
        return interp_map(in, op);
    case OP_WINDOW:
        return interp_window(in, op);
    case OP_SCRATCH:
        return interp_scratch(in, op);
    case OP_LOAD:
    case OP_STORE:
    case OP_GATHER:
    case OP_SCATTER:
    case OP_ATOMIC:
        return interp_access(in, op);
    case OP_DOT:
    case OP_EINSUM:
        return interp_dot(in, op);
    case OP_REDUCE:
        return interp_reduce(in, op);
    case OP_SCAN:
        return interp_scan(in, op);
    case OP_BROADCAST:
    case OP_RESHAPE:
    case OP_CONVERT_LAYOUT:
    case OP_TRANSPOSE:
        return interp_rearrange(in, op);
    case OP_EXTRACT:
        return interp_extract(in, op);
    case OP_ASSUME:
        return run_assume(in, op);
    case OP_FOR:
        return run_for(in, op);
    case OP_WHILE:
        return run_while(in, op);
    case OP_IF:
        return run_if(in, op);
    case OP_DATA: // likewise
        return true;
    case OP_SIZES:
        return interp_sizes(in, op);
    case OP_CONV:
        return interp_conv(in, op);
    case OP_WINDOW_REDUCE:
        return interp_window_reduce(in, op);
    case OP_SLICE:
        return interp_slice(in, op);
    case OP_DYNAMIC_SLICE:
        return interp_dynamic_slice(in, op);
    case OP_SLICE_UPDATE:
        return interp_slice_update(in, op);
    case OP_PAD:
        return interp_pad(in, op);
    case OP_CONCAT:
        return interp_concat(in, op);
    case OP_TAKE:
        return interp_take(in, op);
    case OP_ASSERT:
        return interp_assert(in, op);
    case OP_COMPOSITE:
        return copy(in, op, op->n_operands, op->operands, op->blocks[0]->args) && run_and_yield(in, op, op->blocks[0]);
    case OP_PREFETCH: // changes nothing
        return true;
    case OP_ONCE: // running it again gives the same
        return interp_block(in, op->blocks[0]);
    default:
        return interp_fail(in, op, "the interpreter does not know this operation");
    }
}

bool interp_op(struct interp *in, const struct op *op)
{
    if (!interp_charge(in, op, 1) || !interp_prepare(in, op) || !run_op(in, op))
        return false;
    bool ok = !in->watch || interp_show(in, op);
    interp_retire(in, op);
    return ok;
}

bool interp_block(struct interp *in, const struct block *b)
{
    const struct op *end = block_terminator(b);
    for (const struct op *op = b->first; op != end; op = op->next)
        if (!interp_op(in, op))
            return false;
    return !end || interp_prepare(in, end);
}

// ---- Kernels ---------------------------------------------------------------------------------------------------

static bool set_params(struct interp *in, const struct interp_arg *params, const int64_t *symbols)
{
    struct function *k = in->k;
    for (int i = 0; i < k->n_symbols; i++) {
        if (!k->symbols[i])
            continue;
        union scalar *x = interp_result(in, NULL, k->symbols[i]);
        if (!x)
            return false;
        x->i = symbols[i];
    }
    for (int i = 0; i < k->n_params; i++) {
        struct value *p = k->params[i];
        if (p->type->kind == TYPE_VIEW) {
            if (!interp_param(in, p, &params[i].view, symbols))
                return false;
            continue;
        }
        union scalar *x = interp_result(in, NULL, p);
        if (!x)
            return false;
        *x = params[i].scalar;
    }
    return true;
}

// Whether the kernel writes, but to views without elements alone.
static bool writes_nowhere(const struct interp *in)
{
    bool writes = false;
    for (int i = 0; i < in->k->n_params; i++) {
        const struct value *view = in->k->params[i];
        if (view->type->kind != TYPE_VIEW || !block_writes(in->k->body, view))
            continue;
        const struct interp_view *root = &in->contents[view->id].reference->root;
        bool empty = false;
        for (int d = 0; d < view->type->rank; d++)
            empty |= root->sizes[d] == 0;
        if (!empty)
            return false;
        writes = true;
    }
    return writes;
}

static bool run_grid(struct interp *in)
{
    if (!interp_block(in, in->k->grid))
        return false;
    const struct op *end = block_terminator(in->k->grid);
    in->n_grid = end->n_operands;
    bool empty = writes_nowhere(in);
    for (int d = 0; d < 3; d++) {
        in->grid[d] = d < in->n_grid ? interp_index(in, end->operands[d]) : 1;
        empty |= in->grid[d] <= 0;
    }
    if (empty)
        return true;
    int64_t *p = in->program;
    for (p[2] = 0; p[2] < in->grid[2]; p[2]++)
        for (p[1] = 0; p[1] < in->grid[1]; p[1]++)
            for (p[0] = 0; p[0] < in->grid[0]; p[0]++)
                if (!interp_charge(in, end, 1) || !interp_block(in, in->k->body))
                    return false;
    return true;
}

int interp_run(struct function *k, const struct interp_arg *params, const int64_t *symbols, int64_t budget,
               struct diags *diags)
{
    struct interp in = {.k = k, .diags = diags, .budget = budget > 0 ? budget : INTERP_BUDGET, .room = INTERP_ROOM};
    in.contents = calloc((size_t)k->n_values + 1, sizeof *in.contents);
    bool ok = in.contents ? set_params(&in, params, symbols) && run_grid(&in) : interp_fail(&in, NULL, "out of memory");
    for (int i = 0; in.contents && i < k->n_values; i++)
        interp_release(&in, &in.contents[i]);
    free(in.contents);
    return !ok;
}
