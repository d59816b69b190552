// Convolutions with windows of 3x3 by Winograd's transform F(2x2, 3x3): four positions, a square, take 16 products of a
// channel instead of 36 (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015).
//
// The 4x4 elements of the input that a square is made of are transformed, and so are the filters; what a sum over the
// channels of their products gives is transformed back. The 16 sums over channels are one dot in batches. The
// transforms need additions only, but of a filter, which needs halves too. An instance has the transformed windows and
// products of its squares in scratch. Transformed filters are 16/9 as large as filters, so files have these, and what
// neighbouring instances share is transformed by the first of them.
//
// The result differs from that of direct sums by about as much as those differ from the exact one. Where those are
// infinite it may be NaN.
#include "ir/dims.h"
#include "passes/emit_window.h"

#define SQUARE 2                    // positions of a square, each way
#define PATCH 4                     // elements of the input, each way
#define TAPS 3                      // of a filter, each way
#define PRODUCTS (PATCH * PATCH)    // of a square and a channel
#define SQUARES 16                  // of an instance, at most
#define LEAST_SQUARES 8             // for the dot to have a register tile
#define FILTERS 64                  // of a panel, at most
#define MOST_FILTER_BYTES (4 << 20) // that one instance leaves to the next
#define USUAL_CACHE (512 * 1024)    // bytes of a second-level cache, where that is not known

// ---- Whether ---------------------------------------------------------------------------------------------------

static int64_t size_of(const struct windows *w, int axis)
{
    int64_t size;
    return dims_to_int(w->l->m, w->e.axes[axis].size, &size) ? size : -1;
}

static int64_t lanes(const struct windows *w)
{
    return w->l->target->vector_bytes / (int64_t)sizeof(float);
}

// What is read and written square by square has its channels side by side.
static bool channels_are_inner(const struct windows *w)
{
    for (int i = 0; i < w->accesses.n; i++) {
        dim stride = w->accesses.list[i]->stride[w->channel];
        if (stride != 0 && stride != 1)
            return false;
    }
    return true;
}

bool winograd_can_do(struct windows *w)
{
    const struct op *op = w->g->ops[0];
    const struct value *weights = op->operands[1];
    if (w->n != 2 || w->channels_first || w->group >= 0 || w->in_channel < 0 || w->channel < 0 ||
        w->l->target->kind != TARGET_KIND_X86 || !windows_can_pack(w))
        return false;
    for (int d = 0; d < w->n; d++)
        if (w->window[d] != TAPS || w->stride[d] != 1 || w->dilation[d] != 1 || w->position[d] < 0)
            return false;
    return weights->type->dtype == DTYPE_F32 && op->operands[0]->type->dtype == DTYPE_F32 &&
           op->results[0]->type->dtype == DTYPE_F32 && channels_are_inner(w);
}

// Filters of a panel, as they are stored for any kernel. Transformed ones are read row by row from whatever cache holds
// them, which costs less than to transform the windows again for each of several smaller panels.
static int64_t panel_of(const struct windows *w)
{
    int64_t filters = size_of(w, w->channel);
    return filters < FILTERS ? filters : FILTERS;
}

// Squares of an instance: a quarter of the second-level cache is for their windows.
static int64_t squares_of(const struct windows *w)
{
    int64_t cache = w->l->target->l2_bytes > 0 ? w->l->target->l2_bytes : USUAL_CACHE;
    int64_t most = cache / 4 / (size_of(w, w->in_channel) * PRODUCTS * (int64_t)sizeof(float));
    return most > SQUARES ? SQUARES : most < LEAST_SQUARES ? LEAST_SQUARES : most;
}

// Vector instructions for a square of all filters, by how many steps the transforms have; these wait for memory more
// than products do.
#define TRANSFORM_WINDOWS 80 // 16 loads, 32 additions, 16 stores
#define TRANSFORM_PRODUCTS 60
#define TRANSFORM_FILTERS 60
#define MARGIN 1.15

bool winograd_pays(struct windows *w)
{
    double filters = (double)size_of(w, w->channel), channels = (double)size_of(w, w->in_channel), squares = 1,
           positions = 1;
    double panels = filters / (double)panel_of(w);
    bool fits = channels * (double)(panel_of(w) * PRODUCTS * (int64_t)sizeof(float)) <= MOST_FILTER_BYTES;
    for (int d = 0; d < w->n; d++) {
        int64_t size = size_of(w, w->position[d]);
        if (size < 0)
            size = 64; // as images have
        squares *= (double)((size + SQUARE - 1) / SQUARE);
        positions *= (double)size;
    }
    double direct = positions * TAPS * TAPS * filters * channels;
    double products = squares * PRODUCTS * filters * channels;
    double transforms = squares * (TRANSFORM_WINDOWS * channels * panels + TRANSFORM_PRODUCTS * filters) +
                        TRANSFORM_FILTERS * filters * channels;
    return fits && channels >= 8 && MARGIN * (products + transforms) < direct;
}

// ---- Transforms ------------------------------------------------------------------------------------------------

// One way: y of x.
typedef void transform(struct builder *b, struct value *const *x, struct value **y);

static void transform_window(struct builder *b, struct value *const *x, struct value **y)
{
    y[0] = build_binary(b, OP_SUB, x[0], x[2]);
    y[1] = build_binary(b, OP_ADD, x[1], x[2]);
    y[2] = build_binary(b, OP_SUB, x[2], x[1]);
    y[3] = build_binary(b, OP_SUB, x[1], x[3]);
}

static void transform_filter(struct builder *b, struct value *const *x, struct value **y)
{
    struct value *half = build_float(b, x[0]->type, 0.5);
    struct value *ends = build_binary(b, OP_MUL, build_binary(b, OP_ADD, x[0], x[2]), half);
    struct value *middle = build_binary(b, OP_MUL, x[1], half);
    y[0] = x[0];
    y[1] = build_binary(b, OP_ADD, ends, middle);
    y[2] = build_binary(b, OP_SUB, ends, middle);
    y[3] = x[2];
}

static void transform_products(struct builder *b, struct value *const *x, struct value **y)
{
    y[0] = build_binary(b, OP_ADD, build_binary(b, OP_ADD, x[0], x[1]), x[2]);
    y[1] = build_binary(b, OP_SUB, build_binary(b, OP_SUB, x[1], x[2]), x[3]);
}

// Both ways, from `from` values each way to `to`.
static void transform_square(struct builder *b, transform *one_way, int from, int to, struct value *x[PATCH][PATCH],
                             struct value *y[PATCH][PATCH])
{
    struct value *half[PATCH][PATCH];
    for (int j = 0; j < from; j++) {
        struct value *column[PATCH], *done[PATCH];
        for (int i = 0; i < from; i++)
            column[i] = x[i][j];
        one_way(b, column, done);
        for (int i = 0; i < to; i++)
            half[i][j] = done[i];
    }
    for (int i = 0; i < to; i++)
        one_way(b, half[i], y[i]);
}

// ---- Kernels ---------------------------------------------------------------------------------------------------

struct winograd {
    struct windows *w;
    struct builder *b;
    int64_t channels, panel, rows, columns;     // squares of an instance are rows x columns
    struct value *filters, *windows, *products; // scratch
};

static struct value *scratch(struct winograd *x, int n, const dim *dims)
{
    struct type *t = type_view(x->w->l->m, DTYPE_F32, n, dims, NULL);
    return build_value(x->b, OP_SCRATCH, 0, NULL, 0, NULL, t);
}

static struct type *tile_type(const struct winograd *x, int n, const dim *dims)
{
    return type_tile(x->w->l->m, DTYPE_F32, n, dims);
}

static struct op *begin_loop(struct winograd *x, int64_t n, int64_t step, struct value **index)
{
    struct op *loop = build_for(x->b, build_index(x->b, 0), build_index(x->b, n), build_index(x->b, step), 0, NULL);
    *index = loop->blocks[0]->args[0];
    return loop;
}

static void end_loop(struct winograd *x, struct op *loop)
{
    build_yield(x->b, 0, NULL);
    build_end(x->b, loop);
}

static struct value *plus(struct winograd *x, struct value *v, int64_t n)
{
    return n ? build_binary(x->b, OP_ADD, v, build_index(x->b, n)) : v;
}

// Vectors along n elements.
static int64_t width(const struct winograd *x, int64_t n)
{
    int64_t width = lanes(x->w);
    while (width > 4 && n % width)
        width /= 2;
    return width;
}

// From the panels of filters, [panel][3][3][channel][filter], to [product][channel][filter].
static void prepare_filters(struct winograd *x, struct storage *packed)
{
    struct builder *b = x->b;
    int64_t panels = (size_of(x->w, x->w->channel) + x->panel - 1) / x->panel, step = width(x, x->panel);
    const dim sizes[] = {panels, TAPS, TAPS, x->channels, x->panel};
    struct value *view = emit_whole(&x->w->e, packed, 5, sizes), *first = windows_start(x->w, x->w->channel);
    struct value *which = build_binary(b, OP_FLOORDIV, first, build_index(b, x->panel)), *channel, *filter;
    struct op *once = build_op(b, OP_ONCE, 1, &which, 0, NULL, 0, NULL);
    build_enter(b, once->blocks[0]);
    struct op *channels = begin_loop(x, x->channels, 1, &channel), *filters = begin_loop(x, x->panel, step, &filter);
    struct type *t = tile_type(x, 5, (const dim[]){1, 1, 1, 1, step});
    struct value *taps[PATCH][PATCH], *done[PATCH][PATCH];
    for (int i = 0; i < TAPS; i++)
        for (int j = 0; j < TAPS; j++) {
            struct value *index[] = {which, build_index(b, i), build_index(b, j), channel, filter};
            struct value *tap = build_load(b, view, index, t, NULL);
            taps[i][j] = build_value(b, OP_RESHAPE, 1, &tap, 0, NULL, tile_type(x, 3, (const dim[]){1, 1, step}));
        }
    transform_square(b, transform_filter, TAPS, PATCH, taps, done);
    for (int i = 0; i < PRODUCTS; i++) {
        struct value *index[] = {build_index(b, i), channel, filter};
        build_store(b, done[i / PATCH][i % PATCH], x->filters, index);
    }
    end_loop(x, filters);
    end_loop(x, channels);
    build_yield(b, 0, NULL);
    build_end(b, once);
}

// A loop over squares: *row and *column count them. Afterwards the axes of positions begin at the square's first.
struct square_loops {
    struct op *rows, *columns;
    struct value *row, *column, *start[2];
};

static void begin_squares(struct winograd *x, struct square_loops *s)
{
    struct builder *b = x->b;
    s->rows = begin_loop(x, x->rows, 1, &s->row);
    s->columns = begin_loop(x, x->columns, 1, &s->column);
    struct value *at[2] = {s->row, s->column};
    for (int d = 0; d < 2; d++) {
        struct emit_axis *axis = &x->w->e.axes[x->w->position[d]];
        s->start[d] = axis->start;
        axis->start = build_binary(b, OP_ADD, axis->start, build_binary(b, OP_MUL, at[d], build_index(b, SQUARE)));
        axis->tile = 1;
    }
}

static void end_squares(struct winograd *x, struct square_loops *s)
{
    end_loop(x, s->columns);
    end_loop(x, s->rows);
    for (int d = 0; d < 2; d++)
        x->w->e.axes[x->w->position[d]].start = s->start[d];
}

// To [product][row][column][channel].
static void transform_windows(struct winograd *x)
{
    struct builder *b = x->b;
    struct square_loops s;
    begin_squares(x, &s);
    struct value *first[MAX_RANK], *view = windows_view(x->w, first), *channel;
    int64_t step = width(x, x->channels);
    struct op *channels = begin_loop(x, x->channels, step, &channel);
    struct type *t = tile_type(x, 4, (const dim[]){1, 1, 1, step});
    struct value *patch[PATCH][PATCH], *done[PATCH][PATCH];
    for (int i = 0; i < PATCH; i++)
        for (int j = 0; j < PATCH; j++) {
            struct value *index[] = {first[0], plus(x, first[1], i), plus(x, first[2], j), channel};
            patch[i][j] = build_load(b, view, index, t, NULL);
        }
    transform_square(b, transform_window, PATCH, PATCH, patch, done);
    for (int i = 0; i < PRODUCTS; i++) {
        struct value *index[] = {build_index(b, i), s.row, s.column, channel};
        build_store(b, done[i / PATCH][i % PATCH], x->windows, index);
    }
    end_loop(x, channels);
    end_squares(x, &s);
}

// To [product][row][column][filter].
static void multiply(struct winograd *x)
{
    struct builder *b = x->b;
    struct value *zero = build_index(b, 0), *zeros[] = {zero, zero, zero, zero};
    const dim windows[] = {PRODUCTS, x->rows, x->columns, x->channels}, filters[] = {PRODUCTS, x->channels, x->panel},
              products[] = {PRODUCTS, x->rows, x->columns, x->panel};
    struct value *operands[] = {build_load(b, x->windows, zeros, tile_type(x, 4, windows), NULL),
                                build_load(b, x->filters, zeros, tile_type(x, 3, filters), NULL),
                                build_float(b, tile_type(x, 4, products), 0)};
    struct attr labels = {ATTR_LABELS, {.string = "zabc,zcn->zabn"}};
    build_store(b, build_value(b, OP_DOT, 3, operands, 1, &labels, NULL), x->products, zeros);
}

// The group's element-wise operations, position by position.
static void finish_squares(struct winograd *x)
{
    struct builder *b = x->b;
    struct windows *w = x->w;
    struct square_loops s;
    begin_squares(x, &s);
    struct value *products[PATCH][PATCH], *done[PATCH][PATCH];
    struct type *t = tile_type(x, 4, (const dim[]){1, 1, 1, x->panel});
    for (int i = 0; i < PRODUCTS; i++) {
        struct value *index[] = {build_index(b, i), s.row, s.column, build_index(b, 0)};
        products[i / PATCH][i % PATCH] = build_load(b, x->products, index, t, NULL);
    }
    transform_square(b, transform_products, PATCH, SQUARE, products, done);
    int axes[MAX_RANK], n = windows_result_axes(w, axes);
    struct value *corner[2] = {w->e.axes[w->position[0]].start, w->e.axes[w->position[1]].start};
    for (int i = 0; i < SQUARE; i++)
        for (int j = 0; j < SQUARE; j++) {
            w->e.axes[w->position[0]].start = plus(x, corner[0], i);
            w->e.axes[w->position[1]].start = plus(x, corner[1], j);
            dim dims[MAX_RANK];
            for (int k = 0; k < n; k++)
                dims[k] = w->e.axes[axes[k]].tile;
            struct type *own = tile_type(x, n, dims);
            struct value *y = done[i][j];
            y = y->type == own ? y : build_value(b, OP_RESHAPE, 1, &y, 0, NULL, own);
            w->e.tiles = (struct table){.arena = w->l->arena};
            table_set(&w->e.tiles, table_key(w->g->ops[0]->results[0]), y);
            emit_members(&w->e, w->g, 1, n, axes, &w->accesses);
        }
    end_squares(x, &s);
}

// Squares along a dimension, at most `most`, in tiles of equal size.
static int64_t cut_squares(struct windows *w, int d, int64_t most)
{
    int64_t size = size_of(w, w->position[d]), squares = size < 0 ? most : (size + SQUARE - 1) / SQUARE;
    most = most < 1 ? 1 : most;
    int64_t tiles = (squares + most - 1) / most;
    int64_t each = tiles ? (squares + tiles - 1) / tiles : 1;
    w->e.axes[w->position[d]].tile = each * SQUARE;
    return each;
}

void emit_winograd(struct windows *w)
{
    struct winograd x = {.w = w, .b = &w->e.b, .channels = size_of(w, w->in_channel)};
    int64_t filters = size_of(w, w->channel);
    x.panel = emit_choose(&w->e, SCHEDULE_PANEL, panel_of(w));
    x.panel = x.panel > filters ? filters : x.panel;
    int64_t squares = emit_choose(&w->e, SCHEDULE_POSITIONS, squares_of(w) * SQUARE * SQUARE) / (SQUARE * SQUARE);
    int64_t wide = emit_choose(&w->e, SCHEDULE_WIDTH, SQUARES * SQUARE) / SQUARE;
    x.columns = cut_squares(w, 1, squares < wide ? squares : wide);
    x.rows = cut_squares(w, 0, squares / x.columns);
    int64_t longest = x.channels > x.panel ? x.channels : x.panel;
    if (x.rows * x.columns > MOST_TILE_ELEMENTS / PRODUCTS / longest) {
        lower_graph_error(w->l, w->g->ops[0]->loc,
                          "tiles of %lld positions of %lld channels are too large for a kernel",
                          (long long)(x.rows * x.columns * SQUARE * SQUARE), (long long)longest);
        return;
    }
    w->e.axes[w->channel].tile = x.panel;
    windows_spread(w);
    struct storage *packed = windows_pack_weights(w, 1, x.panel);
    emit_grid(&w->e);
    x.filters = scratch(&x, 3, (const dim[]){PRODUCTS, x.channels, x.panel});
    x.windows = scratch(&x, 4, (const dim[]){PRODUCTS, x.rows, x.columns, x.channels});
    x.products = scratch(&x, 4, (const dim[]){PRODUCTS, x.rows, x.columns, x.panel});
    prepare_filters(&x, packed);
    transform_windows(&x);
    multiply(&x);
    finish_squares(&x);
    emit_end(&w->e);
}
