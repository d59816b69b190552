// strip-mine: tiles that a block's registers cannot hold are walked strip by strip along an axis. For GPUs.
//
//   %a = load %x[%r, 0] : tile<16x65536xf32>     =>    %top = for %o = 0 to min(N, 65536) step 1024 with (%t = -inf) {
//   %top = reduce max %a, 1 count N                      %a = load %x[%r, %o] : tile<16x1024xf32>
//   %d = sub %a, %top                                    %m = reduce max %a, 1 count N - %o
//   store %d, %y[%r, 0]                                  %u = max %t, %m
//                                                        yield %u
//                                                      }
//                                                      for %o = 0 to min(N, 65536) step 1024 {
//                                                        %a = load %x[%r, %o] : tile<16x1024xf32>
//                                                        %d = sub %a, %top
//                                                        store %d, %y[%r, %o]
//                                                      }
//
// Reductions and dots along the axis become loops that carry the sum so far; what is computed element by element is
// made again in every loop, loads included, for there is no memory to keep it in. Loops end where the axis is not
// observed any more (shape_bounds.c), so a short row in a long tile costs a short walk. strip_mine_cut.c does that, for
// one axis.
//
// Here the axis and its strips are chosen. Types are changed for a trial, warps and layouts foreseen, and the registers
// that live at once, while a tile of the axis does, estimated as shaping will see them (shape_gpu_pressure.c). Of the
// axes where strips fit, the one is taken that needs the fewest of them; one that is reduced along counts twice, for it
// is walked again. Where no axis does alone, the one that helps most is cut, and then another.
//
// Left alone: axes of tiles that loops carry or conditions choose, and of loads from memory that the kernel writes;
// kernels in which a tile holds one axis twice; and sizes that are no powers of two, which shape-gpu reports.
#include "passes/strip_mine.h"

#include "passes/shape_gpu.h"

// ---- Estimates ---------------------------------------------------------------------------------------------------

// An axis: the tiles that have it.
struct members {
    int n;
    struct value **tiles;
    struct type **types; // theirs, while others are tried
    bool *among;         // by value id: whether it is one
};

struct trial {
    int axis;
    int64_t size, cost, pressure;
    bool fits;
};

static void add_member(const struct strip_mine *s, struct members *m, struct value *v, int axis)
{
    if (!strip_has_axis(s, v, axis))
        return;
    m->among[v->id] = true;
    m->types[m->n] = v->type;
    m->tiles[m->n++] = v;
}

static void add_members(const struct strip_mine *s, struct members *m, const struct block *b, int axis)
{
    for (int i = 0; i < b->n_args; i++)
        add_member(s, m, b->args[i], axis);
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++)
            add_member(s, m, op->results[i], axis);
        for (int i = 0; i < op->n_blocks; i++)
            add_members(s, m, op->blocks[i], axis);
    }
}

// Seven eighths of the registers: the rest is for addresses, indices and masks.
static void estimate(const struct strip_mine *s, const bool *among, struct trial *t)
{
    struct gpu_shaper g;
    const struct op *where;
    gpu_begin(&g, s->k, s->c);
    gpu_foresee(&g);
    t->pressure = gpu_pressure(&g, among, &where);
    t->fits = t->pressure * 8 <= gpu_thread_registers(g.warps) * 7;
}

// As if the members were strips. Only where it matters: while one of them lives.
static void try_strips(const struct strip_mine *s, const struct members *m, struct trial *t)
{
    for (int i = 0; i < m->n; i++)
        m->tiles[i]->type = strip_type(s, m->tiles[i], t->axis, t->size);
    estimate(s, m->among, t);
    for (int i = 0; i < m->n; i++)
        m->tiles[i]->type = m->types[i];
}

// ---- Choice ------------------------------------------------------------------------------------------------------

static int64_t observed(const struct strip_mine *s, int axis)
{
    const struct clip *c = &s->facts.clip[axis];
    int64_t size = s->facts.axes.size[axis];
    return c->known && !c->bound && !c->base && c->constant < size ? c->constant : size;
}

static bool better(const struct trial *t, const struct trial *than)
{
    if (t->fits != than->fits)
        return t->fits;
    return t->fits ? t->cost < than->cost : t->pressure < than->pressure;
}

// The largest strips of an axis that fit; failing that, those that take the fewest registers, if a quarter less.
static void try_axis(const struct strip_mine *s, int axis, struct trial *best)
{
    bool reduces;
    int64_t positions = observed(s, axis);
    if (!strip_can_cut(s, axis, &reduces))
        return;
    struct members m = {.tiles = ARENA_ARRAY(s->scratch, struct value *, s->k->n_values),
                        .types = ARENA_ARRAY(s->scratch, struct type *, s->k->n_values),
                        .among = ARENA_ARRAY(s->scratch, bool, s->k->n_values)};
    add_members(s, &m, s->k->body, axis);
    struct trial whole = {.axis = axis, .size = s->facts.axes.size[axis]};
    try_strips(s, &m, &whole);
    int64_t size = whole.size / 2;
    while (size / 2 >= positions && size > 1)
        size /= 2;
    for (bool fits = whole.fits; size >= 1 && !fits; size /= 2) {
        int64_t strips = positions > size ? (positions + size - 1) / size : 1;
        struct trial t = {.axis = axis, .size = size, .cost = strips > 1 && reduces ? 2 * strips : strips};
        try_strips(s, &m, &t);
        fits = t.fits;
        if ((fits || t.pressure * 4 <= whole.pressure * 3) && better(&t, best))
            *best = t;
    }
}

// What is known of the kernel; false if its axes cannot be told apart.
static bool know(struct strip_mine *s)
{
    struct function *k = s->k;
    struct axes_conflict conflict;
    s->facts = (struct shaper){.m = k->module, .old = k, .c = s->c, .scratch = s->scratch, .target = s->c->target};
    if (!axes_find(s->scratch, k, &s->facts.axes, &conflict))
        return false;
    s->facts.window = ARENA_ARRAY(s->scratch, struct window, s->facts.axes.n + 1);
    s->facts.clip = ARENA_ARRAY(s->scratch, struct clip, s->facts.axes.n + 1);
    shape_find_written(&s->facts);
    s->n_values = k->n_values;
    bounds_find_clips(&s->facts);
    return true;
}

// Cuts one axis, if that helps.
static bool cut_once(struct strip_mine *s)
{
    struct trial as_is = {.axis = AXIS_NONE}, best = {.axis = AXIS_NONE, .pressure = INT64_MAX};
    estimate(s, NULL, &as_is);
    if (as_is.fits || !know(s))
        return false;
    for (int axis = 0; axis < s->facts.axes.n; axis++)
        if (s->facts.axes.parent[axis] == axis && s->facts.axes.size[axis] > 1)
            try_axis(s, axis, &best);
    if (best.axis == AXIS_NONE)
        return false;
    strip_cut(s, best.axis, best.size);
    return true;
}

static bool has_layouts(const struct value *v)
{
    const struct type *t = v->type;
    if (t->kind != TYPE_TILE)
        return true;
    for (int d = 0; d < t->rank; d++)
        if (t->dims[d] & (t->dims[d] - 1))
            return false;
    return t->rank <= LAYOUT_MAX_RANK;
}

static bool all_have_layouts(const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++)
            if (!has_layouts(op->results[i]))
                return false;
        for (int i = 0; i < op->n_blocks; i++)
            if (!all_have_layouts(op->blocks[i]))
                return false;
    }
    return true;
}

bool pass_strip_mine(struct module *m, struct pass_context *c)
{
    bool progress = false;
    if (c->target->kind != TARGET_KIND_NVPTX)
        return false;
    for (struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != FUNCTION_KERNEL || gpu_is_shaped(k->body) || !all_have_layouts(k->body))
            continue;
        struct strip_mine s = {.k = k, .c = c, .scratch = c->scratch};
        while (cut_once(&s))
            progress = true;
    }
    return progress;
}
