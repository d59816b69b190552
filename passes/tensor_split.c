#include "passes/tensor_split.h"

#include <string.h>

#include "ir/dims.h"

// The dimensions of a view, from the outermost on; of the one at hand, `size` elements are left.
struct cursor {
    const struct tensor_view *v;
    int at, end;
    dim size;
};

static struct cursor cursor_create(const struct tensor_view *v, int first, int end)
{
    return (struct cursor){v, first, end, first < end ? v->sizes[first] : 1};
}

static void skip_ones(struct cursor *c)
{
    while (c->at < c->end && c->size == 1)
        if (++c->at < c->end)
            c->size = c->v->sizes[c->at];
}

// What remains of `want` elements without the part at hand: the quotient, or the product of what follows.
static dim without(struct module *m, const struct cursor *c, dim want)
{
    dim rest = dims_exact(m, want, c->size), inner = 1;
    for (int i = c->at + 1; rest == DIM_UNKNOWN && i < c->end; i++) {
        inner = dims_mul(m, inner, c->v->sizes[i]);
        if (dims_mul(m, c->size, inner) == want)
            rest = inner;
    }
    return rest;
}

// Takes what makes `want` elements, outermost first: part by part, a part cut where it is larger. False: none does.
static bool take(struct module *m, struct cursor *c, dim want, struct tensor_view *to)
{
    int first = to->rank;
    while (want != 1) {
        skip_ones(c);
        if (c->at == c->end || to->rank == MAX_RANK)
            return false;
        dim size = c->size, rest = without(m, c, want), stride = c->v->strides[c->at];
        if (rest != DIM_UNKNOWN) {
            want = rest;
            c->size = 1;
        } else {
            rest = dims_exact(m, size, want);
            if (rest == DIM_UNKNOWN)
                return false;
            stride = dims_mul(m, stride, rest);
            size = want;
            want = 1;
            c->size = rest;
        }
        int last = to->rank - 1;
        if (last >= first && to->strides[last] == dims_mul(m, stride, size)) {
            to->sizes[last] = dims_mul(m, to->sizes[last], size);
            to->strides[last] = stride;
        } else {
            to->sizes[to->rank] = size;
            to->strides[to->rank++] = stride;
        }
    }
    return true;
}

// ---- Views -----------------------------------------------------------------------------------------------------

static int begins(const struct tensor_view *v, int d)
{
    return v->tensor_rank ? v->first[d] : d;
}

static int tensor_rank(const struct tensor_view *v)
{
    return v->tensor_rank ? v->tensor_rank : v->rank;
}

// A view that is being made dimension by dimension.
static struct tensor_view nothing(const struct tensor_view *like)
{
    return (struct tensor_view){.offset = like->offset};
}

static bool append(struct tensor_view *to, dim size, dim stride)
{
    if (to->rank == MAX_RANK)
        return false;
    to->sizes[to->rank] = size;
    to->strides[to->rank++] = stride;
    return true;
}

static void end_dimension(struct tensor_view *to)
{
    to->first[++to->tensor_rank] = to->rank;
}

// Says nothing of splitting where there is none.
static struct tensor_view finish(const struct tensor_view *v)
{
    struct tensor_view plain = {.rank = v->tensor_rank, .offset = v->offset};
    for (int d = 0; d < v->tensor_rank; d++) {
        int parts = v->first[d + 1] - v->first[d];
        if (parts > 1)
            return *v;
        plain.sizes[d] = parts ? v->sizes[v->first[d]] : 1;
        plain.strides[d] = parts ? v->strides[v->first[d]] : 0;
    }
    return plain;
}

static bool reshape(struct module *m, const struct type *to, struct tensor_view *v)
{
    struct tensor_view new = nothing(v);
    struct cursor c = cursor_create(v, 0, v->rank);
    for (int d = 0; d < to->rank; d++) {
        if (!take(m, &c, to->dims[d], &new))
            return false;
        end_dimension(&new);
    }
    skip_ones(&c);
    *v = finish(&new);
    return c.at == c.end;
}

// Dimension d of the result is dimension from[d].
static bool permute(const int64_t *from, struct tensor_view *v)
{
    struct tensor_view new = nothing(v);
    for (int d = 0; d < tensor_rank(v); d++) {
        for (int i = begins(v, (int)from[d]); i < begins(v, (int)from[d] + 1); i++)
            append(&new, v->sizes[i], v->strides[i]);
        end_dimension(&new);
    }
    *v = finish(&new);
    return true;
}

static bool broadcast(const struct type *from, const struct type *to, struct tensor_view *v)
{
    struct tensor_view new = nothing(v);
    for (int d = 0; d < to->rank; d++) {
        int f = d - to->rank + from->rank;
        if (f < 0 || (from->dims[f] == 1 && to->dims[d] != 1)) {
            if (!append(&new, to->dims[d], 0))
                return false;
        } else {
            if (from->dims[f] != to->dims[d])
                return false;
            for (int i = begins(v, f); i < begins(v, f + 1); i++)
                if (!append(&new, v->sizes[i], v->strides[i]))
                    return false;
        }
        end_dimension(&new);
    }
    *v = finish(&new);
    return true;
}

// Elements start .. start + size of the dimension whose parts are i to end: a range of a part with all that is in it.
static bool cut(struct module *m, const struct tensor_view *v, int i, int end, dim start, dim size,
                struct tensor_view *to)
{
    for (; i < end; i++) {
        dim inner = 1;
        for (int j = i + 1; j < end; j++)
            inner = dims_mul(m, inner, v->sizes[j]);
        dim first = start == 0 ? 0 : dims_exact(m, start, inner), n = dims_exact(m, size, inner);
        if (first == DIM_UNKNOWN || n == DIM_UNKNOWN)
            return false;
        to->offset = dims_add(m, to->offset, dims_mul(m, first, v->strides[i]));
        start = 0;
        if (n == 1) { // one element of the part, and all that is in it
            size = inner;
            continue;
        }
        if (!append(to, n, v->strides[i]))
            return false;
        for (int j = i + 1; j < end; j++)
            if (!append(to, v->sizes[j], v->strides[j]))
                return false;
        return true;
    }
    return true;
}

bool tensor_split_slice(struct module *m, int dimension, dim start, dim size, struct tensor_view *v)
{
    struct tensor_view new = nothing(v);
    for (int d = 0; d < tensor_rank(v); d++) {
        int first = begins(v, d), end = begins(v, d + 1);
        if (d != dimension) {
            for (int i = first; i < end; i++)
                append(&new, v->sizes[i], v->strides[i]);
        } else if (end - first == 1) {
            new.offset = dims_add(m, new.offset, dims_mul(m, start, v->strides[first]));
            append(&new, size, v->strides[first]);
        } else if (!cut(m, v, first, end, start, size, &new)) {
            return false;
        }
        end_dimension(&new);
    }
    *v = finish(&new);
    return true;
}

static bool slice(struct module *m, const struct op *op, struct tensor_view *v)
{
    const struct type *from = op->operands[0]->type, *to = op->results[0]->type;
    struct dims starts = op_attr(op, ATTR_STARTS)->dims;
    struct ints steps = op_ints(op, ATTR_STEPS);
    for (int d = 0; d < to->rank; d++) {
        if (steps.n && steps.v[d] != 1)
            return false;
        if (from->dims[d] != to->dims[d] && !tensor_split_slice(m, d, starts.v[d], to->dims[d], v))
            return false;
    }
    return true;
}

bool tensor_split_apply(struct module *m, const struct op *op, struct tensor_view *v)
{
    struct tensor_view result = *v;
    bool has = tensor_view_apply(m, op, &result);
    if (!has) {
        result = *v;
        switch (op->code) {
        case OP_RESHAPE:
            has = reshape(m, op->results[0]->type, &result);
            break;
        case OP_TRANSPOSE:
            has = permute(op_ints(op, ATTR_AXES).v, &result);
            break;
        case OP_BROADCAST:
            has = broadcast(op->operands[0]->type, op->results[0]->type, &result);
            break;
        case OP_SLICE:
            has = slice(m, op, &result);
            break;
        default:
            break;
        }
    }
    if (has)
        *v = result;
    return has;
}

bool tensor_split_invert(struct module *m, const struct op *op, struct tensor_view *v)
{
    struct tensor_view result = *v;
    bool has = tensor_view_invert(m, op, &result);
    if (!has && op->code == OP_RESHAPE) {
        result = *v;
        has = reshape(m, op->operands[0]->type, &result);
    } else if (!has && op->code == OP_TRANSPOSE) {
        struct ints axes = op_ints(op, ATTR_AXES);
        int64_t back[MAX_RANK];
        for (int d = 0; d < axes.n; d++)
            back[axes.v[d]] = d;
        result = *v;
        has = permute(back, &result);
    }
    if (has)
        *v = result;
    return has;
}

// ---- Spaces ----------------------------------------------------------------------------------------------------

void tensor_space_add(struct tensor_space *s, int n, const dim *sizes, bool frozen)
{
    int at = s->first[s->rank];
    memcpy(s->sizes + at, sizes, sizeof(dim) * (size_t)n);
    s->frozen[s->rank] = frozen;
    s->first[++s->rank] = at + n;
}

static int parts_of(const struct tensor_space *s)
{
    int n = 0;
    for (int i = 0; i < s->first[s->rank]; i++)
        n += s->sizes[i] != 1;
    return n;
}

// The parts of a dimension of the space, cut wherever one of the view's begins. False: the two do not fit.
static bool refine(struct module *m, const struct tensor_space *s, int d, const struct tensor_view *v, int first,
                   int end, struct tensor_space *to)
{
    struct cursor c = cursor_create(v, first, end);
    for (int i = s->first[d]; i < s->first[d + 1]; i++) {
        struct tensor_view parts = {0};
        if (!take(m, &c, s->sizes[i], &parts))
            return false;
        if ((parts.rank > 1 && s->frozen[d]) || to->first[d + 1] + parts.rank >= SPACE_PARTS)
            return false;
        if (s->sizes[i] == 1)
            to->sizes[to->first[d + 1]++] = 1;
        for (int p = 0; p < parts.rank; p++)
            to->sizes[to->first[d + 1]++] = parts.sizes[p];
    }
    return true;
}

bool tensor_space_refine(struct module *m, struct tensor_space *s, const struct tensor_view *v, const int *dims)
{
    if (!v->tensor_rank)
        return true;
    struct tensor_space new = {.rank = s->rank};
    memcpy(new.frozen, s->frozen, sizeof new.frozen);
    for (int d = 0; d < s->rank; d++) {
        int of = -1;
        for (int i = 0; i < v->tensor_rank; i++)
            if (dims[i] == d && v->first[i + 1] > v->first[i])
                of = i;
        new.first[d + 1] = new.first[d];
        if (of >= 0) {
            if (!refine(m, s, d, v, v->first[of], v->first[of + 1], &new))
                return false;
            continue;
        }
        for (int i = s->first[d]; i < s->first[d + 1]; i++)
            if (new.first[d + 1] == SPACE_PARTS)
                return false;
            else
                new.sizes[new.first[d + 1]++] = s->sizes[i];
    }
    if (parts_of(&new) > parts_of(s) && parts_of(&new) > MAX_RANK)
        return false;
    *s = new;
    return true;
}

bool tensor_space_strides(struct module *m, const struct tensor_space *s, const struct tensor_view *v, const int *dims,
                          dim *strides)
{
    memset(strides, 0, sizeof *strides * (size_t)s->first[s->rank]);
    for (int i = 0; i < tensor_rank(v); i++) {
        int d = dims[i], first = begins(v, i), end = begins(v, i + 1);
        bool one = true;
        for (int p = first; p < end; p++)
            one &= v->sizes[p] == 1;
        if (d < 0 || one)
            continue;
        if (end - first == 1) { // whatever the sizes
            dim stride = v->strides[first];
            for (int p = s->first[d + 1] - 1; p >= s->first[d]; p--) {
                strides[p] = s->sizes[p] == 1 ? 0 : stride;
                stride = dims_mul(m, stride, s->sizes[p]);
            }
            continue;
        }
        struct cursor c = cursor_create(v, first, end);
        for (int p = s->first[d]; p < s->first[d + 1]; p++) {
            struct tensor_view part = {0};
            if (!take(m, &c, s->sizes[p], &part) || part.rank > 1)
                return false;
            strides[p] = part.rank ? part.strides[0] : 0;
        }
    }
    return true;
}
