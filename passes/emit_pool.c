// Pools and depthwise convolutions, with what follows them element by element: each channel of the result is made of
// one of the input. A depthwise convolution is a product and a sum over the positions in a window.
#include <string.h>

#include "ir/dims.h"
#include "ir/scalar.h"
#include "passes/emit_window.h"

#define POOL_POSITIONS 16
#define POOL_CHANNELS 128
#define ROW_POSITIONS 4096 // channels first
#define ROW_WIDTH 512

// The sum over the window's positions, as a tile of the result's axes.
static struct value *reduce_windows(struct windows *w, struct value *x, int first, int n, enum opcode combine,
                                    int n_axes, const int *axes)
{
    int64_t reduced[MAX_RANK];
    dim dims[MAX_RANK];
    for (int i = 0; i < n; i++)
        reduced[i] = first + i;
    if (n) {
        struct attr attrs[2] = {{ATTR_COMBINE, {.opcode = combine}}, {ATTR_AXES, {.ints = {n, reduced}}}};
        x = build_value(&w->e.b, OP_REDUCE, 1, &x, 2, attrs, NULL);
    }
    for (int i = 0; i < n_axes; i++)
        dims[i] = w->e.axes[axes[i]].tile;
    struct type *t = type_tile(w->l->m, x->type->dtype, n_axes, dims);
    return x->type == t ? x : build_value(&w->e.b, OP_RESHAPE, 1, &x, 0, NULL, t);
}

// The windows of a pool, with the result's last axis last; dimensions [*first, *first + *n) are the positions in a
// window.
static struct value *load_pool(struct windows *w, struct number pad, int *first, int *n)
{
    struct walk walks[2 * MAX_RANK];
    int axes[MAX_RANK], n_axes = windows_result_axes(w, axes), count = 0;
    for (int i = 0; i < n_axes; i++) {
        if (i == n_axes - 1) {
            *first = count;
            count = windows_insides(w, walks, count);
            *n = count - *first;
        }
        struct walk walk = {axes[i], axes[i] == w->channel ? windows_channel_root(w) : 0, 1};
        for (int d = 0; d < w->n; d++)
            if (axes[i] == w->position[d])
                walk = (struct walk){axes[i], windows_spatial_root(w, d), w->stride[d]};
        walks[count++] = walk;
    }
    return windows_load(w, count, walks, pad, NULL);
}

static bool choose_pool_tiles(struct windows *w, const char *what)
{
    bool rows = w->channels_first;
    windows_name_problem(w, what);
    return windows_choose_tiles(w, rows ? ROW_POSITIONS : POOL_POSITIONS, rows ? ROW_WIDTH : POOL_POSITIONS,
                                emit_choose(&w->e, SCHEDULE_CHANNELS, rows ? 1 : POOL_CHANNELS));
}

// ---- Depthwise convolutions ------------------------------------------------------------------------------------

// Weights as they meet those windows: [.. channel .. k .. last].
static struct value *load_taps(struct windows *w)
{
    struct lowering *l = w->l;
    struct emit *e = &w->e;
    const struct op *op = w->g->ops[0];
    struct place *p = lower_graph_place(l, op->operands[1]);
    int64_t channels;
    dims_to_int(l->m, op->operands[1]->type->dims[0], &channels);
    struct storage *packed = w->channels_first ? NULL : windows_pack_weights(w, 1, channels); // [k ..][1][channels]
    struct value *index[MAX_RANK];
    dim sizes[MAX_RANK], strides[MAX_RANK], tile[MAX_RANK];
    int axes[MAX_RANK], n_axes = windows_result_axes(w, axes), m = 0;
    for (int i = 0; i < n_axes; i++) {
        if (i == n_axes - 1)
            for (int d = 0; d < w->n; d++)
                if (w->inside[d] >= 0) {
                    sizes[m] = tile[m] = w->window[d];
                    strides[m] = p->view.strides[2 + d];
                    index[m++] = build_index(&e->b, 0);
                }
        bool channel = axes[i] == w->channel;
        sizes[m] = channel ? channels : 1;
        strides[m] = channel ? p->view.strides[0] : 1;
        tile[m] = channel ? e->axes[w->channel].tile : 1;
        index[m++] = channel ? windows_start(w, w->channel) : build_index(&e->b, 0);
    }
    struct value *view =
        packed ? emit_whole(e, packed, m, sizes) : emit_param(e, p->storage, p->view.offset, m, sizes, strides);
    return build_load(&e->b, view, index, type_tile(l->m, view->type->dtype, m, tile), NULL);
}

void emit_depthwise(struct windows *w)
{
    if (!choose_pool_tiles(w, "depthwise"))
        return;
    emit_grid(&w->e);
    int first, n, axes[MAX_RANK], n_axes = windows_result_axes(w, axes);
    struct value *x = load_pool(w, (struct number){.is_float = true}, &first, &n);
    struct value *taps = load_taps(w);
    enum dtype to = x->type->dtype, wide = dtype_info[to].bits < 32 ? DTYPE_F32 : to;
    if (wide != to) {
        x = build_cast(&w->e.b, wide, x);
        taps = build_cast(&w->e.b, wide, taps);
    }
    struct value *product = build_binary(&w->e.b, OP_MUL, x, taps);
    struct value *sum = reduce_windows(w, product, first, n, OP_ADD, n_axes, axes);
    windows_finish(w, wide != to ? build_cast(&w->e.b, to, sum) : sum, n_axes, axes);
}

// ---- Pools -----------------------------------------------------------------------------------------------------

static struct number identity_number(enum opcode combine, enum dtype t)
{
    union scalar x = scalar_identity(combine, t);
    bool is_float = dtype_is_float(t);
    return (struct number){is_float, is_float ? x.f : 0, is_float ? 0 : x.i};
}

void emit_window(struct lowering *l, struct group *g)
{
    struct windows *w = ARENA_NEW(l->arena, struct windows);
    const struct op *op = g->ops[0];
    struct ints sizes = op_ints(op, ATTR_SIZES), strides = op_ints(op, ATTR_STRIDES);
    bool plain = op->operands[0]->type->rank >= 3;
    for (int d = 0; plain && d < 2; d++) {
        const struct attr *pads = op_attr(op, ATTR_PADS);
        plain = sizes.v[d] == 1 && (!strides.n || strides.v[d] == 1) &&
                (!pads || (pads->dims.v[d] == 0 && pads->dims.v[sizes.n + d] == 0));
    }
    if (!plain) {
        lower_graph_error(l, op->loc, "window_reduce: windows over batch and channels are not supported");
        return;
    }
    if (!windows_begin(w, l, g, windows_prefer_channels_first(l, op)))
        return;
    w->by_channel = true;
    if (!choose_pool_tiles(w, "pool"))
        return;
    emit_grid(&w->e);
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    enum dtype from = op->operands[0]->type->dtype, to = op->results[0]->type->dtype;
    int first, n, axes[MAX_RANK];
    struct value *x = load_pool(w, identity_number(combine, from), &first, &n);
    if (from != to)
        x = build_cast(&w->e.b, to, x);
    int n_axes = windows_result_axes(w, axes);
    windows_finish(w, reduce_windows(w, x, first, n, combine, n_axes, axes), n_axes, axes);
}
