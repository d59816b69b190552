// Strip-mining: how a kernel comes to walk an axis strip by strip (see strip_mine.c).
//
// Of the operations whose tiles have the axis, some are waited for: stores, and reductions and dots that the axis does
// not survive. In program order they gather in a walk, which becomes a loop as soon as something needs its results or
// must not change places with it. All others are made again in each loop, on the strip, where they are needed.
#include <string.h>

#include "passes/replace.h"
#include "passes/strip_mine.h"

#define MOST_IN_WALK MAX_OPERANDS / 2 // so that a loop can carry what they hand over

struct cutter {
    const struct strip_mine *s;
    int axis;
    int64_t size;
    struct replace replace;
    // The walk that gathers.
    struct op *waiting[MOST_IN_WALK];
    int n_waiting;
    int *seen, round; // by value id: the last search that has met it
    // Its loop.
    struct builder b;
    struct value *offset;
    struct value **strips; // by value id
};

// ---- What operations do along an axis ----------------------------------------------------------------------------

bool strip_has_axis(const struct strip_mine *s, const struct value *v, int axis)
{
    if (v->id >= s->n_values || v->type->kind != TYPE_TILE)
        return false;
    for (int d = 0; d < v->type->rank; d++)
        if (axes_of(&s->facts.axes, v, d) == axis)
            return true;
    return false;
}

static bool any_has_axis(const struct strip_mine *s, int n, struct value *const *values, int axis)
{
    for (int i = 0; i < n; i++)
        if (strip_has_axis(s, values[i], axis))
            return true;
    return false;
}

// Elements are scattered in row-major order, which strips along any dimension but the slowest would change.
static bool scatters_in_order(const struct strip_mine *s, const struct op *op, int axis)
{
    for (int i = 0; i < op->n_operands; i++) {
        const struct value *v = op->operands[i];
        for (int d = 0; v->type->kind == TYPE_TILE && d < v->type->rank; d++) {
            if (axes_of(&s->facts.axes, v, d) == axis)
                break;
            if (v->type->dims[d] > 1)
                return false;
        }
    }
    return true;
}

enum part {
    PART_APART,  // does not have the axis
    PART_AGAIN,  // is made again for each strip
    PART_WAITED, // is done once for each strip, in a walk
    PART_WHOLE   // needs all of the axis at once
};

static enum part part_of(const struct strip_mine *s, const struct op *op, int axis)
{
    bool in = any_has_axis(s, op->n_operands, op->operands, axis);
    bool out = any_has_axis(s, op->n_results, op->results, axis);
    if (!in && !out)
        return PART_APART;
    if (opcode_is_scalar(op->code))
        return PART_AGAIN;
    switch (op->code) {
    case OP_STORE:
    case OP_ATOMIC:
        return PART_WAITED;
    case OP_SCATTER:
        return scatters_in_order(s, op, axis) ? PART_WAITED : PART_WHOLE;
    case OP_REDUCE:
    case OP_DOT:
        return out ? PART_AGAIN : PART_WAITED;
    case OP_LOAD:
    case OP_GATHER:
        return s->facts.written[view_root(op->operands[0])->id] ? PART_WHOLE : PART_AGAIN;
    case OP_RESHAPE:
        return reshape_is_trivial(op->operands[0]->type, op->results[0]->type) ? PART_AGAIN : PART_WHOLE;
    case OP_CONSTANT:
    case OP_IOTA:
    case OP_CAST:
    case OP_BITCAST:
    case OP_BROADCAST:
    case OP_TRANSPOSE:
        return PART_AGAIN;
    default: // scans; what loops carry and conditions choose
        return PART_WHOLE;
    }
}

struct findings {
    bool whole, reduces, multiplies; // is there something that needs it all; what sums; a dot that is made again
};

static void look(const struct strip_mine *s, const struct block *b, int axis, struct findings *f)
{
    for (const struct op *op = b->first; op; op = op->next) {
        enum part part = part_of(s, op, axis);
        f->whole |= part == PART_WHOLE;
        f->reduces |= part == PART_WAITED && op->n_results;
        f->multiplies |= part == PART_AGAIN && op->code == OP_DOT;
        for (int i = 0; i < op->n_blocks; i++)
            look(s, op->blocks[i], axis, f);
    }
}

bool strip_can_cut(const struct strip_mine *s, int axis, bool *reduces)
{
    struct findings f = {0};
    look(s, s->k->body, axis, &f);
    *reduces = f.reduces;
    return !f.whole && !(f.reduces && f.multiplies); // a product costs too much to be made in each of several walks
}

// ---- Strips ------------------------------------------------------------------------------------------------------

struct type *strip_type(const struct strip_mine *s, const struct value *v, int axis, int64_t size)
{
    dim dims[MAX_RANK];
    for (int d = 0; d < v->type->rank; d++)
        dims[d] = axes_of(&s->facts.axes, v, d) == axis ? size : v->type->dims[d];
    return type_tile(s->k->module, v->type->dtype, v->type->rank, dims);
}

// The indices of a load or store of the tile, from operand `first` on, moved to the strip.
static void move_indices(struct cutter *c, const struct value *tile, int first, struct value **operands)
{
    for (int d = 0; tile->type->kind == TYPE_TILE && d < tile->type->rank; d++)
        if (axes_of(&c->s->facts.axes, tile, d) == c->axis)
            operands[first + d] = build_binary(&c->b, OP_ADD, operands[first + d], c->offset);
}

static struct value *strip_of(struct cutter *c, struct value *v)
{
    if (!strip_has_axis(c->s, v, c->axis))
        return replace_find(&c->replace, v);
    if (c->strips[v->id])
        return c->strips[v->id];
    struct op *op = v->def;
    struct value *operands[MAX_OPERANDS];
    for (int i = 0; i < op->n_operands; i++)
        operands[i] = strip_of(c, op->operands[i]);
    if (op->code == OP_LOAD)
        move_indices(c, v, 1, operands);
    struct type *type = strip_type(c->s, v, c->axis, c->size);
    c->b.loc = op->loc;
    struct value *strip = build_value(&c->b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, type);
    if (op->code == OP_IOTA && axes_of(&c->s->facts.axes, v, (int)op_int(op, ATTR_AXIS, 0)) == c->axis)
        strip = build_binary(&c->b, OP_ADD, strip, build_cast(&c->b, v->type->dtype, c->offset));
    strip->name = v->name;
    return c->strips[v->id] = strip;
}

// What a reduction or dot starts from.
static struct value *initial(struct cutter *c, const struct op *op)
{
    if (op->code == OP_DOT)
        return replace_find(&c->replace, op->operands[2]);
    return build_identity(&c->b, op_attr(op, ATTR_COMBINE)->opcode, op->results[0]->type);
}

// One strip's part of what is waited for; the sum so far becomes the next. Returns that, NULL if there is none.
static struct value *strip_step(struct cutter *c, const struct op *op, struct value *sum)
{
    struct value *operands[MAX_OPERANDS];
    for (int i = 0; i < op->n_operands; i++)
        operands[i] = i == 2 && op->code == OP_DOT ? sum : strip_of(c, op->operands[i]);
    c->b.loc = op->loc;
    if (op->code == OP_STORE)
        move_indices(c, op->operands[0], 2, operands);
    if (op->code == OP_REDUCE && op->n_operands > 1) // the first positions of the axis: of this strip that many less
        operands[1] = build_binary(&c->b, OP_SUB, operands[1], c->offset);
    struct op *part = build_op(&c->b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, op->n_results, NULL);
    if (op->code == OP_REDUCE)
        return build_binary(&c->b, op_attr(op, ATTR_COMBINE)->opcode, sum, part->results[0]);
    return op->n_results ? part->results[0] : NULL;
}

// Positions of the axis that something observes.
static struct value *trip(struct cutter *c)
{
    const struct clip *clip = &c->s->facts.clip[c->axis];
    struct value *whole = build_index(&c->b, c->s->facts.axes.size[c->axis]);
    if (!clip->known)
        return whole;
    struct value *bound = clip->bound ? replace_find(&c->replace, clip->bound) : build_index(&c->b, clip->constant);
    if (clip->base)
        bound = build_binary(&c->b, OP_SUB, bound, replace_find(&c->replace, clip->base));
    return build_binary(&c->b, OP_MIN, bound, whole);
}

// Makes the loop of what has gathered, in front of `before`, or at the block's end.
static void walk_strips(struct cutter *c, struct block *block, struct op *before)
{
    struct value *sums[MOST_IN_WALK];
    int n_sums = 0, next = 0;
    if (!c->n_waiting)
        return;
    c->b = (struct builder){
        .function = c->s->k, .block = block, .before = before, .loc = c->waiting[0]->loc, .diags = c->s->c->diags};
    for (int i = 0; i < c->n_waiting; i++)
        if (c->waiting[i]->n_results)
            sums[n_sums++] = initial(c, c->waiting[i]);
    struct op *loop = build_for(&c->b, build_index(&c->b, 0), trip(c), build_index(&c->b, c->size), n_sums, sums);
    c->offset = loop->blocks[0]->args[0];
    c->strips = ARENA_ARRAY(c->s->scratch, struct value *, c->s->n_values);
    for (int i = 0; i < c->n_waiting; i++) {
        struct op *op = c->waiting[i];
        struct value *sum = strip_step(c, op, op->n_results ? loop->blocks[0]->args[1 + next] : NULL);
        if (sum)
            sums[next++] = sum;
    }
    build_yield(&c->b, n_sums, sums);
    build_end(&c->b, loop);
    next = 0;
    for (int i = 0; i < c->n_waiting; i++) {
        if (c->waiting[i]->n_results)
            replace_set(&c->replace, c->waiting[i]->results[0], loop->results[next++]);
        op_remove(c->waiting[i]);
    }
    c->n_waiting = 0;
}

// ---- Blocks ------------------------------------------------------------------------------------------------------

// Whether a value is computed from what the walk is to make.
static bool waits_for(struct cutter *c, const struct value *v)
{
    if (v->id >= c->s->n_values || c->seen[v->id] == c->round)
        return false;
    c->seen[v->id] = c->round;
    for (int i = 0; i < c->n_waiting; i++)
        if (v->def == c->waiting[i])
            return true;
    for (int i = 0; strip_has_axis(c->s, v, c->axis) && i < v->def->n_operands; i++)
        if (waits_for(c, v->def->operands[i]))
            return true;
    return false;
}

static bool needs_walk(struct cutter *c, const struct op *op)
{
    c->round++;
    for (int i = 0; i < op->n_operands; i++)
        if (waits_for(c, op->operands[i]))
            return true;
    return false;
}

// Whether an operation may go in front of the walk, which stands before it.
static bool moves_freely(const struct cutter *c, const struct op *op)
{
    if (op_info[op->code].effect == EFFECT_READ)
        return !c->s->facts.written[view_root(op->operands[0])->id];
    return op_info[op->code].effect == EFFECT_PURE;
}

static bool writes_again(const struct cutter *c, const struct op *op)
{
    for (int i = 0; !op->n_results && i < c->n_waiting; i++)
        if (!c->waiting[i]->n_results && view_root(c->waiting[i]->operands[1]) == view_root(op->operands[1]))
            return true;
    return false;
}

static void cut_block(struct cutter *c, struct block *block)
{
    struct op *end = block_terminator(block);
    for (struct op *op = block->first, *next; op && op != end; op = next) {
        next = op->next;
        enum part part = part_of(c->s, op, c->axis);
        if (part == PART_AGAIN)
            continue;
        if (part == PART_WAITED) {
            if (c->n_waiting == MOST_IN_WALK || needs_walk(c, op) || writes_again(c, op))
                walk_strips(c, block, op);
            c->waiting[c->n_waiting++] = op;
            continue;
        }
        if (!moves_freely(c, op) || needs_walk(c, op))
            walk_strips(c, block, op);
        replace_operands(&c->replace, op);
        for (int i = 0; i < op->n_blocks; i++)
            cut_block(c, op->blocks[i]);
    }
    walk_strips(c, block, end);
    if (end)
        replace_operands(&c->replace, end);
}

// What was made again is not needed where it was. Only such operations have the axis still.
static void remove_whole(struct cutter *c, struct block *block)
{
    for (struct op *op = block->first, *next; op; op = next) {
        next = op->next;
        for (int i = 0; i < op->n_blocks; i++)
            remove_whole(c, op->blocks[i]);
        if (part_of(c->s, op, c->axis) == PART_AGAIN)
            op_remove(op);
    }
}

void strip_cut(struct strip_mine *s, int axis, int64_t size)
{
    struct cutter c = {.s = s, .axis = axis, .size = size, .seen = ARENA_ARRAY(s->scratch, int, s->n_values)};
    replace_init(&c.replace, s->scratch, s->k);
    cut_block(&c, s->k->body);
    remove_whole(&c, s->k->body);
}
