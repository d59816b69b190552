// Convolutions and pools with what follows them element by element.
//
// Windows are views of the input (`window`), so nothing is gathered; padding is what lies outside of it. The channels
// are innermost in memory: they are the vectors. A convolution is a dot over the window's positions and the channels; a
// depthwise one is a product and a sum over the positions. Constant weights are stored while compiling in the order in
// which the kernel reads them: [f / BF][k ..][c][BF], [k ..][c].
#include <string.h>

#include "ir/dims.h"
#include "ir/scalar.h"
#include "passes/copy_elements.h"
#include "passes/lower_graph.h"

#define POSITIONS 448 // of a tile of a convolution
#define WIDTH 64      // at most, along the last spatial dimension
#define FILTERS 64    // of a panel of weights
#define POOL_POSITIONS 16
#define POOL_CHANNELS 128
#define ROW_POSITIONS 4096 // channels first
#define ROW_WIDTH 512

struct windows {
    struct emit e;
    struct lowering *l;
    struct group *g;
    struct accesses accesses;
    struct place x;
    int n;               // spatial dimensions; the input's dimensions are batch, channels, spatial ..
    bool channels_first; // the result's last axis is the last spatial one
    bool by_channel;     // each channel of the result is made of one of the input
    int64_t window[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK];
    dim low[MAX_RANK];
    int batch, channel, position[MAX_RANK]; // the result's axes; -1: size 1
    int in_channel;                         // convolutions: the axis summed over; -1: size 1
    int group;                              // the axis of groups, or -1
    int inside[MAX_RANK];                   // axes of positions in a window; -1: size 1
};

static bool read_windows(struct windows *w, const struct op *op)
{
    struct ints strides = op_ints(op, ATTR_STRIDES), dilations = op_ints(op, ATTR_DILATIONS);
    const struct attr *pads = op_attr(op, ATTR_PADS);
    bool conv = op->code == OP_CONV;
    int skip = conv ? 0 : 2; // a pool's lists begin with batch and channels
    w->n = op->operands[0]->type->rank - 2;
    int entries = conv ? w->n : w->n + 2;
    for (int d = 0; d < w->n; d++) {
        w->stride[d] = strides.n ? strides.v[skip + d] : 1;
        w->dilation[d] = dilations.n ? dilations.v[skip + d] : 1;
        w->low[d] = pads && pads->dims.n == 2 * entries ? pads->dims.v[skip + d] : 0;
        if (!conv)
            w->window[d] = op_ints(op, ATTR_SIZES).v[skip + d];
        else if (!dims_to_int(w->l->m, op->operands[1]->type->dims[2 + d], &w->window[d]))
            return false;
    }
    return true;
}

static int axis_for(struct windows *w, dim size, int of)
{
    return size == 1 ? -1 : emit_axis(&w->e, size, AXIS_PARALLEL, of);
}

// The result's axes in the order in which it lies in memory.
static void make_axes(struct windows *w, const struct type *result)
{
    const struct tensor_space *s = &w->g->walk;
    int axis_of[SPACE_PARTS], order[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    if (!w->channels_first)
        lower_graph_order_channels_last(result->rank, order);
    for (int i = 0; i < result->rank; i++) { // of channels in groups, those of a group
        int part = s->first[order[i] + 1] - 1;
        axis_of[part] = axis_for(w, s->sizes[part], order[i]);
    }
    w->batch = axis_of[s->first[0]];
    w->channel = axis_of[s->first[2] - 1];
    for (int d = 0; d < w->n; d++)
        w->position[d] = axis_of[s->first[2 + d]];
    for (int d = 0; d < w->n; d++)
        w->inside[d] = w->window[d] == 1 ? -1 : emit_axis(&w->e, w->window[d], AXIS_REDUCED, 2 + d);
    w->group = w->in_channel = -1;
    if (s->first[2] - s->first[1] > 1)
        w->group = axis_of[s->first[1]] = emit_axis(&w->e, s->sizes[s->first[1]], AXIS_PARALLEL, 1);
    emit_collect(&w->e, w->g, 1, axis_of, order, &w->accesses);
    struct value *v = w->g->ops[0]->results[0];
    if (!table_get(&w->accesses.of, table_key(v)) && lower_graph_escapes(w->l, v))
        lower_graph_error(w->l, w->g->ops[0]->loc, "the result has no memory");
}

static void whole(struct windows *w, int axis)
{
    int64_t size;
    if (axis >= 0 && dims_to_int(w->l->m, w->e.axes[axis].size, &size))
        w->e.axes[axis].tile = size < 1 ? 1 : size;
}

// Tiles of equal size, at most `most`.
static int64_t even(struct windows *w, int axis, int64_t most)
{
    int64_t size;
    if (axis < 0)
        return 1;
    if (!dims_to_int(w->l->m, w->e.axes[axis].size, &size))
        size = most;
    if (size < 1)
        size = 1;
    int64_t tiles = (size + most - 1) / most;
    return w->e.axes[axis].tile = (size + tiles - 1) / tiles;
}

// In the order of the axes: b batch, m positions, g groups, n filters or channels, k what is summed over.
static void name_problem(struct windows *w, const char *what)
{
    char letters[EMIT_AXES];
    for (int i = 0; i < w->e.n_axes; i++)
        letters[i] = i == w->batch                                              ? 'b'
                     : i == w->channel                                          ? 'n'
                     : i == w->group                                            ? 'g'
                     : w->e.axes[i].class == AXIS_REDUCED || i == w->in_channel ? 'k'
                                                                                : 'm';
    emit_problem(&w->e, what, letters, w->g->ops[0]->results[0]->type->dtype);
}

// A tile holds whole windows; false after reporting that they are too large for that.
static bool windows_fit(struct windows *w)
{
    int64_t elements = 1;
    const char *text = "";
    for (int d = 0; d < w->n; d++)
        text = arena_printf(w->l->arena, "%s%s%lld", text, d ? "x" : "", (long long)w->window[d]);
    for (int i = 0; i < w->e.n_axes; i++)
        if (w->e.axes[i].tile > MOST_TILE_ELEMENTS / elements) {
            lower_graph_error(w->l, w->g->ops[0]->loc,
                              "windows of %s positions are too large for a kernel; use several smaller windows, one "
                              "after the other",
                              text);
            return false;
        } else if (w->e.axes[i].tile > 1) {
            elements *= w->e.axes[i].tile;
        }
    return true;
}

// False after reporting.
static bool choose_tiles(struct windows *w, int64_t positions, int64_t width, int64_t channels)
{
    positions = emit_choose(&w->e, SCHEDULE_POSITIONS, positions);
    width = emit_choose(&w->e, SCHEDULE_WIDTH, width);
    for (int d = w->n - 1; d >= 0; d--) {
        int64_t most = d == w->n - 1 && positions > width ? width : positions;
        int64_t tile = even(w, w->position[d], most < 1 ? 1 : most);
        positions = positions / tile < 1 ? 1 : positions / tile;
    }
    if (w->channel >= 0) {
        int64_t size;
        bool fits = dims_to_int(w->l->m, w->e.axes[w->channel].size, &size) && size < channels;
        w->e.axes[w->channel].tile = fits ? (size < 1 ? 1 : size) : channels;
    }
    for (int d = 0; d < w->n; d++)
        whole(w, w->inside[d]);
    whole(w, w->in_channel);
    int axes[MAX_RANK], n = 0;
    for (int d = 0; d < w->n; d++)
        if (w->position[d] >= 0)
            axes[n++] = w->position[d];
    // All positions in one dimension of the grid.
    for (int i = 0; i < n; i++) {
        int64_t size;
        struct emit_axis *x = &w->e.axes[axes[i]];
        if (!dims_to_int(w->l->m, x->size, &size) || size > x->tile)
            x->grid = 0;
    }
    int rest[3];
    n = 0;
    if (w->batch >= 0)
        rest[n++] = w->batch;
    if (w->group >= 0)
        rest[n++] = w->group;
    if (w->channel >= 0)
        rest[n++] = w->channel;
    emit_spread(&w->e, n, rest, 1);
    return windows_fit(w);
}

static struct value *start(struct windows *w, int axis)
{
    return axis < 0 ? build_index(&w->e.b, 0) : w->e.axes[axis].start;
}

// The root of windows is the input with its dimensions as they lie in memory: batch, channels, spatial ..; or batch,
// spatial .., (groups,) channels.
static int spatial_root(const struct windows *w, int d)
{
    return (w->channels_first ? 2 : 1) + d;
}

static int channel_root(const struct windows *w)
{
    return w->channels_first ? 1 : w->n + 1 + (w->group >= 0);
}

// One dimension of a tile of windows: of the root's dimension `root`, with a coefficient.
struct walk {
    int axis, root;
    int64_t coefficient;
};

// The input's windows as a tile with dimensions `walks`; their labels, if asked for.
static struct value *load_windows(struct windows *w, int n, const struct walk *walks, struct number pad, char *labels)
{
    struct emit *e = &w->e;
    struct builder *b = &e->b;
    int roots = w->n + 2 + (w->group >= 0), channel = channel_root(w);
    dim sizes[MAX_RANK] = {w->x.view.sizes[0]}, strides[MAX_RANK] = {w->x.view.strides[0]};
    struct value *index[MAX_RANK] = {start(w, w->batch)};
    for (int d = 0; d < w->n; d++) {
        int root = spatial_root(w, d);
        sizes[root] = w->x.view.sizes[2 + d];
        strides[root] = w->x.view.strides[2 + d];
        struct value *at = start(w, w->position[d]);
        if (w->stride[d] != 1)
            at = build_binary(b, OP_MUL, at, build_index(b, w->stride[d]));
        if (w->low[d] != 0)
            at = build_binary(b, OP_SUB, at, emit_size(e, w->low[d]));
        index[root] = at;
    }
    sizes[channel] = w->x.view.sizes[1];
    strides[channel] = w->x.view.strides[1];
    index[channel] = w->by_channel ? start(w, w->channel) : build_index(b, 0);
    if (w->group >= 0) {
        dim per_group = dims_exact(w->l->m, sizes[channel], e->axes[w->group].size);
        sizes[channel - 1] = e->axes[w->group].size;
        strides[channel - 1] = dims_mul(w->l->m, strides[channel], per_group);
        index[channel - 1] = start(w, w->group);
        sizes[channel] = per_group;
    }
    for (int d = 0; d < roots; d++)
        if (sizes[d] == 1)
            strides[d] = 1;
    struct value *view = emit_param(e, w->x.storage, w->x.view.offset, roots, sizes, strides);
    struct affine_map map = {.n_in = n, .n_out = roots};
    dim tile[MAX_RANK];
    struct value *zeros[MAX_RANK], *operands[MAX_RANK + 1] = {view};
    for (int i = 0; i < n; i++) {
        map.coefficient[walks[i].root][i] = walks[i].coefficient;
        tile[i] = walks[i].axis < 0 ? 1 : e->axes[walks[i].axis].tile;
        zeros[i] = build_index(b, 0);
        if (labels && walks[i].axis >= 0)
            labels[i] = (char)('a' + walks[i].axis);
        else if (labels)
            labels[i] = (char)('A' + i);
    }
    if (labels)
        labels[n] = 0;
    memcpy(operands + 1, index, sizeof *index * (size_t)roots);
    struct value *windows =
        build_value(b, OP_WINDOW, 1 + roots, operands, 1, &(struct attr){ATTR_MAP, {.map = &map}}, NULL);
    struct attr padding = {ATTR_PAD, {.number = pad}};
    bool zero = pad.is_float ? pad.f == 0 : pad.i == 0;
    return build_load(b, windows, zeros, type_tile(w->l->m, view->type->dtype, n, tile), zero ? NULL : &padding);
}

static int positions(struct windows *w, struct walk *walks)
{
    int n = 0;
    if (w->batch >= 0)
        walks[n++] = (struct walk){w->batch, 0, 1};
    for (int d = 0; d < w->n; d++)
        if (w->position[d] >= 0)
            walks[n++] = (struct walk){w->position[d], spatial_root(w, d), w->stride[d]};
    return n;
}

static int insides(struct windows *w, struct walk *walks, int n)
{
    for (int d = 0; d < w->n; d++)
        if (w->inside[d] >= 0)
            walks[n++] = (struct walk){w->inside[d], spatial_root(w, d), w->dilation[d]};
    return n;
}

// The result's axes, in order.
static int result_axes(struct windows *w, int *axes)
{
    int n = 0;
    if (w->batch >= 0)
        axes[n++] = w->batch;
    if (w->channels_first && w->channel >= 0)
        axes[n++] = w->channel;
    for (int d = 0; d < w->n; d++)
        if (w->position[d] >= 0)
            axes[n++] = w->position[d];
    if (w->group >= 0)
        axes[n++] = w->group;
    if (!w->channels_first && w->channel >= 0)
        axes[n++] = w->channel;
    if (!n) // one element
        axes[n++] = emit_axis(&w->e, 1, AXIS_PARALLEL, 0);
    return n;
}

static void finish(struct windows *w, struct value *x, int n, const int *axes)
{
    table_set(&w->e.tiles, table_key(w->g->ops[0]->results[0]), x);
    emit_members(&w->e, w->g, 1, n, axes, &w->accesses);
    emit_end(&w->e);
}

static bool begin(struct windows *w, struct lowering *l, struct group *g, bool channels_first)
{
    const struct op *op = g->ops[0];
    *w = (struct windows){.l = l, .g = g, .channels_first = channels_first};
    if (!read_windows(w, op)) {
        lower_graph_error(l, op->loc, "conv: the weights' sizes are not constant");
        return false;
    }
    w->x = w->channels_first ? *lower_graph_place(l, op->operands[0]) : *lower_graph_channels_last(l, op->operands[0]);
    emit_begin(&w->e, l, g);
    make_axes(w, op->results[0]->type);
    return !l->failed;
}

// ---- Weights ---------------------------------------------------------------------------------------------------

// Constant weights [f, c, k ..] as [group][f / panel][k ..][c][panel], or NULL if they are not constant.
static struct storage *pack_weights(struct windows *w, int64_t groups, int64_t panel)
{
    const struct value *v = w->g->ops[0]->operands[1];
    struct place *p = lower_graph_place(w->l, v);
    int64_t strides[MAX_RANK], offset, taps = 1, f, c;
    if (!p->storage->data.bytes || dtype_info[v->type->dtype].bits < 8 ||
        !dims_to_int(w->l->m, p->view.offset, &offset))
        return NULL;
    for (int d = 0; d < v->type->rank; d++)
        if (!dims_to_int(w->l->m, p->view.strides[d], &strides[d]))
            return NULL;
    if (!dims_to_int(w->l->m, v->type->dims[0], &f) || !dims_to_int(w->l->m, v->type->dims[1], &c))
        return NULL;
    for (int d = 0; d < w->n; d++)
        taps *= w->window[d];
    f /= groups;
    int64_t panels = (f + panel - 1) / panel;
    size_t bytes = (size_t)dtype_info[v->type->dtype].bits / 8,
           total = (size_t)(groups * panels * taps * c * panel) * bytes;
    char *to = module_bytes(w->l->m, total);
    const char *from = p->storage->data.bytes;
    if (f % panel) // what lies behind the last filter
        memset(to, 0, total);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t i = 0; i < f; i++)
            for (int64_t t = 0; t < taps; t++) {
                int64_t at = offset + (g * f + i) * strides[0], left = t;
                for (int d = w->n - 1; d >= 0; d--) {
                    at += left % w->window[d] * strides[2 + d];
                    left /= w->window[d];
                }
                int64_t row = ((g * panels + i / panel) * taps + t) * c;
                copy_elements(to + (size_t)(row * panel + i % panel) * bytes, panel, from + (size_t)at * bytes,
                              strides[1], c, (int)bytes);
            }
    lower_graph_let_go(p->storage);
    struct data data = {p->storage->data.name, to, (int64_t)total, false};
    dim dims[MAX_RANK] = {groups * panels, taps * c, panel};
    return lower_graph_constant(w->l, type_tensor(w->l->m, v->type->dtype, 3, dims), data);
}

// ---- Convolutions ----------------------------------------------------------------------------------------------

static void emit_dense(struct windows *w, int64_t groups)
{
    struct lowering *l = w->l;
    struct emit *e = &w->e;
    struct builder *b = &e->b;
    const struct op *op = w->g->ops[0];
    const struct type *weights = op->operands[1]->type;
    int64_t filters, channels;
    if (!dims_to_int(l->m, weights->dims[0], &filters) || !dims_to_int(l->m, weights->dims[1], &channels)) {
        lower_graph_error(l, op->loc, "conv: the weights' sizes are not constant");
        return;
    }
    w->in_channel = channels == 1 ? -1 : emit_axis(e, channels, AXIS_REDUCED, 1);
    name_problem(w, "conv");
    int64_t per_group = filters / groups, panel = emit_choose(e, SCHEDULE_PANEL, FILTERS);
    if (panel > per_group)
        panel = per_group;
    struct storage *packed = pack_weights(w, groups, panel);
    if (!choose_tiles(w, POSITIONS, WIDTH, panel))
        return;
    emit_grid(e);

    struct walk walks[MAX_RANK + 4];
    char labels[64], right[32], result[32];
    int n = positions(w, walks);
    n = insides(w, walks, n);
    if (w->group >= 0)
        walks[n++] = (struct walk){w->group, channel_root(w) - 1, 1};
    if (w->in_channel >= 0)
        walks[n++] = (struct walk){w->in_channel, channel_root(w), 1};
    if (n > MAX_RANK) {
        lower_graph_error(l, op->loc, "conv: groups in %d spatial dimensions are not supported", w->n);
        return;
    }
    if (!n)
        walks[n++] = (struct walk){-1, 0, 1};
    struct value *x = load_windows(w, n, walks, (struct number){.is_float = true}, labels);

    // Weights: [panel][k .. and c][filter].
    struct value *index[MAX_RANK];
    dim sizes[MAX_RANK], strides[MAX_RANK], tile[MAX_RANK];
    int m = 0, f = w->channel;
    struct place *p = lower_graph_place(l, op->operands[1]);
    struct value *first = start(w, f);
    if (packed) {
        int64_t panels = (per_group + panel - 1) / panel;
        struct value *which = build_binary(b, OP_FLOORDIV, first, build_index(b, panel));
        if (w->group >= 0)
            which = build_binary(b, OP_ADD, build_binary(b, OP_MUL, start(w, w->group), build_index(b, panels)), which);
        sizes[m] = groups * panels;
        tile[m] = 1;
        right[m] = 'Z';
        index[m++] = which;
    } else if (w->group >= 0) {
        sizes[m] = groups;
        strides[m] = dims_mul(l->m, p->view.strides[0], per_group);
        tile[m] = 1;
        right[m] = (char)('a' + w->group);
        index[m++] = start(w, w->group);
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
    if (packed) {
        dim stride = 1;
        for (int d = m - 1; d >= 0; d--) {
            strides[d] = stride;
            stride *= sizes[d];
        }
    }
    struct storage *s = packed ? packed : p->storage;
    struct value *view = emit_param(e, s, packed ? 0 : p->view.offset, m, sizes, strides);
    struct value *k = build_load(b, view, index, type_tile(l->m, weights->dtype, m, tile), NULL);

    int axes[MAX_RANK], n_axes = result_axes(w, axes);
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
    finish(w, wide == to ? sum : build_cast(b, to, sum), n_axes, axes);
}

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
    int axes[MAX_RANK], n_axes = result_axes(w, axes), count = 0;
    for (int i = 0; i < n_axes; i++) {
        if (i == n_axes - 1) {
            *first = count;
            count = insides(w, walks, count);
            *n = count - *first;
        }
        struct walk walk = {axes[i], axes[i] == w->channel ? channel_root(w) : 0, 1};
        for (int d = 0; d < w->n; d++)
            if (axes[i] == w->position[d])
                walk = (struct walk){axes[i], spatial_root(w, d), w->stride[d]};
        walks[count++] = walk;
    }
    return load_windows(w, count, walks, pad, NULL);
}

// Weights as they meet those windows: [.. channel .. k .. last].
static struct value *load_taps(struct windows *w)
{
    struct lowering *l = w->l;
    struct emit *e = &w->e;
    const struct op *op = w->g->ops[0];
    struct place *p = lower_graph_place(l, op->operands[1]);
    int64_t channels;
    dims_to_int(l->m, op->operands[1]->type->dims[0], &channels);
    struct storage *packed = w->channels_first ? NULL : pack_weights(w, 1, channels); // [k ..][1][channels]
    struct value *index[MAX_RANK];
    dim sizes[MAX_RANK], strides[MAX_RANK], tile[MAX_RANK];
    int axes[MAX_RANK], n_axes = result_axes(w, axes), m = 0;
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
        index[m++] = channel ? start(w, w->channel) : build_index(&e->b, 0);
    }
    dim stride = 1;
    for (int d = m - 1; packed && d >= 0; d--) {
        strides[d] = stride;
        stride *= sizes[d];
    }
    struct value *view = emit_param(e, packed ? packed : p->storage, packed ? 0 : p->view.offset, m, sizes, strides);
    return build_load(&e->b, view, index, type_tile(l->m, view->type->dtype, m, tile), NULL);
}

// Whether channels can stay where they are: rows along the last spatial dimension are the vectors then.
static bool prefers_channels_first(struct lowering *l, const struct op *op)
{
    const struct place *x = lower_graph_place(l, op->operands[0]);
    const struct type *t = op->results[0]->type;
    return !l->wants_channels_last[op->results[0]->id] && !lower_graph_is_channels_last(x) &&
           x->view.strides[t->rank - 1] == 1 && t->dims[t->rank - 1] != 1;
}

static bool choose_pool_tiles(struct windows *w, const char *what)
{
    bool rows = w->channels_first;
    name_problem(w, what);
    return choose_tiles(w, rows ? ROW_POSITIONS : POOL_POSITIONS, rows ? ROW_WIDTH : POOL_POSITIONS,
                        emit_choose(&w->e, SCHEDULE_CHANNELS, rows ? 1 : POOL_CHANNELS));
}

static void emit_depthwise(struct windows *w)
{
    if (!choose_pool_tiles(w, "depthwise"))
        return;
    emit_grid(&w->e);
    int first, n, axes[MAX_RANK], n_axes = result_axes(w, axes);
    struct value *x = load_pool(w, (struct number){.is_float = true}, &first, &n);
    struct value *taps = load_taps(w);
    enum dtype to = x->type->dtype, wide = dtype_info[to].bits < 32 ? DTYPE_F32 : to;
    if (wide != to) {
        x = build_cast(&w->e.b, wide, x);
        taps = build_cast(&w->e.b, wide, taps);
    }
    struct value *product = build_binary(&w->e.b, OP_MUL, x, taps);
    struct value *sum = reduce_windows(w, product, first, n, OP_ADD, n_axes, axes);
    finish(w, wide != to ? build_cast(&w->e.b, to, sum) : sum, n_axes, axes);
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
    if (!begin(w, l, g, depthwise && prefers_channels_first(l, op)))
        return;
    w->by_channel = depthwise;
    if (depthwise)
        emit_depthwise(w);
    else
        emit_dense(w, groups);
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
    if (!begin(w, l, g, prefers_channels_first(l, op)))
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
    int n_axes = result_axes(w, axes);
    finish(w, reduce_windows(w, x, first, n, combine, n_axes, axes), n_axes, axes);
}
