// fold-graph: computes what is constant in graphs.
//
//     %w = data "w" : tensor<64x64xf32>                    %3 = data : tensor<64x64xf32>
//     %s = data "s" : tensor<64x1xf32>                     %y = einsum "mk,kn->mn" %x, %3
//     %v = mul %w, %s                                =>
//     %y = einsum "mk,kn->mn" %x, %v
//
// An operation whose operands are `constant` or `data` is run by the interpreter, and its result becomes a `constant`
// if all elements are equal, else `data`. Composites are folded whole. Branches on a constant are unwrapped, assertions
// that hold disappear, and those that fail are errors, as is everything else that cannot be computed, unless it stands
// in a branch or loop that may never run.
//
// Not folded: what takes more memory than its operands and more than a megabyte (broadcasts, paddings, casts to wider
// types), and products of more work than is sensible at compile time. Splats are folded by `fold`, without memory.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/interp_graph.h"
#include "ir/scalar.h"
#include "passes/fold.h"
#include "passes/pass.h"
#include "runtime/memory.h"

#define MOST_GROWTH ((int64_t)1 << 20) // in bytes
#define MOST_WORK ((int64_t)1 << 24)   // beyond a few elements of work for each element of operands and results

// Bytes that a `data` of this pass holds. They become the module's if it is still read in the end.
struct folded {
    struct op *data;
    void *bytes;
    struct folded *next;
};

struct graph_folder {
    struct fold fold;
    struct pass_context *c;
    struct folded *folded;
    bool *used; // by value id
};

static bool is_constant(const struct value *v)
{
    return v->def && (v->def->code == OP_CONSTANT || v->def->code == OP_DATA);
}

// ---- What is worth it ------------------------------------------------------------------------------------------

// The elements of a value of constant size, at most `most`; more: -1, as of a size that is not constant.
static int64_t elements_of(const struct type *t, int64_t most)
{
    int64_t n = 1;
    if (t->kind != TYPE_TENSOR)
        return t->kind == TYPE_SCALAR ? 1 : -1;
    for (int d = 0; d < t->rank; d++)
        if (t->dims[d] < 0)
            return -1;
    for (int d = 0; d < t->rank; d++)
        if (t->dims[d] == 0)
            return 0;
    for (int d = 0; d < t->rank; d++)
        if (__builtin_mul_overflow(n, t->dims[d], &n) || n > most)
            return -1;
    return n;
}

// Blocks may read constants from outside, and all that they define.
static bool reads_constants_only(const struct op *op, const struct block *within)
{
    for (int i = 0; i < op->n_operands; i++) {
        const struct value *v = op->operands[i];
        bool inner = (v->def && block_contains(within, v->def)) ||
                     (v->block && v->block->parent && (v->block == within || block_contains(within, v->block->parent)));
        if (!inner && !is_constant(v))
            return false;
    }
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *o = op->blocks[i]->first; o; o = o->next)
            if (!reads_constants_only(o, within))
                return false;
    return true;
}

static bool is_foldable(const struct op *op)
{
    if (!op->n_results || op->code == OP_CONSTANT || op->code == OP_DATA)
        return false;
    if (op->code == OP_BITCAST && op->results[0]->type->kind == TYPE_SCALAR) // fold knows which NaN can be written
        return false;
    for (int i = 0; i < op->n_operands; i++)
        if (!is_constant(op->operands[i]))
            return false;
    if (op->code != OP_COMPOSITE)
        return op_info[op->code].effect == EFFECT_PURE && !op->n_blocks;
    for (const struct op *o = op->blocks[0]->first; o; o = o->next)
        if (!reads_constants_only(o, op->blocks[0]))
            return false;
    return true;
}

// The budget to give the operation; 0: it is not worth it.
static int64_t budget_of(const struct op *op)
{
    const int64_t most = (int64_t)1 << 40;
    int64_t before = 0, after = 0, elements = 0;
    for (int i = 0; i < op->n_operands; i++) {
        const struct value *v = op->operands[i];
        int64_t n = elements_of(v->type, most);
        if (n < 0)
            return 0;
        elements += n;
        before += v->def->code == OP_DATA ? dtype_array_bytes(v->type->dtype, n) : 0;
    }
    for (int i = 0; i < op->n_results; i++) {
        int64_t n = elements_of(op->results[i]->type, most);
        if (n < 0)
            return 0;
        elements += n;
        after += dtype_array_bytes(op->results[i]->type->dtype, n);
    }
    if (after > MOST_GROWTH && after > before)
        return 0;
    return MOST_WORK + 4 * elements;
}

// ---- Results ---------------------------------------------------------------------------------------------------

// Whether the tensor is one element again and again, and not a NaN other than the text's; a scalar may be any.
static bool find_splat(const struct interp_tensor *t, bool is_scalar, union scalar *x)
{
    *x = scalar_from_number(t->dtype, (struct number){0});
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++)
        n *= t->dims[d];
    if (!n)
        return true;
    *x = dtype_array_load(t->dtype, t->data, 0);
    if (is_scalar)
        return true;
    uint64_t bits = dtype_bits(t->dtype, *x);
    for (int64_t i = 1; i < n; i++)
        if (dtype_bits(t->dtype, dtype_array_load(t->dtype, t->data, i)) != bits)
            return false;
    return !dtype_is_float(t->dtype) || !isnan(x->f) || bits == dtype_bits(t->dtype, (union scalar){.f = NAN});
}

// The value that stands for a result, before op. Takes the tensor's bytes.
static struct value *make_value(struct graph_folder *f, struct op *op, const struct value *result,
                                struct interp_tensor *t)
{
    union scalar x;
    if (find_splat(t, result->type->kind == TYPE_SCALAR, &x)) {
        free(t->data);
        return fold_make_constant(&f->fold, op, result->type, x);
    }
    struct builder b = {.function = f->fold.k, .block = op->block, .before = op, .loc = op->loc};
    struct attr data = {ATTR_DATA, {.data = {NULL, t->data, t->bytes, false}}};
    struct value *v = build_value(&b, OP_DATA, 0, NULL, 1, &data, result->type);
    struct folded *made = ARENA_NEW(f->c->scratch, struct folded);
    *made = (struct folded){v->def, t->data, f->folded};
    f->folded = made;
    return v;
}

static void mark_used(struct graph_folder *f, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_operands; i++)
            f->used[op->operands[i]->id] = true;
        for (int i = 0; i < op->n_blocks; i++)
            mark_used(f, op->blocks[i]);
    }
}

// What only other constants were computed from goes again.
static void settle(struct graph_folder *f)
{
    struct function *g = f->fold.k;
    f->used = ARENA_ARRAY(f->c->scratch, bool, g->n_values);
    mark_used(f, g->body);
    for (struct folded *made = f->folded; made; made = made->next) {
        if (f->used[made->data->results[0]->id]) {
            module_own(g->module, made->bytes);
            continue;
        }
        op_remove(made->data);
        free(made->bytes);
    }
}

static void let_go(const struct op *op)
{
    for (int i = 0; i < op->n_operands; i++) {
        const struct attr *data = op->operands[i]->def ? op_attr(op->operands[i]->def, ATTR_DATA) : NULL;
        if (data && data->data.mapped)
            memory_let_go(data->data.bytes, (size_t)data->data.size);
    }
}

// ---- The walk --------------------------------------------------------------------------------------------------

static void fold_op(struct graph_folder *f, struct op *op, bool always)
{
    int64_t budget = is_foldable(op) ? budget_of(op) : 0;
    if (!budget)
        return;
    struct interp_tensor *results = ARENA_ARRAY(f->c->scratch, struct interp_tensor, op->n_results);
    struct diags unseen;
    diag_init(&unseen);
    int status = interp_graph_op(op, f->fold.k, NULL, results, budget, always ? f->c->diags : &unseen);
    diag_finish(&unseen);
    if (status)
        return;
    let_go(op);
    for (int i = 0; i < op->n_results; i++)
        replace_set(&f->fold.replace, op->results[i], make_value(f, op, op->results[i], &results[i]));
    op_remove(op);
    f->fold.progress = true;
}

static void fold_assert(struct graph_folder *f, struct op *op, bool always)
{
    int64_t holds;
    if (!fold_index(op->operands[0], &holds))
        return;
    if (holds) {
        op_remove(op);
        f->fold.progress = true;
    } else if (always) {
        diag_error(f->c->diags, op->loc, "assert: %s", op_attr(op, ATTR_MESSAGE)->string);
    }
}

// `always`: the block runs whenever the graph does.
static void walk(struct graph_folder *f, struct block *b, bool always)
{
    for (struct op *op = b->first, *next; op; op = next) {
        int64_t condition;
        next = op->next;
        f->fold.progress |= replace_operands(&f->fold.replace, op);
        if (op->code == OP_IF && fold_index(op->operands[0], &condition)) {
            next = fold_unwrap(&f->fold, op, op->blocks[condition ? 0 : 1]);
            continue;
        }
        for (int i = 0; i < op->n_blocks; i++)
            walk(f, op->blocks[i], always && op->code == OP_COMPOSITE);
        if (op->code == OP_ASSERT)
            fold_assert(f, op, always);
        else
            fold_op(f, op, always);
    }
}

bool pass_fold_graph(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *g = m->first_function; g; g = g->next) {
        if (g->kind != FUNCTION_GRAPH)
            continue;
        struct graph_folder f = {.fold = {.k = g}, .c = c};
        replace_init(&f.fold.replace, c->scratch, g);
        walk(&f, g->body, true);
        settle(&f);
        progress |= f.fold.progress;
    }
    return progress;
}
