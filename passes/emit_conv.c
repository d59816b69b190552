// Convolutions with what follows them element by element. The channels are innermost in memory: they are the vectors. A
// convolution is a dot over the window's positions and the channels, or of transforms of those (emit_winograd.c).
#include <string.h>

#include "ir/dims.h"
#include "passes/emit_window.h"

#define POSITIONS 448 // of a tile
#define WIDTH 64      // at most, along the last spatial dimension
#define FILTERS 64    // of a panel of weights

static void emit_direct(struct windows *w)
{
    struct lowering *l = w->l;
    struct emit *e = &w->e;
    struct builder *b = &e->b;
    const struct op *op = w->g->ops[0];
    const struct type *weights = op->operands[1]->type;
    int64_t filters, channels, groups = op_int(op, ATTR_GROUPS, 1);
    dims_to_int(l->m, weights->dims[0], &filters);
    dims_to_int(l->m, weights->dims[1], &channels);
    int64_t per_group = filters / groups, panel = emit_choose(e, SCHEDULE_PANEL, FILTERS);
    if (panel > per_group)
        panel = per_group;
    struct storage *packed = windows_pack_weights(w, groups, panel);
    if (!windows_choose_tiles(w, POSITIONS, WIDTH, panel))
        return;
    emit_grid(e);

    struct walk walks[MAX_RANK + 4];
    char labels[64], right[32], result[32];
    int n = windows_positions(w, walks);
    n = windows_insides(w, walks, n);
    if (w->group >= 0)
        walks[n++] = (struct walk){w->group, windows_channel_root(w) - 1, 1};
    if (w->in_channel >= 0)
        walks[n++] = (struct walk){w->in_channel, windows_channel_root(w), 1};
    if (n > MAX_RANK) {
        lower_graph_error(l, op->loc, "conv: groups in %d spatial dimensions are not supported", w->n);
        return;
    }
    if (!n)
        walks[n++] = (struct walk){-1, 0, 1};
    struct value *x = windows_load(w, n, walks, (struct number){.is_float = true}, labels);

    // Weights: [panel][k .. and c][filter].
    struct value *index[MAX_RANK];
    dim sizes[MAX_RANK], strides[MAX_RANK], tile[MAX_RANK];
    int m = 0, f = w->channel;
    struct place *p = lower_graph_place(l, op->operands[1]);
    struct value *first = windows_start(w, f);
    if (packed) {
        int64_t panels = (per_group + panel - 1) / panel;
        struct value *which = build_binary(b, OP_FLOORDIV, first, build_index(b, panel));
        if (w->group >= 0)
            which = build_binary(b, OP_ADD, build_binary(b, OP_MUL, windows_start(w, w->group), build_index(b, panels)),
                                 which);
        sizes[m] = groups * panels;
        tile[m] = 1;
        right[m] = 'Z';
        index[m++] = which;
    } else if (w->group >= 0) {
        sizes[m] = groups;
        strides[m] = dims_mul(l->m, p->view.strides[0], per_group);
        tile[m] = 1;
        right[m] = (char)('a' + w->group);
        index[m++] = windows_start(w, w->group);
    }
    for (int d = 0; d < w->n; d++)
        if (w->inside[d] >= 0) {
            sizes[m] = tile[m] = w->window[d];
            strides[m] = p->view.strides[2 + d];
            right[m] = (char)('a' + w->inside[d]);
            index[m++] = build_index(b, 0);
        }
    if (w->in_channel >= 0) {
        sizes[m] = tile[m] = channels;
        strides[m] = p->view.strides[1];
        right[m] = (char)('a' + w->in_channel);
        index[m++] = build_index(b, 0);
    }
    sizes[m] = packed ? panel : per_group;
    strides[m] = p->view.strides[0];
    tile[m] = f >= 0 ? e->axes[f].tile : 1;
    right[m] = f >= 0 ? (char)('a' + f) : 'Y';
    index[m++] = packed ? build_index(b, 0) : first;
    right[m] = 0;
    struct value *view =
        packed ? emit_whole(e, packed, m, sizes) : emit_param(e, p->storage, p->view.offset, m, sizes, strides);
    struct value *k = build_load(b, view, index, type_tile(l->m, weights->dtype, m, tile), NULL);

    int axes[MAX_RANK], n_axes = windows_result_axes(w, axes);
    dim dims[MAX_RANK];
    for (int i = 0; i < n_axes; i++) {
        dims[i] = e->axes[axes[i]].tile;
        result[i] = (char)('a' + axes[i]);
    }
    if (w->channel < 0 && w->group < 0 && w->batch < 0 && n_axes == 1 && e->axes[axes[0]].size == 1)
        result[0] = 'Y';
    result[n_axes] = 0;
    enum dtype to = op->results[0]->type->dtype, wide = to == DTYPE_F64 ? to : DTYPE_F32;
    struct value *zero = build_float(b, type_tile(l->m, wide, n_axes, dims), 0), *operands[3] = {x, k, zero};
    struct attr attr = {ATTR_LABELS, {.string = arena_printf(l->arena, "%s,%s->%s", labels, right, result)}};
    struct value *sum = build_value(b, OP_DOT, 3, operands, 1, &attr, NULL);
    windows_finish(w, wide == to ? sum : build_cast(b, to, sum), n_axes, axes);
}

// The sum is over channels, too.
static void emit_dense(struct windows *w)
{
    const struct op *op = w->g->ops[0];
    int64_t filters, channels;
    if (!dims_to_int(w->l->m, op->operands[1]->type->dims[0], &filters) ||
        !dims_to_int(w->l->m, op->operands[1]->type->dims[1], &channels)) {
        lower_graph_error(w->l, op->loc, "conv: the weights' sizes are not constant");
        return;
    }
    w->in_channel = channels == 1 ? -1 : emit_axis(&w->e, channels, AXIS_REDUCED, 1);
    windows_name_problem(w, "conv");
    if (winograd_can_do(w) && emit_choose(&w->e, SCHEDULE_WINOGRAD, winograd_pays(w)))
        emit_winograd(w);
    else
        emit_direct(w);
}

// A convolution of single positions is a product, which walks the positions as one axis where it can.
static bool is_pointwise(const struct op *op)
{
    struct ints strides = op_ints(op, ATTR_STRIDES);
    const struct attr *pads = op_attr(op, ATTR_PADS);
    bool pointwise = op_int(op, ATTR_GROUPS, 1) == 1;
    for (int d = 2; d < op->operands[1]->type->rank; d++)
        pointwise &= op->operands[1]->type->dims[d] == 1 && (!strides.n || strides.v[d - 2] == 1);
    for (int i = 0; pads && i < pads->dims.n; i++)
        pointwise &= pads->dims.v[i] == 0;
    return pointwise;
}

static void emit_pointwise(struct lowering *l, struct group *g)
{
    // Batch a, channels b, filters c, positions d ..; the weights' own positions, of size 1, A ..
    const struct op *op = g->ops[0];
    int rank = op->results[0]->type->rank, order[MAX_RANK];
    char x[MAX_RANK + 1] = "ab", w[MAX_RANK + 1] = "cb", y[MAX_RANK + 1] = "ac";
    for (int d = 2; d < rank; d++) {
        x[d] = y[d] = (char)('d' + d - 2);
        w[d] = (char)('A' + d - 2);
    }
    lower_graph_order_channels_last(rank, order);
    struct place *input = l->wants_channels_last[op->results[0]->id] ? lower_graph_channels_last(l, op->operands[0])
                                                                     : lower_graph_place(l, op->operands[0]);
    bool last = lower_graph_is_channels_last(input);
    emit_product(l, g, arena_printf(l->arena, "%s,%s->%s", x, w, y), input, last ? order : NULL);
}

void emit_conv(struct lowering *l, struct group *g)
{
    struct windows *w = ARENA_NEW(l->arena, struct windows);
    const struct op *op = g->ops[0];
    const struct type *weights = op->operands[1]->type;
    int64_t groups = op_int(op, ATTR_GROUPS, 1);
    if (is_pointwise(op)) {
        emit_pointwise(l, g);
        return;
    }
    bool depthwise = groups > 1 && weights->dims[1] == 1 && weights->dims[0] == groups;
    if (!windows_begin(w, l, g, depthwise && windows_prefer_channels_first(l, op)))
        return;
    w->by_channel = depthwise;
    if (depthwise)
        emit_depthwise(w);
    else
        emit_dense(w);
}
