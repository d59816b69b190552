// Operators that take tensors apart and put them together: Concat, Gather, Slice, Split.
#include <string.h>

#include "frontend/import_internal.h"

// ---- Concat ----------------------------------------------------------------------------------------------------

static bool concat_lists(struct node *n)
{
    dim all[MOST_LISTED];
    int count = 0;
    for (int i = 0; i < n->n_inputs; i++) {
        struct list list = n->inputs[i]->list;
        if (!list.v || count + list.n > MOST_LISTED)
            return false;
        if (list.n)
            memcpy(all + count, list.v, sizeof(dim) * (size_t)list.n);
        count += list.n;
    }
    node_output_list(n, 0, node_type(n, 0)->dtype, 1, (struct list){count, all});
    return true;
}

void import_op_concat(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0);
    int axis;
    if (!node_axis(n, node_int(n, "axis", 0), t->rank, &axis))
        return;
    for (int i = 1; i < n->n_inputs; i++)
        if (node_type(n, i)->dtype != t->dtype || node_type(n, i)->rank != t->rank) {
            node_error(n, "inputs %s, %s, and %s, %s, must be alike but for axis %d",
                       model_quote(im->model, n->inputs[0]->name), type_string(&im->arena, im->module, t),
                       model_quote(im->model, n->inputs[i]->name), type_string(&im->arena, im->module, node_type(n, i)),
                       axis);
            return;
        }
    if (t->rank == 1 && concat_lists(n))
        return;
    struct value **v = ARENA_ARRAY(&im->arena, struct value *, n->n_inputs);
    dim dims[MAX_RANK];
    memcpy(dims, t->dims, sizeof dims);
    for (int i = 1; i < n->n_inputs; i++)
        for (int d = 0; d < t->rank; d++)
            if (d != axis && (dims[d] = import_agree(n, dims[d], node_type(n, i)->dims[d])) == DIM_UNKNOWN)
                return;
    for (int i = 0; i < n->n_inputs; i++) {
        v[i] = node_input(n, i);
        dims[axis] = v[i]->type->dims[axis];
        v[i] = import_coerce(im, v[i], dims);
    }
    node_output(n, 0, import_concat(im, axis, n->n_inputs, v));
}

// ---- Gather ----------------------------------------------------------------------------------------------------

// An index below 0 counts from the end.
static bool resolve_index(struct node *n, dim size, dim index, dim *out)
{
    int64_t lo, hi, slo, shi;
    dims_range(n->im->module, index, &lo, &hi);
    dims_range(n->im->module, size, &slo, &shi);
    if (hi < 0)
        index = dims_add(n->im->module, index, size);
    else if (lo < 0)
        return false; // either
    *out = index;
    dims_range(n->im->module, dims_sub(n->im->module, size, index), &lo, &hi); // must be above 0
    if (hi <= 0 || (hi < 0 && lo < 0)) {
        node_error(n, "an index is out of range for size %s", dim_string(&n->im->arena, n->im->module, size));
        return false;
    }
    return index != DIM_UNKNOWN;
}

static bool gather_list(struct node *n)
{
    struct list from = n->inputs[0]->list, at = n->inputs[1]->list;
    if (!from.v || !at.v || node_type(n, 0)->rank != 1)
        return false;
    dim *out = ARENA_ARRAY(&n->im->arena, dim, at.n + 1);
    for (int i = 0; i < at.n; i++) {
        dim index;
        int64_t x;
        if (!resolve_index(n, from.n, at.v[i], &index))
            return n->failed;
        if (!dims_to_int(n->im->module, index, &x))
            return false;
        if (x < 0 || x >= from.n) {
            node_error(n, "an index is out of range for size %d", from.n);
            return true;
        }
        out[i] = from.v[x];
    }
    node_output_list(n, 0, node_type(n, 0)->dtype, node_type(n, 1)->rank, (struct list){at.n, out});
    return true;
}

// One constant index: a slice.
static bool gather_one(struct node *n, int axis)
{
    const struct type *t = node_type(n, 0), *u = node_type(n, 1);
    struct list at = n->inputs[1]->list;
    dim index;
    int64_t lo, hi;
    if (!at.v || at.n != 1)
        return false;
    dims_range(n->im->module, at.v[0], &lo, &hi);
    if (lo != hi || !resolve_index(n, t->dims[axis], at.v[0], &index))
        return n->failed;
    if (!import_assert_index(n, index, t->dims[axis]))
        return true;
    struct value *v = import_slice_axis(n->im, node_input(n, 0), axis, index, 1, 1);
    dim dims[MAX_RANK];
    int rank = 0;
    for (int d = 0; d < t->rank; d++)
        if (d != axis || u->rank)
            dims[rank++] = t->dims[d];
    if (u->rank)
        dims[axis] = 1;
    node_output(n, 0, import_reshape(n->im, v, rank, dims));
    return true;
}

// The part at the counter of a loop that ends where the axis does is a view.
static bool gather_at_counter(struct node *n, int axis)
{
    const struct import_value *at = n->inputs[1];
    const struct type *t = node_type(n, 0);
    dim dims[MAX_RANK];
    int rank = 0;
    if (!at->counter || at->end != t->dims[axis])
        return false;
    for (int d = 0; d < t->rank; d++)
        if (d != axis)
            dims[rank++] = t->dims[d];
    struct value *part = import_dynamic_slice(n->im, node_input(n, 0), at->counter, axis, 1);
    node_output(n, 0, import_reshape(n->im, part, rank, dims));
    return true;
}

// Whether an index below 0 is possible.
static bool may_be_negative(const struct import_value *v)
{
    if (dtype_info[v->type->dtype].kind == DTYPE_KIND_UNSIGNED)
        return false;
    if (!v->data)
        return true;
    for (int64_t i = 0; i < v->data->n; i++)
        if (import_element(v->data, i) < 0)
            return true;
    return false;
}

void import_op_gather(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0), *u = node_type(n, 1);
    int axis;
    if (!node_axis(n, node_int(n, "axis", 0), t->rank, &axis))
        return;
    if (!dtype_is_int(u->dtype) || t->rank - 1 + u->rank > MAX_RANK) {
        node_error(n, "indices %s, %s, must be integers, and the result have at most %d dimensions",
                   model_quote(im->model, n->inputs[1]->name), type_string(&im->arena, im->module, u), MAX_RANK);
        return;
    }
    if (gather_list(n) || (u->rank <= 1 && gather_one(n, axis)) || gather_at_counter(n, axis) || n->failed)
        return;
    struct value *x = node_input(n, 0), *at = node_input(n, 1);
    if (may_be_negative(n->inputs[1])) {
        int64_t size;
        struct value *count = dims_to_int(im->module, t->dims[axis], &size)
                                  ? build_int(&im->b, type_scalar(im->module, u->dtype), size)
                                  : import_size(im, t->dims[axis], u->dtype);
        struct value *below = import_binary(n, OP_LT, at, import_number(n, u->dtype, 0));
        at = import_select(n, below, import_binary(n, OP_ADD, at, count), at);
    }
    node_output(
        n, 0,
        build_value(&im->b, OP_TAKE, 2, (struct value *[]){x, at}, 1, &(struct attr){ATTR_AXIS, {.i = axis}}, NULL));
}

// ---- Slice -----------------------------------------------------------------------------------------------------

// A bound of Slice within 0 to `most` (or -1 to size - 1 where the step is negative). Values from INT32_MAX on mean the
// end of an open size, as the operator's text recommends for sizes that are not known.
static dim bound(struct node *n, dim x, dim size, int64_t step)
{
    struct module *m = n->im->module;
    int64_t lo, hi, c;
    dim least = step > 0 ? 0 : dims_from_int(m, -1), most = step > 0 ? size : dims_sub(m, size, 1);
    if (dims_to_int(m, x, &c)) {
        if (dim_is_symbol(size) && c >= INT32_MAX)
            return most;
        if (dim_is_symbol(size) && c <= -(int64_t)INT32_MAX)
            return least;
    }
    dims_range(m, x, &lo, &hi);
    if (hi < 0) // from the end, and so below it
        return dims_max(m, dims_add(m, x, size), least);
    if (lo < 0) {
        node_error(n,
                   "a bound of the slice, %s, may be below 0 or not, and so count from either end; "
                   "give its sizes when compiling, by --dim, or take its Max with 0",
                   dim_string(&n->im->arena, m, x));
        return DIM_UNKNOWN;
    }
    return dims_max(m, dims_min(m, x, most), least);
}

struct part {
    dim start, size;
};

static struct part part_of(struct node *n, dim size, dim start, dim end, int64_t step)
{
    struct module *m = n->im->module;
    struct part p = {.start = bound(n, start, size, step)};
    if (step < 0) // to the last element at most
        p.start = dims_min(m, p.start, dims_sub(m, size, 1));
    dim to = bound(n, end, size, step), span = step > 0 ? dims_sub(m, to, p.start) : dims_sub(m, p.start, to);
    int64_t lo, hi;
    dims_range(m, start, &lo, &hi);
    if (step > 0 && to == size && lo >= 0) // size - min(size, start), in a form that x[:-start] has as well
        span = dims_sub(m, size, start);
    else if (step > 0 && to == size && hi < 0) // the last elements, or all
        span = dims_min(m, dims_sub(m, 0, start), size);
    p.size = dims_max(m, dims_ceildiv(m, span, dims_from_int(m, step > 0 ? step : -step)), 0);
    if (p.size == DIM_UNKNOWN && !n->failed)
        node_error(n, "the bounds of the slice are too large or too complicated");
    return p;
}

static bool slice_list(struct node *n, const struct part *p, int64_t step)
{
    struct list from = n->inputs[0]->list;
    int64_t start, size;
    if (!from.v || !dims_to_int(n->im->module, p->start, &start) || !dims_to_int(n->im->module, p->size, &size))
        return false;
    dim out[MOST_LISTED + 1];
    for (int64_t i = 0; i < size; i++)
        out[i] = from.v[start + i * step];
    node_output_list(n, 0, node_type(n, 0)->dtype, 1, (struct list){(int)size, out});
    return true;
}

static bool ints_to_list(struct node *n, struct ints ints, struct list *list)
{
    dim *v = ARENA_ARRAY(&n->im->arena, dim, ints.n + 1);
    int64_t most = (int64_t)1 << 62;
    for (int i = 0; i < ints.n; i++)
        v[i] = dims_from_int(n->im->module, ints.v[i] > most ? most : ints.v[i] < -most ? -most : ints.v[i]);
    *list = (struct list){ints.n, v};
    return true;
}

void import_op_slice(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0);
    struct list starts, ends;
    struct ints axes = node_ints(n, "axes"), steps = {0};
    bool inputs = n->row->most_inputs > 1;
    bool good = inputs
                    ? node_list(n, 1, "the list of starts", &starts) && node_list(n, 2, "the list of ends", &ends)
                    : ints_to_list(n, node_ints(n, "starts"), &starts) && ints_to_list(n, node_ints(n, "ends"), &ends);
    if (good && node_has_input(n, 3))
        good = node_constants(n, 3, "the list of axes", &axes);
    if (good && node_has_input(n, 4))
        good = node_constants(n, 4, "the list of steps", &steps);
    if (!good)
        return;
    bool all = !axes.n && !node_has(n, "axes") && !node_has_input(n, 3);
    if (ends.n != starts.n || (all ? starts.n > t->rank : axes.n != starts.n) || (steps.n && steps.n != starts.n)) {
        node_error(n, "the lists of starts, ends, axes and steps differ in length");
        return;
    }
    bool seen[MAX_RANK];
    if (!node_axes(n, axes, t->rank, seen))
        return;
    dim at[MAX_RANK] = {0}, sizes[MAX_RANK];
    int64_t by[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    memcpy(sizes, t->dims, sizeof sizes);
    for (int i = 0; i < starts.n; i++) {
        int64_t axis = all ? i : axes.v[i];
        int64_t d = axis < 0 ? axis + t->rank : axis, step = steps.n ? steps.v[i] : 1;
        if (!step || step < -INT32_MAX) {
            node_error(n, "a step of %lld is not possible", (long long)step);
            return;
        }
        step = step > INT32_MAX ? INT32_MAX : step;
        struct part p = part_of(n, t->dims[d], starts.v[i], ends.v[i], step);
        if (n->failed || (t->rank == 1 && slice_list(n, &p, step)))
            return;
        at[d] = p.start;
        sizes[d] = p.size;
        by[d] = step;
    }
    if (!starts.n)
        node_output_value(n, 0, n->inputs[0]);
    else
        node_output(n, 0, import_slice(im, node_input(n, 0), at, by, sizes));
}

// ---- Split -----------------------------------------------------------------------------------------------------

static bool split_sizes(struct node *n, dim whole, dim *sizes)
{
    struct module *m = n->im->module;
    struct list given = {0};
    if (node_has_input(n, 1)) {
        if (!node_list(n, 1, "the list of sizes", &given))
            return false;
    } else if (node_has(n, "split")) {
        ints_to_list(n, node_ints(n, "split"), &given);
    } else {
        int64_t parts = node_int(n, "num_outputs", n->n_outputs);
        if (parts != n->n_outputs) {
            node_error(n, "'num_outputs' is %lld and there are %d outputs", (long long)parts, n->n_outputs);
            return false;
        }
        bool uneven = n->row->since >= 18; // the last one may be smaller
        if (!uneven && !import_assert_divides(n, whole, parts))
            return false;
        dim each = uneven ? dims_ceildiv(m, whole, parts) : dims_floordiv(m, whole, parts), left = whole;
        for (int i = 0; i < n->n_outputs; i++) {
            sizes[i] = uneven ? dims_max(m, dims_min(m, each, left), 0) : each;
            left = dims_sub(m, left, each);
        }
        return true;
    }
    if (given.n != n->n_outputs) {
        node_error(n, "%d sizes are given for %d outputs", given.n, n->n_outputs);
        return false;
    }
    dim sum = 0;
    for (int i = 0; i < given.n; i++) {
        sizes[i] = given.v[i];
        import_assert_size(n, sizes[i]);
        sum = dims_add(m, sum, sizes[i]);
    }
    return !n->failed && import_agree(n, whole, sum) != DIM_UNKNOWN;
}

void import_op_split(struct node *n)
{
    const struct type *t = node_type(n, 0);
    struct module *m = n->im->module;
    int axis;
    if (!node_axis(n, node_int(n, "axis", 0), t->rank, &axis))
        return;
    dim *sizes = ARENA_ARRAY(&n->im->arena, dim, n->n_outputs + 1), start = 0;
    if (!split_sizes(n, t->dims[axis], sizes))
        return;
    for (int i = 0; i < n->n_outputs; i++) {
        struct part p = {start, sizes[i]};
        int64_t first, count;
        struct list from = n->inputs[0]->list;
        start = dims_add(m, start, sizes[i]);
        if (!node_wants(n, i))
            continue;
        if (from.v && t->rank == 1 && dims_to_int(m, p.start, &first) && dims_to_int(m, p.size, &count))
            node_output_list(n, i, t->dtype, 1, (struct list){(int)count, from.v + first});
        else
            node_output(n, i, import_slice_axis(n->im, node_input(n, 0), axis, p.start, 1, p.size));
    }
}
