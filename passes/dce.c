// dce: removes what no store depends on: operations, loads, loops and branches, and the values that loops carry and
// branches hand over.
//
//     %s, %t = for %i = 0 to N step 1 with (%a = %x, %b = %y) {     %s = for %i = 0 to N step 1 with (%a = %x) {
//       %c = add %a, %a                                               %c = add %a, %a
//       %d = add %b, %c                                       =>      yield %c
//       yield %c, %d                                                }
//     }                                                             store %s, %o[0]
//     store %s, %o[0]
//
// Blocks are walked backwards, so that uses come before definitions, and a loop's again when it turns out to carry more
// live values; carried values that only need each other thus die together. Stores to scratch memory that is not read
// are dead. Loops are taken to end. Parameters and sizes stay, for they are the function's interface; so do the
// operands and results of a composite, whose name says what they are.
#include "passes/pass.h"

struct dce {
    const struct function *k;
    bool *live;   // values, by id
    bool changed; // a scratch has become live: stores that were passed by may be as well
    bool progress;
};

static bool mark(struct dce *d, const struct value *v)
{
    if (d->live[v->id])
        return false;
    d->live[v->id] = true;
    d->changed |= v->def && v->def->code == OP_SCRATCH;
    return true;
}

static bool has_effect(const struct dce *d, const struct op *op)
{
    if (op->code == OP_ASSERT || op->code == OP_LAUNCH || op->code == OP_PREFETCH)
        return true;
    if (op_info[op->code].effect != EFFECT_WRITE)
        return false;
    const struct value *root = view_root(op->operands[op_view_operand(op)]);
    return d->k->kind != FUNCTION_KERNEL || !root->def || d->live[root->id];
}

// ---- Marking ---------------------------------------------------------------------------------------------------

// All that a live composite takes and gives.
static bool mark_composite(struct dce *d, const struct op *op)
{
    bool marked = false;
    const struct op *end = block_terminator(op->blocks[0]);
    for (int i = 0; i < op->n_operands; i++)
        marked |= mark(d, op->operands[i]);
    for (int i = 0; i < op->n_results; i++) {
        marked |= mark(d, op->results[i]);
        marked |= mark(d, end->operands[i]);
    }
    return marked;
}

// A value that an operation with blocks hands on has several names: all are live, or none.
static bool mark_handed_on(struct dce *d, const struct op *op)
{
    bool marked = false;
    int carried = op->code == OP_FOR ? 3 : 0, first_arg = op->code == OP_FOR;
    if (op->code == OP_COMPOSITE)
        return false; // see mark_control
    for (int i = 0; i < op->n_results; i++) {
        bool live = d->live[op->results[i]->id];
        if (op->code != OP_IF)
            for (int j = 0; j < op->n_blocks; j++)
                live |= d->live[op->blocks[j]->args[first_arg + i]->id];
        if (!live)
            continue;
        marked |= mark(d, op->results[i]);
        for (int j = 0; j < op->n_blocks; j++) {
            const struct op *end = block_terminator(op->blocks[j]);
            if (op->code != OP_IF)
                marked |= mark(d, op->blocks[j]->args[first_arg + i]);
            if (end && end->code == OP_YIELD)
                marked |= mark(d, end->operands[i]);
        }
        if (op->code != OP_IF)
            marked |= mark(d, op->operands[carried + i]);
    }
    return marked;
}

// What decides whether and how often the blocks run; of a composite everything.
static bool mark_control(struct dce *d, const struct op *op)
{
    bool marked = false;
    if (op->code == OP_COMPOSITE)
        return mark_composite(d, op);
    if (op->code == OP_WHILE)
        return mark(d, block_terminator(op->blocks[0])->operands[0]);
    // Bounds of a loop, keys of a once, the condition of a branch.
    for (int i = 0; i < (op->code == OP_FOR ? 3 : op->n_operands); i++)
        marked |= mark(d, op->operands[i]);
    return marked;
}

// Whether the block has an effect.
static bool mark_block(struct dce *d, const struct block *b)
{
    bool writes = false;
    for (const struct op *op = b->last; op; op = op->previous) {
        bool live = has_effect(d, op), again = op->n_blocks > 0;
        writes |= live;
        for (int i = 0; i < op->n_results; i++)
            live |= d->live[op->results[i]->id];
        while (again) {
            mark_handed_on(d, op);
            for (int i = op->n_blocks - 1; i >= 0; i--)
                if (mark_block(d, op->blocks[i]))
                    live = writes = true;
            again = mark_handed_on(d, op);
            if (live)
                again |= mark_control(d, op);
        }
        if (live && !op->n_blocks)
            for (int i = 0; i < op->n_operands; i++)
                mark(d, op->operands[i]);
    }
    return writes;
}

// ---- Sweeping --------------------------------------------------------------------------------------------------

static void drop(struct value **list, int *n, int i)
{
    for (int j = i + 1; j < *n; j++)
        list[j - 1] = list[j];
    (*n)--;
}

static void drop_handed_on(struct dce *d, struct op *op)
{
    int carried = op->code == OP_FOR ? 3 : 0, first_arg = op->code == OP_FOR;
    for (int i = op->n_results - 1; i >= 0; i--) {
        if (d->live[op->results[i]->id])
            continue;
        drop(op->results, &op->n_results, i);
        for (int j = 0; j < op->n_blocks; j++) {
            struct op *end = block_terminator(op->blocks[j]);
            if (op->code != OP_IF)
                drop(op->blocks[j]->args, &op->blocks[j]->n_args, first_arg + i);
            if (end && end->code == OP_YIELD)
                drop(end->operands, &end->n_operands, i);
        }
        if (op->code != OP_IF)
            drop(op->operands, &op->n_operands, carried + i);
        d->progress = true;
    }
}

static bool is_empty(const struct block *b)
{
    return !b->first || b->first == block_terminator(b);
}

static void sweep(struct dce *d, struct block *b)
{
    for (struct op *op = b->first, *next; op; op = next) {
        next = op->next;
        bool dead = op != block_terminator(b) && !has_effect(d, op);
        for (int i = 0; i < op->n_blocks; i++)
            sweep(d, op->blocks[i]);
        for (int i = 0; i < op->n_results; i++)
            dead &= !d->live[op->results[i]->id];
        for (int i = 0; i < op->n_blocks; i++)
            dead &= is_empty(op->blocks[i]);
        if (dead) {
            op_remove(op);
            d->progress = true;
        } else if (op->n_blocks && op->code != OP_COMPOSITE) {
            drop_handed_on(d, op);
        }
    }
}

static void run(struct dce *d, struct block *b)
{
    const struct op *end = block_terminator(b);
    for (int i = 0; end && i < end->n_operands; i++)
        mark(d, end->operands[i]);
    do {
        d->changed = false;
        mark_block(d, b);
    } while (d->changed);
    sweep(d, b);
}

bool pass_dce(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *k = m->first_function; k; k = k->next) {
        struct dce d = {.k = k, .live = ARENA_ARRAY(c->scratch, bool, k->n_values)};
        run(&d, k->grid);
        run(&d, k->body);
        progress |= d.progress;
    }
    return progress;
}
