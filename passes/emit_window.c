// Windows of a tensor as tiles of kernels.
//
// Windows are views of the input (`window`), so nothing is gathered; padding is what lies outside of it. Constant
// weights are stored while compiling in the order in which the kernel reads them.
#include "passes/emit_window.h"

#include <string.h>

#include "ir/dims.h"
#include "passes/copy_elements.h"

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

void windows_name_problem(struct windows *w, const char *what)
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

bool windows_choose_tiles(struct windows *w, int64_t positions, int64_t width, int64_t channels)
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
    windows_spread(w);
    return windows_fit(w);
}

void windows_spread(struct windows *w)
{
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
}

struct value *windows_start(struct windows *w, int axis)
{
    return axis < 0 ? build_index(&w->e.b, 0) : w->e.axes[axis].start;
}

int windows_spatial_root(const struct windows *w, int d)
{
    return (w->channels_first ? 2 : 1) + d;
}

int windows_channel_root(const struct windows *w)
{
    return w->channels_first ? 1 : w->n + 1 + (w->group >= 0);
}

struct value *windows_view(struct windows *w, struct value **index)
{
    struct emit *e = &w->e;
    struct builder *b = &e->b;
    int roots = w->n + 2 + (w->group >= 0), channel = windows_channel_root(w);
    dim sizes[MAX_RANK] = {w->x.view.sizes[0]}, strides[MAX_RANK] = {w->x.view.strides[0]};
    index[0] = windows_start(w, w->batch);
    for (int d = 0; d < w->n; d++) {
        int root = windows_spatial_root(w, d);
        sizes[root] = w->x.view.sizes[2 + d];
        strides[root] = w->x.view.strides[2 + d];
        struct value *at = windows_start(w, w->position[d]);
        if (w->stride[d] != 1)
            at = build_binary(b, OP_MUL, at, build_index(b, w->stride[d]));
        if (w->low[d] != 0)
            at = build_binary(b, OP_SUB, at, emit_size(e, w->low[d]));
        index[root] = at;
    }
    sizes[channel] = w->x.view.sizes[1];
    strides[channel] = w->x.view.strides[1];
    index[channel] = w->by_channel ? windows_start(w, w->channel) : build_index(b, 0);
    if (w->group >= 0) {
        dim per_group = dims_exact(w->l->m, sizes[channel], e->axes[w->group].size);
        sizes[channel - 1] = e->axes[w->group].size;
        strides[channel - 1] = dims_mul(w->l->m, strides[channel], per_group);
        index[channel - 1] = windows_start(w, w->group);
        sizes[channel] = per_group;
    }
    for (int d = 0; d < roots; d++)
        if (sizes[d] == 1)
            strides[d] = 1;
    return emit_param(e, w->x.storage, w->x.view.offset, roots, sizes, strides);
}

struct value *windows_load(struct windows *w, int n, const struct walk *walks, struct number pad, char *labels)
{
    struct emit *e = &w->e;
    struct builder *b = &e->b;
    int roots = w->n + 2 + (w->group >= 0);
    struct affine_map map = {.n_in = n, .n_out = roots};
    dim tile[MAX_RANK];
    struct value *zeros[MAX_RANK], *operands[MAX_RANK + 1], *view = windows_view(w, operands + 1);
    operands[0] = view;
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
    struct value *windows =
        build_value(b, OP_WINDOW, 1 + roots, operands, 1, &(struct attr){ATTR_MAP, {.map = &map}}, NULL);
    struct attr padding = {ATTR_PAD, {.number = pad}};
    bool zero = pad.is_float ? pad.f == 0 : pad.i == 0;
    return build_load(b, windows, zeros, type_tile(w->l->m, view->type->dtype, n, tile), zero ? NULL : &padding);
}

int windows_positions(struct windows *w, struct walk *walks)
{
    int n = 0;
    if (w->batch >= 0)
        walks[n++] = (struct walk){w->batch, 0, 1};
    for (int d = 0; d < w->n; d++)
        if (w->position[d] >= 0)
            walks[n++] = (struct walk){w->position[d], windows_spatial_root(w, d), w->stride[d]};
    return n;
}

int windows_insides(struct windows *w, struct walk *walks, int n)
{
    for (int d = 0; d < w->n; d++)
        if (w->inside[d] >= 0)
            walks[n++] = (struct walk){w->inside[d], windows_spatial_root(w, d), w->dilation[d]};
    return n;
}

int windows_result_axes(struct windows *w, int *axes)
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

void windows_finish(struct windows *w, struct value *x, int n, const int *axes)
{
    table_set(&w->e.tiles, table_key(w->g->ops[0]->results[0]), x);
    emit_members(&w->e, w->g, 1, n, axes, &w->accesses);
    emit_end(&w->e);
}

bool windows_begin(struct windows *w, struct lowering *l, struct group *g, bool channels_first)
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

// Where constant weights lie; false: they are not constant, or not in a place that is.
static bool find_weights(const struct windows *w, int64_t *offset, int64_t *strides)
{
    const struct value *v = w->g->ops[0]->operands[1];
    const struct place *p = lower_graph_place(w->l, v);
    int64_t size;
    bool found =
        p->storage->data.bytes && dtype_info[v->type->dtype].bits >= 8 && dims_to_int(w->l->m, p->view.offset, offset);
    for (int d = 0; d < v->type->rank && found; d++)
        found = dims_to_int(w->l->m, p->view.strides[d], &strides[d]) && dims_to_int(w->l->m, v->type->dims[d], &size);
    return found;
}

bool windows_can_pack(const struct windows *w)
{
    int64_t offset, strides[MAX_RANK];
    return find_weights(w, &offset, strides);
}

struct storage *windows_pack_weights(struct windows *w, int64_t groups, int64_t panel)
{
    const struct value *v = w->g->ops[0]->operands[1];
    struct place *p = lower_graph_place(w->l, v);
    int64_t strides[MAX_RANK], offset, taps = 1, f, c;
    if (!find_weights(w, &offset, strides))
        return NULL;
    dims_to_int(w->l->m, v->type->dims[0], &f);
    dims_to_int(w->l->m, v->type->dims[1], &c);
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

bool windows_prefer_channels_first(struct lowering *l, const struct op *op)
{
    const struct place *x = lower_graph_place(l, op->operands[0]);
    const struct type *t = op->results[0]->type;
    return !l->wants_channels_last[op->results[0]->id] && !lower_graph_is_channels_last(x) &&
           x->view.strides[t->rank - 1] == 1 && t->dims[t->rank - 1] != 1;
}
