// shape: tiles of any size -> loops over tiles that fit in registers, for CPUs.
//
//   before   %d = dot "mk,kn->mn" %x, %y, %s : tile<128x128xf32>          (inside: for %k = 0 to K step 32)
//            store %d, %c[%m, %n]
//   after    for %j = 0 to 128 step 64 {
//              (B's panel of 64 columns is copied to scratch)
//              for %i = 0 to 126 step 6 {
//                %acc = for %k = 0 to K step 32 with (%s = %zero) { for %l ... dot : tile<6x64xf32, v1x16> }
//                store %acc, %c[%m + %i, %n + %j]
//              }
//              (the rest: 2 rows)
//            }
//
// A kernel's dimensions are sorted into axes (axes.h). Operations that something waits for (stores, dots, reductions)
// are anchors; all others are computed where an anchor needs them. Anchors that may share loops form a group
// (shape_group.c), each group becomes one nest (shape_nest.c, shape_leaf.c). Values that pass from one group to
// another, and values that a loop carries when the loop stays outside of the groups, lie in scratch (shape_place.c).
// Copies of a dot's factors are in shape_pack.c. Positions of an axis that no store keeps are not computed, and
// accesses that are proven to be in bounds say so (shape_bounds.c).
//
// The result has a register layout in every tile type: `s`, one scalar an element, or `v1x16`, vectors of 16 along
// dimension 1. It means the same as before, and the same interpreter runs it.
#include "passes/shape.h"

#include <string.h>

// ---- Bindings --------------------------------------------------------------------------------------------------

void shape_bind(struct shaper *s, const struct value *old, struct binding b)
{
    struct undo *u = ARENA_NEW(s->scratch, struct undo);
    *u = (struct undo){old->id, s->bind[old->id], s->trail};
    s->trail = u;
    s->bind[old->id] = b;
}

struct undo *shape_mark(struct shaper *s)
{
    return s->trail;
}

void shape_rollback(struct shaper *s, struct undo *mark)
{
    for (; s->trail != mark; s->trail = s->trail->next)
        s->bind[s->trail->id] = s->trail->before;
}

void shape_fail(struct shaper *s, struct loc loc, const char *text)
{
    if (!s->failed)
        diag_error(s->c->diags, loc, "%s", text);
    s->failed = true;
}

struct value *shape_scalar(struct shaper *s, struct value *old)
{
    if (old->symbol >= 0)
        return function_symbol(s->new, old->symbol);
    if (s->bind[old->id].kind == BIND_DIRECT)
        return s->bind[old->id].value;
    shape_fail(s, old->def ? old->def->loc : s->old->loc, "internal error: a scalar is used before it is made");
    return build_index(&s->b, 0);
}

struct value *shape_add(struct shaper *s, struct value *a, struct value *b)
{
    return !a ? b : !b ? a : build_binary(&s->b, OP_ADD, a, b);
}

struct value *shape_sub(struct shaper *s, struct value *a, struct value *b)
{
    if (!b || a == b)
        return a == b ? NULL : a;
    return build_binary(&s->b, OP_SUB, a ? a : build_index(&s->b, 0), b);
}

bool shape_is_lazy(const struct shaper *s, const struct op *op)
{
    if (opcode_is_scalar(op->code))
        return true;
    switch (op->code) {
    case OP_CONSTANT:
    case OP_IOTA:
    case OP_CAST:
    case OP_BITCAST:
    case OP_BROADCAST:
    case OP_RESHAPE:
    case OP_TRANSPOSE:
        return true;
    case OP_LOAD:
    case OP_GATHER:
        return !s->written[view_root(op->operands[0])->id] || s->settled[op->results[0]->id] != NULL;
    default:
        return false;
    }
}

// ---- Scalars ---------------------------------------------------------------------------------------------------

static bool has_tile(const struct op *op)
{
    for (int i = 0; i < op->n_operands; i++)
        if (op->operands[i]->type->kind == TYPE_TILE)
            return true;
    return op->n_results && op->results[0]->type->kind == TYPE_TILE;
}

static void clone_scalar(struct shaper *s, struct op *op)
{
    struct value *operands[MAX_OPERANDS];
    for (int i = 0; i < op->n_operands; i++)
        operands[i] = shape_scalar(s, op->operands[i]);
    s->b.loc = op->loc;
    struct type *t = op->n_results ? op->results[0]->type : NULL;
    struct op *clone = build_op(&s->b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, op->n_results, &t);
    if (!op->n_results)
        return;
    clone->results[0]->name = op->results[0]->name;
    shape_bind(s, op->results[0], (struct binding){BIND_DIRECT, clone->results[0], NULL});
}

static bool needs_no_shaping(const struct op *op)
{
    return op->code == OP_PREFETCH || (!op->n_blocks && op->n_results == 1 && !has_tile(op));
}

void shape_clone_scalars(struct shaper *s, struct block *body)
{
    for (struct op *op = body->first; op; op = op->next)
        if (needs_no_shaping(op))
            clone_scalar(s, op);
}

// ---- Blocks ----------------------------------------------------------------------------------------------------

static void shape_block(struct shaper *s, struct block *block, int n_exports, const struct anchor *exports);

static void run_groups(struct shaper *s, struct op *first, struct op *last, int n_exports, const struct anchor *exports)
{
    struct group *groups;
    int n;
    group_block(s, first, last, n_exports, exports, &n, &groups);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < groups[i].n_anchors; j++)
            group_cone(s, &groups[i].anchors[j]);
    for (int i = 0; i < n && !s->failed; i++) {
        // A value that a place was already made for by an earlier group is read from it.
        for (int j = 0; j < groups[i].n_anchors; j++)
            group_cone(s, &groups[i].anchors[j]);
        s->n_later = n - 1 - i;
        s->later = groups + i + 1;
        leaf_group(s, &groups[i]);
    }
}

static bool cone_holds(struct shaper *s, struct value *of, const struct value *v)
{
    struct anchor a = {.kind = ANCHOR_EXPORT, .value = of};
    group_cone(s, &a);
    return a.cone[v->id];
}

// Puts the tiles that a block hands over into their places. One that overwrites what others still read goes through a
// second place.
static void hand_over(struct shaper *s, struct block *block, int n, const struct place *const *places,
                      struct value *const *args)
{
    struct op *end = block_terminator(block);
    struct anchor exports[MAX_OPERANDS], again[MAX_OPERANDS];
    int n_exports = 0, n_again = 0;
    for (int i = 0; i < n; i++) {
        struct value *y = end->operands[i];
        if (y->type->kind != TYPE_TILE || (args && y == args[i]))
            continue;
        bool read = false;
        for (int j = 0; args && j < n; j++)
            read |= j != i && end->operands[j]->type->kind == TYPE_TILE && cone_holds(s, end->operands[j], args[i]);
        struct anchor a = {.kind = ANCHOR_EXPORT, .value = y, .place = places[i]};
        if (read) {
            again[n_again++] = a;
            a.place = place_create(s, y, 0, NULL);
        }
        exports[n_exports++] = a;
    }
    shape_block(s, block, n_exports, exports);
    if (n_again)
        run_groups(s, NULL, NULL, n_again, again);
}

// The scalars that a block hands over, after its tiles.
static void yield_scalars(struct shaper *s, struct block *block)
{
    struct op *end = block_terminator(block);
    struct value *values[MAX_OPERANDS];
    int n = 0;
    for (int i = 0; i < end->n_operands; i++)
        if (end->operands[i]->type->kind != TYPE_TILE)
            values[n++] = shape_scalar(s, end->operands[i]);
    build_yield(&s->b, n, values);
}

static void bind_results(struct shaper *s, struct op *old, struct op *new, const struct place *const *places)
{
    int scalars = 0;
    for (int i = 0; i < old->n_results; i++)
        if (old->results[i]->type->kind == TYPE_TILE)
            shape_bind(s, old->results[i], (struct binding){BIND_MEMORY, NULL, places[i]});
        else
            shape_bind(s, old->results[i], (struct binding){BIND_DIRECT, new->results[scalars++], NULL});
}

static void bind_args(struct shaper *s, struct block *old, int first, struct block *new,
                      const struct place *const *places)
{
    int scalars = first;
    for (int i = first; i < old->n_args; i++)
        if (old->args[i]->type->kind == TYPE_TILE)
            shape_bind(s, old->args[i], (struct binding){BIND_MEMORY, NULL, places[i - first]});
        else
            shape_bind(s, old->args[i], (struct binding){BIND_DIRECT, new->args[scalars++], NULL});
}

// Carried tiles start in their places. Returns the number of carried scalars.
static int enter_carried(struct shaper *s, struct op *op, int first, const struct place **places,
                         struct value **scalars)
{
    struct anchor exports[MAX_OPERANDS];
    int n_exports = 0, n = 0;
    for (int i = 0; i < op->n_results; i++) {
        struct value *v = op->operands[first + i];
        if (v->type->kind != TYPE_TILE) {
            scalars[n++] = shape_scalar(s, v);
            continue;
        }
        places[i] = place_create(s, op->results[i], 0, NULL);
        exports[n_exports++] = (struct anchor){.kind = ANCHOR_EXPORT, .value = v, .place = places[i]};
    }
    if (n_exports) {
        struct undo *mark = shape_mark(s);
        run_groups(s, NULL, NULL, n_exports, exports);
        shape_rollback(s, mark); // the initial value itself may live on elsewhere
    }
    return n;
}

static void shape_for(struct shaper *s, struct op *op)
{
    const struct place *places[MAX_OPERANDS];
    struct value *scalars[MAX_OPERANDS];
    int n = enter_carried(s, op, 3, places, scalars);
    s->b.loc = op->loc;
    struct op *loop = build_for(&s->b, shape_scalar(s, op->operands[0]), shape_scalar(s, op->operands[1]),
                                shape_scalar(s, op->operands[2]), n, scalars);
    struct undo *mark = shape_mark(s);
    shape_bind(s, op->blocks[0]->args[0], (struct binding){BIND_DIRECT, loop->blocks[0]->args[0], NULL});
    bind_args(s, op->blocks[0], 1, loop->blocks[0], places);
    hand_over(s, op->blocks[0], op->n_results, places, op->blocks[0]->args + 1);
    yield_scalars(s, op->blocks[0]);
    shape_rollback(s, mark);
    build_end(&s->b, loop);
    bind_results(s, op, loop, places);
}

static void shape_while(struct shaper *s, struct op *op)
{
    const struct place *places[MAX_OPERANDS];
    struct value *scalars[MAX_OPERANDS];
    struct type *types[MAX_OPERANDS];
    int n = enter_carried(s, op, 0, places, scalars);
    for (int i = 0; i < n; i++)
        types[i] = scalars[i]->type;
    s->b.loc = op->loc;
    struct op *loop = build_op(&s->b, OP_WHILE, n, scalars, 0, NULL, n, types);
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < n; j++)
            block_add_arg(s->new, loop->blocks[i], NULL, types[j]);
        build_enter(&s->b, loop->blocks[i]);
        struct undo *mark = shape_mark(s);
        bind_args(s, op->blocks[i], 0, loop->blocks[i], places);
        if (i == 0) {
            shape_block(s, op->blocks[0], 0, NULL);
            struct value *c = shape_scalar(s, block_terminator(op->blocks[0])->operands[0]);
            build_op(&s->b, OP_CONDITION, 1, &c, 0, NULL, 0, NULL);
        } else {
            hand_over(s, op->blocks[1], op->n_results, places, op->blocks[1]->args);
            yield_scalars(s, op->blocks[1]);
        }
        shape_rollback(s, mark);
    }
    build_end(&s->b, loop);
    bind_results(s, op, loop, places);
}

static void shape_if(struct shaper *s, struct op *op)
{
    const struct place *places[MAX_OPERANDS];
    struct type *types[MAX_OPERANDS];
    int n = 0;
    for (int i = 0; i < op->n_results; i++) {
        if (op->results[i]->type->kind == TYPE_TILE)
            places[i] = place_create(s, op->results[i], 0, NULL);
        else
            types[n++] = op->results[i]->type;
    }
    s->b.loc = op->loc;
    struct op *branch = build_if(&s->b, shape_scalar(s, op->operands[0]), n, types);
    for (int i = 0; i < 2; i++) {
        if (!op->blocks[i]->first)
            continue;
        build_enter(&s->b, branch->blocks[i]);
        struct undo *mark = shape_mark(s);
        hand_over(s, op->blocks[i], op->n_results, places, NULL);
        yield_scalars(s, op->blocks[i]);
        shape_rollback(s, mark);
    }
    build_end(&s->b, branch);
    bind_results(s, op, branch, places);
}

static void shape_once(struct shaper *s, struct op *op)
{
    struct value *keys[MAX_OPERANDS];
    for (int i = 0; i < op->n_operands; i++)
        keys[i] = shape_scalar(s, op->operands[i]);
    s->b.loc = op->loc;
    struct op *once = build_op(&s->b, OP_ONCE, op->n_operands, keys, 0, NULL, 0, NULL);
    build_enter(&s->b, once->blocks[0]);
    struct undo *mark = shape_mark(s);
    shape_block(s, op->blocks[0], 0, NULL);
    shape_rollback(s, mark);
    build_yield(&s->b, 0, NULL);
    build_end(&s->b, once);
}

// Whether an operation ends a stretch that is grouped together.
static bool is_barrier(struct shaper *s, struct op *op)
{
    if (op->n_blocks)
        return !group_loop_fuses(s, op) || !op->n_results || op->results[0]->type->kind != TYPE_TILE;
    // A scalar read from memory that the kernel writes keeps its place among the effects.
    return op->code == OP_LOAD && !has_tile(op) && !shape_is_lazy(s, op);
}

static void shape_block(struct shaper *s, struct block *block, int n_exports, const struct anchor *exports)
{
    struct op *end = block_terminator(block), *op = block->first;
    while (!s->failed) {
        struct op *first = op;
        for (; op && op != end && !is_barrier(s, op); op = op->next)
            if (needs_no_shaping(op))
                clone_scalar(s, op);
        bool last = !op || op == end;
        run_groups(s, first, op, last ? n_exports : 0, exports);
        if (last)
            return;
        if (op->code == OP_FOR)
            shape_for(s, op);
        else if (op->code == OP_WHILE)
            shape_while(s, op);
        else if (op->code == OP_IF)
            shape_if(s, op);
        else if (op->code == OP_ONCE)
            shape_once(s, op);
        else
            clone_scalar(s, op);
        op = op->next;
    }
}

// ---- Kernels ---------------------------------------------------------------------------------------------------

static void find_written(struct shaper *s, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op_info[op->code].effect == EFFECT_WRITE)
            s->written[view_root(op->operands[1])->id] = true;
        for (int i = 0; i < op->n_blocks; i++)
            find_written(s, op->blocks[i]);
    }
}

static bool writes(const struct op *op, const struct value *root)
{
    if (op_info[op->code].effect == EFFECT_WRITE && view_root(op->operands[1]) == root)
        return true;
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            if (writes(inner, root))
                return true;
    return false;
}

// Whether nothing that comes after an operation writes to the root. What loops around it repeat does not count: a loop
// that writes is never made one nest with what it reads (group_loop_fuses).
static bool is_settled(const struct op *op, const struct value *root)
{
    for (const struct op *at = op; at; at = at->block->parent)
        for (const struct op *later = at->next; later; later = later->next)
            if (writes(later, root))
                return false;
    return true;
}

static void find_settled(struct shaper *s, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        const struct value *root = op->code == OP_LOAD ? view_root(op->operands[0]) : NULL;
        if (root && op->results[0]->type->kind == TYPE_TILE && s->written[root->id] && is_settled(op, root))
            s->settled[op->results[0]->id] = root;
        for (int i = 0; i < op->n_blocks; i++)
            find_settled(s, op->blocks[i]);
    }
}

void shape_find_written(struct shaper *s)
{
    int n_values = s->old->n_values + s->m->n_symbols + 1;
    s->written = ARENA_ARRAY(s->scratch, bool, n_values);
    s->settled = ARENA_ARRAY(s->scratch, const struct value *, n_values);
    find_written(s, s->old->body);
    find_settled(s, s->old->body);
}

static void take_over(struct function *old, struct function *new)
{
    old->params = new->params;
    old->n_params = new->n_params;
    old->symbols = new->symbols;
    old->n_symbols = new->n_symbols;
    old->grid = new->grid;
    old->body = new->body;
    old->n_values = new->n_values;
    for (struct block *b = old->grid; b; b = b == old->grid ? old->body : NULL)
        b->parent = NULL;
}

static bool shape_kernel(struct function *k, struct pass_context *c)
{
    struct function *next = k->next, *last = k->module->last_function;
    struct shaper s = {.m = k->module, .old = k, .c = c, .scratch = c->scratch, .target = c->target};
    struct axes_conflict conflict;
    if (!axes_find(c->scratch, k, &s.axes, &conflict)) {
        diag_error(c->diags, conflict.op->loc, "a tile holds one axis twice; run the pass sever first");
        return false;
    }
    s.new = function_create(k->module, k->name, k->loc);
    k->module->last_function = last; // the new one replaces k; it is not another
    if (last)
        last->next = NULL;
    k->next = next;
    s.b = (struct builder){.function = s.new, .block = s.new->body, .diags = c->diags, .loc = k->loc};
    s.window = ARENA_ARRAY(c->scratch, struct window, s.axes.n + 1);
    s.clip = ARENA_ARRAY(c->scratch, struct clip, s.axes.n + 1);
    s.vector_axis = AXIS_NONE;
    s.lanes = 1;
    for (int i = 0; i < s.axes.n; i++)
        s.window[i].size = s.axes.size[i];
    // Symbols that the analysis asks for are made before the tables are sized.
    for (int i = 0; i < k->module->n_symbols; i++)
        if (i < k->n_symbols && k->symbols[i])
            function_symbol(s.new, i);
    s.bind = ARENA_ARRAY(c->scratch, struct binding, k->n_values + k->module->n_symbols + 1);
    for (int i = 0; i < k->n_params; i++) {
        struct value *p = function_add_param(s.new, k->params[i]->name, k->params[i]->type);
        shape_bind(&s, k->params[i], (struct binding){BIND_DIRECT, p, NULL});
    }
    s.new->grid = k->grid;
    shape_find_written(&s);
    bounds_find_clips(&s);
    // The grid reads the symbols of the new kernel.
    build_enter(&s.b, block_create(s.new, NULL));
    struct block *grid = s.b.block;
    shape_clone_scalars(&s, k->grid);
    yield_scalars(&s, k->grid);
    s.new->grid = grid;
    build_enter(&s.b, s.new->body);
    shape_block(&s, k->body, 0, NULL);
    if (s.failed || s.b.failed)
        return false;
    take_over(k, s.new);
    return true;
}

static bool is_shaped(const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++)
            if (op->results[i]->type->kind == TYPE_TILE)
                return op->results[i]->type->lanes > 0;
        for (int i = 0; i < op->n_blocks; i++)
            if (is_shaped(op->blocks[i]))
                return true;
    }
    return false;
}

bool pass_shape(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *k = m->first_function; k; k = k->next)
        if (k->kind == FUNCTION_KERNEL && !is_shaped(k->body))
            progress |= shape_kernel(k, c);
    return progress;
}
