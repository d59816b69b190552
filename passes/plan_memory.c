// plan-memory: gives every buffer of a host function a place in the arena, and the grid block the arena's size.
//
//     host @f(..) grid [0] {                          host @f(..) grid [512 * N] {
//       %a = buffer : view<Nx64xf32>                    %a = buffer 0 : view<Nx64xf32>
//       %b = buffer : view<Nx64xf32>                    %b = buffer (256 * N) : view<Nx64xf32>
//       %c = buffer : view<Nx32xf32>            =>      %c = buffer 0 : view<Nx32xf32>
//       launch "k" %x, %a                               launch "k" %x, %a
//       launch "k" %a, %b                               launch "k" %a, %b
//       launch "k" %b, %c                               launch "k" %b, %c
//
// A buffer is live from the first operation that uses it, or a view of it, to the last, counted through all blocks.
// What a loop uses and is not made in it lives through the whole loop; what is made in it, through a part of an
// iteration. The size of a buffer is a number times a unit, the part that depends on the inputs (N above). Buffers of
// the same unit share a region, whose size is a number of units: there memory is planned as for constant sizes, the
// largest buffer first, each in the smallest gap that it fits in while it is live (best fit; Pisarchyk and Lee:
// Efficient Memory Management for Deep Neural Net Inference, 2020, "greedy by size"). Before a region grows, the
// regions whose unit is provably not smaller are tried.
//
// Numbers are multiples of 64, so all places are, whatever the unit turns out to be: 700 * N bytes are 704 units of N.
// Where that would waste much, as for 4 * N bytes, the unit is a line of memory: 64 units of ceildiv(4 * N, 64).
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ir/dims.h"
#include "passes/pass.h"

#define ALIGNMENT 64
#define LARGE_ENOUGH 512           // numbers from here on may be rounded up
#define LARGEST (INT64_C(1) << 60) // bytes of one buffer, units of a region

struct buffer {
    struct op *op;
    int first, last; // positions of operations; first > last: never used
    int64_t units;   // how many
    dim unit, least; // least: what ALIGNMENT units make, or must make at least
    int region;
    int64_t offset; // in units of the region
};

// Memory of buffers with one unit.
struct region {
    dim unit, least;
    int64_t units;
    int n;
    struct buffer **buffers; // by offset
};

struct plan {
    struct function *f;
    struct module *m;
    struct pass_context *c;
    int n;
    struct buffer *buffers;
    int *buffer_of; // by value id: the buffer that a view is of; -1: none
    int position;   // of the operation that is being visited
    int n_regions;
    struct region *regions;
};

// ---- Live ranges -----------------------------------------------------------------------------------------------

static int count_buffers(const struct block *b, bool *unplanned)
{
    int n = 0;
    for (const struct op *op = b->first; op; op = op->next) {
        n += op->code == OP_BUFFER;
        *unplanned |= op->code == OP_BUFFER && !op->n_operands;
        for (int i = 0; i < op->n_blocks; i++)
            n += count_buffers(op->blocks[i], unplanned);
    }
    return n;
}

static void use(struct plan *p, const struct value *v)
{
    if (p->buffer_of[v->id] < 0)
        return;
    struct buffer *b = &p->buffers[p->buffer_of[v->id]];
    if (b->first > p->position)
        b->first = p->position;
    b->last = p->position;
}

static void visit_block(struct plan *p, const struct block *b);

static void visit_blocks(struct plan *p, const struct op *op)
{
    int start = p->position, n = p->n;
    for (int i = 0; i < op->n_blocks; i++)
        visit_block(p, op->blocks[i]);
    if (op->code != OP_FOR && op->code != OP_WHILE)
        return;
    for (int i = 0; i < n; i++) {
        struct buffer *b = &p->buffers[i];
        if (b->last < start) // not used in the loop
            continue;
        b->first = b->first < start ? b->first : start;
        b->last = p->position;
    }
}

static void visit(struct plan *p, struct op *op)
{
    if (op->code == OP_BUFFER) {
        p->buffer_of[op->results[0]->id] = p->n;
        p->buffers[p->n++] = (struct buffer){.op = op, .first = INT_MAX, .last = -1};
    }
    bool renames = op->code == OP_SUBVIEW || op->code == OP_WINDOW;
    if (renames)
        p->buffer_of[op->results[0]->id] = p->buffer_of[op->operands[0]->id];
    else
        for (int i = 0; i < op->n_operands; i++)
            use(p, op->operands[i]);
    visit_blocks(p, op);
}

static void visit_block(struct plan *p, const struct block *b)
{
    for (struct op *op = b->first; op; op = op->next) {
        visit(p, op);
        p->position++;
    }
}

// ---- Sizes -----------------------------------------------------------------------------------------------------

static dim not_negative(struct module *m, dim d)
{
    int64_t lo, hi;
    dims_range(m, d, &lo, &hi);
    return d == DIM_UNKNOWN || lo >= 0 ? d : dims_max(m, d, 0);
}

static dim bytes_of(struct module *m, const struct type *t)
{
    dim bytes = dtype_bytes(t->dtype), reach = 1; // of the last element, with strides
    for (int d = 0; d < t->rank; d++) {
        dim size = not_negative(m, t->dims[d]);
        bytes = dims_mul(m, bytes, size);
        if (t->strided)
            reach = dims_add(m, reach, dims_mul(m, not_negative(m, dims_sub(m, size, 1)), t->strides[d]));
    }
    return t->strided ? not_negative(m, dims_mul(m, dtype_bytes(t->dtype), reach)) : bytes;
}

static bool measure(struct plan *p, struct buffer *b)
{
    const struct type *t = b->op->results[0]->type;
    dim bytes = bytes_of(p->m, t);
    b->unit = dims_content(p->m, bytes, &b->units);
    if (b->unit == 0) {
        b->units = 0;
        b->unit = 1;
    } else if (!dim_is_symbol(b->unit) && b->unit != DIM_UNKNOWN) {
        b->units *= b->unit; // 1
        b->unit = 1;
    }
    bool unknown = false;
    for (int d = 0; d < t->rank; d++)
        unknown |= t->dims[d] == DIM_UNKNOWN || (t->strided && t->strides[d] == DIM_UNKNOWN);
    if (b->unit == DIM_UNKNOWN || b->units > LARGEST || dims_mul(p->m, b->unit, ALIGNMENT) == DIM_UNKNOWN) {
        diag_error(p->c->diags, b->op->loc, "buffer: the size of %s is %s", type_string(p->c->scratch, p->m, t),
                   unknown ? "not known" : "too large");
        return false;
    }
    b->least = dims_mul(p->m, b->unit, ALIGNMENT);
    if (dim_is_symbol(b->unit) && b->units % ALIGNMENT && b->units < LARGE_ENOUGH) {
        b->unit = dims_ceildiv(p->m, bytes, ALIGNMENT);
        b->units = ALIGNMENT;
        b->least = bytes;
    }
    if (b->last < 0) // nothing uses it
        b->units = 0;
    b->units = (b->units + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return true;
}

// ---- Placing ---------------------------------------------------------------------------------------------------

static bool live_together(const struct buffer *a, const struct buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

// The smallest gap below `end` that is free while b is live; -1: none. *after is where a gap without end begins.
static int64_t best_gap(const struct region *r, const struct buffer *b, int64_t *after)
{
    int64_t best = -1, best_size = INT64_MAX, free = 0;
    for (int i = 0; i < r->n; i++) {
        const struct buffer *o = r->buffers[i];
        if (!live_together(b, o))
            continue;
        if (o->offset - free >= b->units && o->offset - free < best_size) {
            best = free;
            best_size = o->offset - free;
        }
        if (o->offset + o->units > free)
            free = o->offset + o->units;
    }
    *after = free;
    if (r->units - free >= b->units && r->units - free < best_size)
        best = free;
    return best;
}

static void put(struct plan *p, int region, struct buffer *b, int64_t offset)
{
    struct region *r = &p->regions[region];
    b->region = region;
    b->offset = offset;
    if (offset + b->units > r->units)
        r->units = offset + b->units;
    int i = r->n++;
    for (; i > 0 && r->buffers[i - 1]->offset > offset; i--)
        r->buffers[i] = r->buffers[i - 1];
    r->buffers[i] = b;
}

// Whether a >= b for all sizes. Both are rounded up to units by the same steps, so it holds for the units as well.
static bool not_smaller(struct module *m, dim a, dim b)
{
    int64_t lo, hi;
    dim difference = dims_sub(m, a, b);
    if (difference == DIM_UNKNOWN)
        return false;
    dims_range(m, difference, &lo, &hi);
    return lo >= 0;
}

static int region_of(struct plan *p, dim unit, dim least)
{
    for (int i = 0; i < p->n_regions; i++)
        if (p->regions[i].unit == unit)
            return i;
    p->regions[p->n_regions] =
        (struct region){.unit = unit, .least = least, .buffers = ARENA_ARRAY(p->c->scratch, struct buffer *, p->n)};
    return p->n_regions++;
}

static bool place(struct plan *p, struct buffer *b)
{
    int own = region_of(p, b->unit, b->least);
    int64_t after, gap = best_gap(&p->regions[own], b, &after);
    if (gap >= 0) {
        put(p, own, b, gap);
        return true;
    }
    for (int i = 0; i < p->n_regions; i++) {
        int64_t end;
        if (i == own || !not_smaller(p->m, p->regions[i].least, b->least))
            continue;
        gap = best_gap(&p->regions[i], b, &end);
        if (gap >= 0) {
            put(p, i, b, gap);
            return true;
        }
    }
    if (after > LARGEST) {
        diag_error(p->c->diags, b->op->loc, "buffer: the buffers are too large to lie in one arena");
        return false;
    }
    put(p, own, b, after);
    return true;
}

// Larger units first, so that what fits in their regions is placed later; then larger numbers.
static int compare(const void *a, const void *b)
{
    const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;
    bool x_constant = !dim_is_symbol(x->unit), y_constant = !dim_is_symbol(y->unit);
    if (x_constant != y_constant)
        return x_constant - y_constant;
    if (x->units != y->units)
        return x->units < y->units ? 1 : -1;
    return x < y ? -1 : x > y;
}

// Moves units that are provably at least as large as others before them.
static void sort_by_unit(struct plan *p, struct buffer **order)
{
    for (int i = 1; i < p->n; i++)
        for (int j = i; j > 0; j--) {
            struct buffer *a = order[j - 1], *b = order[j];
            if (a->unit == b->unit || !not_smaller(p->m, b->least, a->least))
                break;
            order[j - 1] = b;
            order[j] = a;
        }
}

// ---- Writing ---------------------------------------------------------------------------------------------------

// Offsets, sums of the sizes of the regions before, and the arena's size.
static void write_plan(struct plan *p)
{
    struct function *f = p->f;
    dim *base = ARENA_ARRAY(p->c->scratch, dim, p->n_regions + 1);
    for (int i = 0; i < p->n_regions; i++)
        base[i + 1] = dims_add(p->m, base[i], dims_mul(p->m, p->regions[i].units, p->regions[i].unit));
    struct builder b = {.function = f, .block = f->body, .before = f->body->first, .loc = f->loc, .diags = p->c->diags};
    dim *offsets = ARENA_ARRAY(p->c->scratch, dim, p->n); // those that the body's start computes
    struct value **values = ARENA_ARRAY(p->c->scratch, struct value *, p->n);
    int n_offsets = 0;
    for (int i = 0; i < p->n; i++) {
        struct buffer *x = &p->buffers[i];
        const struct region *r = &p->regions[x->region];
        dim offset = dims_add(p->m, base[x->region], dims_mul(p->m, x->offset, r->unit));
        if (offset == DIM_UNKNOWN) {
            diag_error(b.diags, x->op->loc, "buffer: the buffers are too large to lie in one arena");
            return;
        }
        int at = 0;
        while (at < n_offsets && offsets[at] != offset)
            at++;
        if (at == n_offsets) {
            offsets[n_offsets] = offset;
            values[n_offsets++] = dims_build(&b, offset);
        }
        x->op->n_operands = 1;
        x->op->operands = ARENA_NEW(&p->m->arena, struct value *);
        x->op->operands[0] = values[at];
    }
    while (f->grid->last)
        op_remove(f->grid->last);
    b.block = f->grid;
    b.before = NULL;
    struct value *total = dims_build(&b, base[p->n_regions]);
    build_yield(&b, 1, &total);
}

static void tell(const struct plan *p)
{
    FILE *out = p->c->remarks;
    struct arena *a = p->c->scratch;
    fprintf(out, "memory of @%s: %d buffers\n%20s %20s  %-9s buffer\n", p->f->name, p->n, "offset", "bytes", "live");
    for (int i = 0; i < p->n; i++) {
        const struct buffer *b = &p->buffers[i];
        dim unit = p->regions[b->region].unit;
        const struct value *v = b->op->results[0];
        char *live = b->last < 0 ? "never" : arena_printf(a, "%d..%d", b->first, b->last);
        fprintf(out, "%20s %20s  %-9s %%%s : %s%s\n", dim_string(a, p->m, dims_mul(p->m, b->offset, unit)),
                dim_string(a, p->m, dims_mul(p->m, b->units, b->unit)), live,
                v->name ? v->name : arena_printf(a, "%d", v->id), type_string(a, p->m, v->type),
                b->region ? arena_printf(a, ", in region %d", b->region) : "");
    }
    for (int i = 0; i < p->n_regions; i++)
        fprintf(out, "region %d: %s bytes\n", i,
                dim_string(a, p->m, dims_mul(p->m, p->regions[i].units, p->regions[i].unit)));
}

// ---- The pass --------------------------------------------------------------------------------------------------

static bool plan_function(struct function *f, int n, struct pass_context *c)
{
    struct plan p = {.f = f, .m = f->module, .c = c};
    struct arena *a = c->scratch;
    p.buffers = ARENA_ARRAY(a, struct buffer, n);
    p.regions = ARENA_ARRAY(a, struct region, n);
    p.buffer_of = ARENA_ARRAY(a, int, f->n_values);
    for (int i = 0; i < f->n_values; i++)
        p.buffer_of[i] = -1;
    visit_block(&p, f->body);
    struct buffer **order = ARENA_ARRAY(a, struct buffer *, n);
    for (int i = 0; i < n; i++) {
        if (!measure(&p, &p.buffers[i]))
            return false;
        order[i] = &p.buffers[i];
    }
    qsort(order, (size_t)n, sizeof *order, compare);
    sort_by_unit(&p, order);
    for (int i = 0; i < n; i++)
        if (!place(&p, order[i]))
            return false;
    write_plan(&p);
    if (c->remarks)
        tell(&p);
    return true;
}

bool pass_plan_memory(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *f = m->first_function; f; f = f->next) {
        bool unplanned = false;
        int n = f->kind == FUNCTION_HOST ? count_buffers(f->body, &unplanned) : 0;
        if (unplanned)
            progress |= plan_function(f, n, c);
    }
    return progress;
}
