// How many registers a kernel keeps in each thread at once: what strip-mine decides by, before layouts are set.
//
// Operations are numbered in program order. A tile lives from where it is made to its last use, where the result takes
// its place; one that is made outside of a loop and used in it, to the loop's end. Loads count from their first use on,
// for they are moved there. What an operand takes is the most that it takes where it meets others: a row that is
// broadcast to a tile may take as much as the tile. Besides,
//   a reduction with a count masks a copy of its operand, and functions made of many operations have two at a time;
//   factors of a dot by mma are converted to their fragments, in which 16-bit elements are packed;
//   those of another dot are read from shared memory as they are needed, unless they come from outside of the loop that
//   the dot is in: then each thread holds its rows or columns whole.
#include "passes/shape.h"
#include "passes/shape_gpu.h"

struct pressure {
    struct gpu_shaper *g;
    int64_t *registers;               // by value id
    int *made, *first_use, *last_use; // by value id: when; 0: never
    int64_t *change;                  // by time: of the registers that are live
    const bool *among;                // by value id; may be NULL
    bool *counts;                     // by time: one among them lives
    const struct op **op_at;          // by time
    int now;
};

int gpu_thread_registers(int warps)
{
    int registers = GPU_REGISTERS / (GPU_LANES * warps);
    return registers < GPU_ADDRESSABLE_REGISTERS ? registers : GPU_ADDRESSABLE_REGISTERS;
}

static int64_t registers_of(const struct layout *l, enum dtype t)
{
    return layout_valid(l) ? (int64_t)layout_in_size(l, LAYOUT_REG) * (dtype_bytes(t) > 4 ? 2 : 1) : 0;
}

#define MOST_FROM_INDICES 8 // operations in a chain

// Constants, and what follows from the thread's number in a few operations, are made where they are used.
static bool costs_nothing(const struct value *v, int depth)
{
    const struct op *op = v->def;
    if (v->type->kind != TYPE_TILE)
        return true;
    if (!op || depth == MOST_FROM_INDICES)
        return false;
    if (op->code == OP_CONSTANT || op->code == OP_IOTA || op->code == OP_BROADCAST)
        return true;
    bool nothing = opcode_is_scalar(op->code) || op->code == OP_CAST;
    for (int i = 0; nothing && i < op->n_operands; i++)
        nothing = costs_nothing(op->operands[i], depth + 1);
    return nothing;
}

static void take(struct pressure *p, const struct value *v, const struct layout *l)
{
    int64_t n = registers_of(l, v->type->dtype);
    if (!costs_nothing(v, 0) && n > p->registers[v->id])
        p->registers[v->id] = n;
}

static const struct block *home(const struct value *v)
{
    return v->def ? v->def->block : v->block;
}

// Registers that the operation needs while it is done.
static void take_now(struct pressure *p, int64_t n)
{
    p->change[p->now] += n;
    p->change[p->now + 1] -= n;
}

static void take_factors(struct pressure *p, const struct op *dot)
{
    struct layout l[3];
    bool mma = gpu_dot_layouts(p->g, dot, l);
    for (int i = 0; i < 2; i++) {
        const struct value *v = dot->operands[i];
        int64_t n = registers_of(&l[i], v->type->dtype) / (mma ? 2 : 1), more = n - p->registers[v->id];
        if (more <= 0)
            continue;
        if (home(v) != dot->block || l[i].in.bits[LAYOUT_REG] > LAYOUT_MOST_REGISTER_BITS)
            p->registers[v->id] = n;
        else if (mma)
            take_now(p, more);
    }
}

static void use_operands(struct pressure *p, const struct op *op)
{
    const struct value *result = op->n_results && !op->n_blocks ? op->results[0] : NULL;
    bool meets = result && result->type->kind == TYPE_TILE && (opcode_is_scalar(op->code) || op->code == OP_GATHER);
    for (int i = 0; i < op->n_operands; i++) {
        const struct value *v = op->operands[i];
        if (v->type->kind != TYPE_TILE)
            continue;
        if (meets) {
            struct layout of = gpu_wanted_layout(p->g, result), l = layout_operand(&of, v->type);
            take(p, v, &l);
        }
        if (!p->first_use[v->id])
            p->first_use[v->id] = p->now;
        p->last_use[v->id] = p->now;
    }
    if (op->code == OP_DOT)
        take_factors(p, op);
    else if (op->code == OP_REDUCE && op->n_operands > 1)
        take_now(p, p->registers[op->operands[0]->id]);
    else if (opcode_is_scalar(op->code) && group_expensive(op))
        take_now(p, 2 * p->registers[op->operands[0]->id]);
}

static void make(struct pressure *p, const struct value *v, int when)
{
    if (v->type->kind != TYPE_TILE)
        return;
    struct layout l = gpu_wanted_layout(p->g, v);
    take(p, v, &l);
    p->made[v->id] = when;
}

static void walk(struct pressure *p, const struct block *b);

// What lives before the operation and is used in its blocks lives through all of them.
static void walk_blocks(struct pressure *p, const struct op *op)
{
    int start = p->now;
    for (int i = 0; i < op->n_blocks; i++)
        walk(p, op->blocks[i]);
    p->now += 2;
    for (int v = 0; v < p->g->k->n_values; v++) {
        if (!p->made[v] || p->made[v] >= start || p->last_use[v] <= start)
            continue;
        p->last_use[v] = p->now;
        if (p->first_use[v] > start)
            p->first_use[v] = start;
    }
}

static void walk(struct pressure *p, const struct block *b)
{
    for (int i = 0; i < b->n_args; i++)
        make(p, b->args[i], p->now + 1);
    for (const struct op *op = b->first; op; op = op->next) {
        p->now += 2;
        p->op_at[p->now] = op;
        use_operands(p, op);
        if (op->n_blocks)
            walk_blocks(p, op);
        p->op_at[p->now] = op;
        for (int i = 0; i < op->n_results; i++)
            make(p, op->results[i], p->now + 1);
    }
}

static int count_times(const struct block *b)
{
    int n = 4;
    for (const struct op *op = b->first; op; op = op->next) {
        n += 4;
        for (int i = 0; i < op->n_blocks; i++)
            n += count_times(op->blocks[i]);
    }
    return n;
}

static void add_live_range(struct pressure *p, const struct value *v)
{
    int from = p->made[v->id], to = p->last_use[v->id];
    if (v->def && v->def->code == OP_LOAD && p->first_use[v->id])
        from = p->first_use[v->id];
    if (to < from)
        to = from;
    p->change[from] += p->registers[v->id];
    p->change[to + 1] -= p->registers[v->id];
    for (int t = from; t <= to; t++)
        p->counts[t] |= !p->among || p->among[v->id];
}

static void add_live_ranges(struct pressure *p, const struct block *b)
{
    for (int i = 0; i < b->n_args; i++)
        add_live_range(p, b->args[i]);
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++)
            add_live_range(p, op->results[i]);
        for (int i = 0; i < op->n_blocks; i++)
            add_live_ranges(p, op->blocks[i]);
    }
}

int64_t gpu_pressure(struct gpu_shaper *g, const bool *among, const struct op **where)
{
    struct arena *a = g->scratch;
    int n = g->k->n_values, times = count_times(g->k->body);
    struct pressure p = {.g = g,
                         .among = among,
                         .registers = ARENA_ARRAY(a, int64_t, n),
                         .made = ARENA_ARRAY(a, int, n),
                         .first_use = ARENA_ARRAY(a, int, n),
                         .last_use = ARENA_ARRAY(a, int, n),
                         .change = ARENA_ARRAY(a, int64_t, times),
                         .counts = ARENA_ARRAY(a, bool, times),
                         .op_at = ARENA_ARRAY(a, const struct op *, times),
                         .now = 1};
    walk(&p, g->k->body);
    add_live_ranges(&p, g->k->body);
    int64_t live = 0, most = 0;
    const struct op *op = NULL;
    *where = NULL;
    for (int t = 0; t < times; t++) {
        live += p.change[t];
        op = p.op_at[t] ? p.op_at[t] : op;
        if (p.counts[t] && live > most) {
            most = live;
            *where = op;
        }
    }
    return most;
}
