// What Resize does along each axis, as the node says it (import_resize.c) and as it is built (import_resample.c).
#ifndef TEGULA_FRONTEND_IMPORT_RESAMPLE_H
#define TEGULA_FRONTEND_IMPORT_RESAMPLE_H

#include "frontend/import_internal.h"

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC, RESIZE_MODES };

enum coordinates {
    HALF_PIXEL,
    HALF_PIXEL_SYMMETRIC,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    TF_CROP_AND_RESIZE,
    TF_HALF_PIXEL_FOR_NN,
    COORDINATES
};

enum rounding { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL, ROUNDINGS };

// A number of the arithmetic on coordinates: known, or a scalar that the host computes from open sizes.
struct real {
    bool known;
    float x;
    struct value *v;
};

struct resized_axis {
    int axis;
    dim in, out;
    struct real scale, length; // of the result, before it is rounded to a size
    struct real start, end;    // of the part of the operand that is wanted, from 0 to 1
    bool whole;                // which is all of it
};

struct resize {
    struct node *n;
    enum resize_mode mode;
    enum coordinates coordinates;
    enum rounding rounding;
    bool simple; // version 10: rounds towards the element that a smaller result would lose
    bool antialias, exclude_outside;
    double cubic_a, extrapolation;
    int n_axes;
    struct resized_axis axes[MAX_RANK];
};

struct real real_known(double x);
struct real real_size(struct node *n, dim d);
struct real real_arithmetic(struct node *n, enum opcode code, struct real a, struct real b);

// Whether the axis is another one afterwards.
bool import_resample_changes(const struct resized_axis *a);
// The value with all its axes resized; NULL after node_error.
struct value *import_resample(const struct resize *r, struct value *v);

#endif
