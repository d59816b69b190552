// Shaping for CPUs: what the files shape*.c share. The pass is described at the top of shape.c.
#ifndef TEGULA_PASSES_SHAPE_H
#define TEGULA_PASSES_SHAPE_H

#include "ir/ir.h"
#include "ir/target.h"
#include "passes/axes.h"
#include "passes/pass.h"
#include "passes/schedule.h"

// The part of an axis that is being computed. offset (in the new kernel; NULL: 0) counts from the axis's start.
struct window {
    struct value *offset;
    int64_t size;
    bool inside; // all of it lies below the axis's clip
};

// Positions of an axis from `bound - base` on are never observed: stores drop them, reductions do not count them.
// Values of the old kernel; NULL: 0 or `constant`.
struct clip {
    bool known;
    struct value *base, *bound;
    int64_t constant;
};

// Where a tile lies in scratch memory. Only its dimensions other than 1 have a dimension there.
struct place {
    struct value *view; // new
    int rank;
    int dim_of[MAX_RANK];           // of the value, by dimension of the scratch
    int64_t size[MAX_RANK];         // by dimension of the scratch; unknown where a loop's whole range lies
    struct value *origin[MAX_RANK]; // new; the window's offset when it was made, by dimension of the value
    int loop_dim;                   // of the value, whose index also counts the loop index below; -1: none
    struct value *loop_index;       // old
    int64_t panel;                  // not 0: the last dimension is cut into panels of this size, which lie one after
                                    // the other: the scratch has one dimension more, in front
    const struct affine_map *map;   // not NULL: the scratch holds a box of a view's root, seen through this map
};

enum bind_kind {
    BIND_NONE,
    BIND_DIRECT, // a value of the new kernel, of the current windows' shape
    BIND_LAZY,   // made where it is needed
    BIND_MEMORY  // in scratch
};

struct binding {
    enum bind_kind kind;
    struct value *value;
    const struct place *place;
};

struct undo {
    int id;
    struct binding before;
    struct undo *next;
};

// What a kernel does: operations that others wait for. All other operations on tiles are computed where they are used.
enum anchor_kind { ANCHOR_OP, ANCHOR_LOOP, ANCHOR_EXPORT };

struct anchor {
    enum anchor_kind kind;
    struct op *op;             // ANCHOR_OP: store, scatter, atomic, dot, reduce, scan; ANCHOR_LOOP: a `for` around dots
    struct value *value;       // ANCHOR_EXPORT: the value to put into place
    const struct place *place; // ANCHOR_EXPORT: where; NULL: made by the group, and bound to the value
    bool *cone;                // by value id: values that it is computed from, up to results of other anchors
    bool *axes;                // by axis: those of the cone
};

// How an axis is cut in a nest of loops.
struct split {
    int axis;
    int64_t step;
    bool backward;     // from the end of the axis
    bool rest_at_once; // what is left at the end is one piece, or two
    // A load of which pieces of a whole step are told apart by whether they lie inside of its view, or NULL.
    const struct op *told_apart;
};

struct dot_axes {
    int n_rows, rows[MAX_RANK];       // of the left factor and the sum
    int n_columns, columns[MAX_RANK]; // of the right factor and the sum
    int n_batch, batch[MAX_RANK];     // of both factors and the sum
    int n_inner, inner[2 * MAX_RANK]; // summed over
};

// Anchors that run in one nest of loops.
struct group {
    int n_anchors, room;
    struct anchor *anchors;
    int n_splits;
    struct split splits[3 * MAX_RANK];
    int vector_axis, lanes; // AXIS_NONE, 1: scalars
    struct op *dot;         // the dot (or the one in the ANCHOR_LOOP) that shaped the group, or NULL
    struct dot_axes dot_axes;
    int64_t few_rows, few_columns; // of a register tile for a number of rows that turns out to be small; 0: none
    bool swapped;                  // the right factor is the one that is broadcast: the vector axis belongs to the left
    bool *written;                 // by value id of roots
};

struct shaper {
    struct module *m;
    struct function *old, *new;
    struct builder b;
    struct pass_context *c;
    struct arena *scratch;
    const struct target_desc *target;
    struct axes axes;
    struct window *window; // by axis
    struct clip *clip;     // by axis
    struct binding *bind;  // by old value id
    struct undo *trail;
    bool *written;                // by old value id: roots that are stored to
    const struct value **settled; // by old value id of a tile loaded from one of those: the root, if nothing is stored
                                  // there afterwards; else NULL
    int lanes, vector_axis;       // of the nest being emitted
    const struct op *inside;      // a load known to be in bounds where code is emitted now, or NULL
    bool inside_in[MAX_RANK];     // in these dimensions of the root
    const struct group *group;
    int n_later; // groups that come after it in its block
    const struct group *later;
    bool failed;
};

// shape.c
struct value *shape_scalar(struct shaper *s, struct value *old); // its counterpart
void shape_bind(struct shaper *s, const struct value *old, struct binding b);
struct undo *shape_mark(struct shaper *s);
void shape_rollback(struct shaper *s, struct undo *mark);
void shape_clone_scalars(struct shaper *s, struct block *body); // operations on scalars and views
void shape_fail(struct shaper *s, struct loc loc, const char *text);
void shape_find_written(struct shaper *s); // and what is settled
bool shape_is_lazy(const struct shaper *s, const struct op *op);
struct value *shape_add(struct shaper *s, struct value *a, struct value *b); // NULL is 0
struct value *shape_sub(struct shaper *s, struct value *a, struct value *b);

// shape_bounds.c: what is known of indices.
void bounds_find_clips(struct shaper *s);
// Whether the access (load, store) at the current windows is in bounds in the root's dimension r.
bool bounds_proven(struct shaper *s, const struct op *op, const struct value *tile, int r);
// The size of a view's dimension: a symbol of the old kernel, or NULL if it is constant.
struct value *bounds_size(const struct shaper *s, dim d);
// The distance in elements between neighbours along an axis of the tile that is loaded or stored: 0 if the access does
// not have the axis. False if it is not constant.
bool bounds_stride(const struct shaper *s, const struct op *access, const struct value *tile, int axis,
                   int64_t *stride);
bool bounds_unit_stride(const struct shaper *s, const struct op *access, const struct value *tile, int axis);
bool bounds_touches(const struct shaper *s, const struct op *access, const struct value *tile, int axis);
// Whether program instances that follow each other mostly agree on an index: it is computed from program ids of the
// grid's slower dimensions.
bool bounds_shared_by_neighbours(const struct value *index);
void bounds_access(const struct op *op, const struct value **root, struct affine_map *map,
                   struct value *terms[MAX_RANK][MAX_RANK], int n_terms[MAX_RANK]);

// shape_group.c: which anchors share a nest.
void group_block(struct shaper *s, struct op *first, struct op *last, int n_exports, const struct anchor *exports,
                 int *n_groups, struct group **groups);
bool group_loop_fuses(struct shaper *s, const struct op *loop);
void group_cone(struct shaper *s, struct anchor *a);
struct op *group_loop_dot(const struct op *loop);
bool group_expensive(const struct op *op);
// Whether a store puts each element where the load has found it.
bool group_in_place(const struct shaper *s, const struct op *load, const struct op *store);
bool group_reduces(const struct shaper *s, const struct op *op, int axis); // or scans along it

// shape_cut.c: how the nest of a group is cut.
void cut_group(struct shaper *s, struct group *g, struct anchor *first);

// shape_nest.c: loops.
struct nest {
    int n_splits;
    const struct split *splits;
    // Runs at every point of the nest; acc are the carried values, replaced by their successors.
    void (*leaf)(struct shaper *s, struct nest *n, struct value **acc);
    void (*before_level)(struct shaper *s, struct nest *n, int level);
    int n_acc;
    // Reductions along the vector axis: called around each piece of it. Either may be NULL.
    void (*enter_vector)(struct shaper *s, struct nest *n, struct value **acc);
    void (*leave_vector)(struct shaper *s, struct nest *n, struct value *const *outer, struct value **acc);
    void *data;
};
void nest_emit(struct shaper *s, struct nest *n, int level, struct value **acc);
struct value *nest_trip(struct shaper *s, int axis); // NULL: all of the axis, of static size

// shape_leaf.c: operations at the current windows.
struct type *leaf_type(struct shaper *s, const struct value *old);
struct value *leaf_value(struct shaper *s, struct value *old);
// The indices of a load or store of a tile, moved to the windows.
void leaf_indices(struct shaper *s, const struct op *op, const struct value *tile, struct value **indices);
void leaf_group(struct shaper *s, struct group *g);

// shape_place.c: scratch memory.
struct place *place_create(struct shaper *s, struct value *old, int n_order, const int *order);
struct value *place_load(struct shaper *s, const struct place *p, struct value *old);
void place_store(struct shaper *s, const struct place *p, struct value *old, struct value *x);

// shape_pack.c: copies of a dot's operands, laid out for it.
void pack_operands(struct shaper *s, struct group *g, int level);

// shape_prefetch.c: memory that the anchors after the group's dot will need, of it and of later groups.
void prefetch_around_dot(struct shaper *s, const struct group *g, int n_later, const struct group *later);

// shape_tile.c: the best register tile.
struct register_tile {
    int64_t rows, vectors;
};
// One for few rows, as wide as the columns, so that those are read without gaps; of no rows if that would not differ.
struct register_tile tile_for_few(const struct target_desc *t, struct register_tile usual, int64_t vectors);
struct register_tile tile_choose(const struct target_desc *t, int lanes, int element_bytes, int64_t rows,
                                 int64_t columns, int64_t most_rows);

#endif
