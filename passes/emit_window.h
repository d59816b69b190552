// What kernels over windows share: convolutions (emit_conv.c, emit_winograd.c), pools and depthwise convolutions
// (emit_pool.c).
#ifndef TEGULA_PASSES_EMIT_WINDOW_H
#define TEGULA_PASSES_EMIT_WINDOW_H

#include "passes/lower_graph.h"

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

// False after reporting what cannot be done. The result's axes are made; the others are the caller's to add.
bool windows_begin(struct windows *w, struct lowering *l, struct group *g, bool channels_first);
// Begins the schedule record. In the order of the axes: b batch, m positions, g groups, n filters or channels, k what
// is summed over.
void windows_name_problem(struct windows *w, const char *what);
// Tiles of about `positions` positions, at most `width` of them along the last spatial dimension, unless the schedule
// says otherwise, and of `channels`; and the grid's dimensions. False after reporting that windows are too large.
bool windows_choose_tiles(struct windows *w, int64_t positions, int64_t width, int64_t channels);
// The grid's dimensions alone: positions in the first one.
void windows_spread(struct windows *w);
// The first element of the instance's tile along an axis of the kernel; -1: 0.
struct value *windows_start(struct windows *w, int axis);

// The root of windows is the input with its dimensions as they lie in memory: batch, channels, spatial ..; or batch,
// spatial .., (groups,) channels.
int windows_spatial_root(const struct windows *w, int d);
int windows_channel_root(const struct windows *w);

// The parameter for the root, and where in it the window of the instance's first position begins.
struct value *windows_view(struct windows *w, struct value **index);

// One dimension of a tile of windows: of the root's dimension `root`, with a coefficient.
struct walk {
    int axis, root;
    int64_t coefficient;
};

// The dimensions for the result's positions, and from the n-th on those for positions in a window; how many there are
// then.
int windows_positions(struct windows *w, struct walk *walks);
int windows_insides(struct windows *w, struct walk *walks, int n);
// The input's windows as a tile with dimensions `walks`; their labels, if asked for.
struct value *windows_load(struct windows *w, int n, const struct walk *walks, struct number pad, char *labels);
// Constant weights [f, c, k ..] as [group][f / panel][k ..][c][panel], or NULL if they are not constant.
struct storage *windows_pack_weights(struct windows *w, int64_t groups, int64_t panel);
bool windows_can_pack(const struct windows *w);

// The result's axes, in order.
int windows_result_axes(struct windows *w, int *axes);
// What follows element by element, and the launch; x is the result as a tile of those axes.
void windows_finish(struct windows *w, struct value *x, int n, const int *axes);

// Whether channels can stay where they are: rows along the last spatial dimension are the vectors then.
bool windows_prefer_channels_first(struct lowering *l, const struct op *op);

// ---- Kinds of kernels --------------------------------------------------------------------------------------------

// Of a convolution that has begun: each channel by itself (emit_pool.c); or by Winograd's transform (emit_winograd.c),
// where that can be and takes less time.
void emit_depthwise(struct windows *w);
bool winograd_can_do(struct windows *w);
bool winograd_pays(struct windows *w);
void emit_winograd(struct windows *w);

#endif
