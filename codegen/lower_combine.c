// dot, reduce, scan: what combines elements. The order of every sum is fixed.
#include <string.h>

#include "codegen/lower_internal.h"

// Narrow floats are combined in f32 and rounded at the end.
static enum dtype accumulator(enum dtype t)
{
    return lower_is_narrow(t) ? DTYPE_F32 : t;
}

// All lanes in one: halves are combined until one lane is left.
static LLVMValueRef horizontal(struct lower *l, struct op *op, enum opcode combine, enum dtype t, LLVMValueRef x)
{
    for (int n = lower_lanes(x); n > 1; n = lower_lanes(x)) {
        LLVMValueRef half[2];
        if (n % 2) { // not a power of two: the last lane by itself
            LLVMValueRef y = lower_pick(l, x, 0);
            for (int i = 1; i < n && y; i++)
                y = lower_apply(l, op, combine, t, (LLVMValueRef[]){y, lower_pick(l, x, i)});
            return y;
        }
        for (int h = 0; h < 2; h++) {
            int lane[128];
            for (int i = 0; i < n / 2; i++)
                lane[i] = h * (n / 2) + i;
            half[h] = n == 2 ? lower_pick(l, x, h) : lower_shuffle(l, x, NULL, n / 2, lane);
        }
        x = lower_apply(l, op, combine, t, half);
        if (!x)
            return NULL;
    }
    return x;
}

// ---- dot -------------------------------------------------------------------------------------------------------

struct dot {
    struct op *op;
    struct einsum e;
    enum dtype t; // of the sum
    int64_t size[EINSUM_LABELS], at[EINSUM_LABELS];
    int lanes, axis;        // the label vectors lie along; -1: none
    LLVMValueRef *known[2]; // by the factor's element
};

static LLVMValueRef factor(struct lower *l, struct dot *d, int which)
{
    struct value *v = d->op->operands[which];
    const struct type *type = v->type;
    int64_t at[MAX_RANK] = {0}, flat = 0;
    int axis = -1;
    for (int i = 0; i < type->rank; i++) {
        at[i] = d->at[d->e.axis[which][i]];
        flat = flat * type->dims[i] + at[i];
        if (d->e.axis[which][i] == d->axis)
            axis = i;
    }
    LLVMValueRef *x = &d->known[which][flat];
    if (*x)
        return *x;
    if (axis < 0)
        *x = lower_splat(l, lower_cast(l, d->t, type->dtype, lower_element(l, v, at)), d->lanes);
    else
        *x = lower_cast(l, d->t, type->dtype, lower_vector(l, v, at, axis, d->lanes));
    return *x;
}

// Steps over the axes that are summed (or those that are not), the vectors' axis by whole vectors.
static bool advance(struct dot *d, bool summed)
{
    for (int a = d->e.n_axes - 1; a >= 0; a--) {
        if (einsum_contracts(&d->e, a) != summed)
            continue;
        d->at[a] += a == d->axis ? d->lanes : 1;
        if (d->at[a] < d->size[a])
            return true;
        d->at[a] = 0;
    }
    return false;
}

static bool empty(const struct dot *d)
{
    for (int a = 0; a < d->e.n_axes; a++)
        if (d->size[a] == 0)
            return true;
    return false;
}

// The axis along which both factors are vectors, when it is summed.
static int summed_axis(const struct dot *d)
{
    struct registers left = registers_of(d->op->operands[0]->type), right = registers_of(d->op->operands[1]->type);
    if (left.axis < 0 || right.axis < 0 || left.lanes != right.lanes)
        return -1;
    int axis = d->e.axis[0][left.axis];
    return axis == d->e.axis[1][right.axis] && einsum_contracts(&d->e, axis) ? axis : -1;
}

static int64_t sum_register(const struct dot *d, const struct registers *s)
{
    int64_t at[MAX_RANK] = {0};
    for (int i = 0; i < s->rank; i++)
        at[i] = d->at[d->e.axis[2][i]];
    return registers_index(s, at);
}

// Sums along the vectors: one vector of partial sums for each element.
static void dot_across(struct lower *l, struct dot *d, const struct registers *s, LLVMValueRef *sum)
{
    LLVMValueRef none = LLVMConstNull(lower_vector_type(l, d->t, d->lanes));
    do {
        LLVMValueRef partial = NULL;
        do {
            LLVMValueRef x = factor(l, d, 0), y = factor(l, d, 1);
            int64_t left = d->size[d->axis] - d->at[d->axis];
            if (left < d->lanes) {
                LLVMValueRef mask = lower_first_lanes(l, (int)left, d->lanes);
                x = LLVMBuildSelect(l->b, mask, x, none, "");
                y = LLVMBuildSelect(l->b, mask, y, none, "");
            }
            partial = lower_fma(l, d->t, x, y, partial ? partial : none);
        } while (advance(d, true));
        LLVMValueRef pair[2] = {sum[sum_register(d, s)], horizontal(l, d->op, OP_ADD, d->t, partial)};
        sum[sum_register(d, s)] = lower_apply(l, d->op, OP_ADD, d->t, pair);
    } while (advance(d, false));
}

LLVMValueRef lower_dot(struct lower *l, struct op *op, int64_t r)
{
    struct dot d = {.op = op, .axis = -1, .lanes = 1};
    struct value *initial = op->operands[2], *result = op->results[0];
    struct registers s = registers_of(result->type);
    einsum_parse(op_attr(op, ATTR_LABELS)->string, &d.e);
    enum dtype t = result->type->dtype;
    d.t = accumulator(t);
    for (int o = 0; o < 3; o++)
        for (int i = 0; i < op->operands[o]->type->rank; i++)
            d.size[d.e.axis[o][i]] = op->operands[o]->type->dims[i];
    for (int i = 0; i < 2; i++)
        d.known[i] = ARENA_ARRAY(&l->arena, LLVMValueRef, type_elements(op->operands[i]->type));
    LLVMValueRef *sum = ARENA_ARRAY(&l->arena, LLVMValueRef, s.total);
    for (int64_t i = 0; i < s.total; i++)
        sum[i] = lower_cast(l, d.t, t, lower_register(l, initial, i));
    if (s.axis >= 0) {
        d.axis = d.e.axis[2][s.axis];
        d.lanes = s.lanes;
    } else if (summed_axis(&d) >= 0) {
        d.axis = summed_axis(&d);
        d.lanes = registers_of(op->operands[0]->type).lanes;
    }
    if (empty(&d)) {
        ; // nothing is added
    } else if (d.axis >= 0 && s.axis < 0) {
        dot_across(l, &d, &s, sum);
    } else {
        do {
            do {
                LLVMValueRef *x = &sum[sum_register(&d, &s)], left = factor(l, &d, 0), right = factor(l, &d, 1);
                *x = lower_fma(l, d.t, left, right, *x);
            } while (advance(&d, false));
        } while (advance(&d, true));
    }
    for (int64_t i = 0; i < s.total; i++)
        lower_set_register(l, result, i, lower_cast(l, t, d.t, sum[i]));
    return l->values[result->id][r].value;
}

// ---- reduce ----------------------------------------------------------------------------------------------------

struct reduction {
    struct op *op;
    enum opcode combine;
    enum dtype t;
    struct value *v;
    struct registers s; // of v
    bool reduced[MAX_RANK];
    int64_t at[MAX_RANK]; // the result's element
    LLVMValueRef count;   // NULL: all
    int count_axis;
};

// Source register i of those that end up in one of the result's.
static LLVMValueRef leaf(struct lower *l, const struct reduction *x, int64_t i)
{
    int64_t at[MAX_RANK];
    memcpy(at, x->at, sizeof at);
    for (int d = x->s.rank - 1; d >= 0; d--) {
        if (!x->reduced[d])
            continue;
        at[d] = i % x->s.n[d] * (d == x->s.axis ? x->s.lanes : 1);
        i /= x->s.n[d];
    }
    enum dtype from = x->v->type->dtype;
    LLVMValueRef y = lower_cast(l, x->t, from, lower_vector(l, x->v, at, x->s.axis, x->s.lanes));
    LLVMValueRef identity = lower_splat_like(l, lower_identity(l, x->combine, x->t, false), y);
    bool across = x->s.axis >= 0 && x->reduced[x->s.axis];
    int64_t left = across ? x->v->type->dims[x->s.axis] - at[x->s.axis] : x->s.lanes;
    if (x->count && across && x->count_axis == x->s.axis) {
        int64_t most = left < x->s.lanes ? left : x->s.lanes;
        LLVMValueRef n = LLVMBuildSub(l->b, x->count, lower_i64(l, at[x->count_axis]), "");
        n = lower_max(l, lower_min(l, n, lower_i64(l, most)), lower_i64(l, 0));
        return LLVMBuildSelect(
            l->b, lower_lanes_below(l, n, x->s.lanes, dtype_info[x->t].bits < 8 ? 8 : dtype_info[x->t].bits), y,
            identity, "");
    }
    if (left < x->s.lanes)
        y = LLVMBuildSelect(l->b, lower_first_lanes(l, (int)left, x->s.lanes), y, identity, "");
    if (x->count) {
        LLVMValueRef exists = LLVMBuildICmp(l->b, LLVMIntSLT, lower_i64(l, at[x->count_axis]), x->count, "");
        y = LLVMBuildSelect(l->b, exists, y, identity, "");
    }
    return y;
}

static LLVMValueRef tree(struct lower *l, const struct reduction *x, int64_t first, int64_t n)
{
    if (n == 1)
        return leaf(l, x, first);
    LLVMValueRef half[2];
    half[0] = tree(l, x, first, n - n / 2);
    half[1] = half[0] ? tree(l, x, first + n - n / 2, n / 2) : NULL;
    return half[1] ? lower_apply(l, x->op, x->combine, x->t, half) : NULL;
}

#define FEW_ROWS 4

LLVMValueRef lower_reduce(struct lower *l, struct op *op, int64_t r)
{
    enum dtype t = op->results[0]->type->dtype;
    struct reduction x = {
        .op = op,
        .combine = op_attr(op, ATTR_COMBINE)->opcode,
        .t = accumulator(t),
        .v = op->operands[0],
        .s = registers_of(op->operands[0]->type),
        .count = op->n_operands > 1 ? lower_scalar(l, op->operands[1]) : NULL,
    };
    struct ints axes = op_ints(op, ATTR_AXES);
    int64_t n = 1;
    for (int i = 0; i < axes.n; i++) {
        x.reduced[axes.v[i]] = true;
        x.count_axis = (int)axes.v[i];
        n *= x.s.n[axes.v[i]];
    }
    struct registers s = registers_of(op->results[0]->type);
    registers_element(&s, r, x.at);
    LLVMValueRef y = tree(l, &x, 0, n);
    if (y && x.s.axis >= 0 && x.reduced[x.s.axis])
        y = horizontal(l, op, x.combine, x.t, y);
    y = y ? lower_cast(l, t, x.t, y) : NULL;
    // A sum's last steps wait for each other: those of a few rows go side by side, before anything that needs one.
    if (s.total <= FEW_ROWS && r + 1 < s.total && y) {
        lower_set_register(l, op->results[0], r, y);
        lower_register(l, op->results[0], r + 1);
    }
    return y;
}

// ---- scan ------------------------------------------------------------------------------------------------------

struct line {
    struct op *op;
    enum opcode combine;
    enum dtype t, stored;
    bool exclusive, reverse;
    LLVMValueRef state; // all before; NULL: none
};

static LLVMValueRef combine(struct lower *l, const struct line *x, LLVMValueRef a, LLVMValueRef b)
{
    LLVMValueRef y = a ? lower_apply(l, x->op, x->combine, x->t, (LLVMValueRef[]){a, b}) : b;
    return y ? y : b; // a fault was reported
}

static LLVMValueRef nothing_before(struct lower *l, const struct line *x, LLVMValueRef like)
{
    return x->state ? x->state : lower_splat_like(l, lower_identity(l, x->combine, x->t, true), like);
}

// One register of a line whose elements lie in one register each.
static LLVMValueRef scan_along(struct lower *l, struct line *x, LLVMValueRef y)
{
    LLVMValueRef before = nothing_before(l, x, y);
    x->state = combine(l, x, x->state, y);
    return x->exclusive ? before : x->state;
}

// Lane i from lane i - by (i + by when reversed), from y's lanes when there is none.
static LLVMValueRef shifted(struct lower *l, const struct line *x, LLVMValueRef v, int by, LLVMValueRef fill)
{
    int n = lower_lanes(v), lane[128];
    for (int i = 0; i < n; i++) {
        int from = x->reverse ? i + by : i - by;
        lane[i] = from < 0 || from >= n ? n + i : from;
    }
    return lower_shuffle(l, v, fill, n, lane);
}

// One register of a line along the vectors; n lanes of it exist.
static LLVMValueRef scan_across(struct lower *l, struct line *x, LLVMValueRef y, int n)
{
    int lanes = lower_lanes(y);
    LLVMValueRef identity = lower_splat_like(l, lower_identity(l, x->combine, x->t, false), y);
    if (n < lanes)
        y = LLVMBuildSelect(l->b, lower_first_lanes(l, n, lanes), y, identity, "");
    for (int by = 1; by < lanes; by *= 2)
        y = combine(l, x, shifted(l, x, y, by, identity), y);
    LLVMValueRef before = lower_splat(l, nothing_before(l, x, lower_pick(l, y, 0)), lanes);
    if (x->state)
        y = combine(l, x, before, y);
    x->state = lower_pick(l, y, x->reverse ? 0 : lanes - 1);
    return x->exclusive ? shifted(l, x, y, 1, before) : y;
}

LLVMValueRef lower_scan(struct lower *l, struct op *op, int64_t r)
{
    struct value *v = op->operands[0], *result = op->results[0], *carry = op->n_operands > 1 ? op->operands[1] : NULL;
    const struct type *type = v->type;
    struct registers s = registers_of(type), lines = s;
    int axis = (int)op_int(op, ATTR_AXIS, 0);
    lines.n[axis] = 1;
    lines.total = s.total / s.n[axis];
    for (int64_t i = 0; i < lines.total && !l->failed; i++) {
        struct line x = {
            .op = op,
            .combine = op_attr(op, ATTR_COMBINE)->opcode,
            .t = accumulator(type->dtype),
            .exclusive = op_attr(op, ATTR_EXCLUSIVE),
            .reverse = op_attr(op, ATTR_REVERSE),
        };
        int64_t at[MAX_RANK] = {0};
        registers_element(&lines, i, at);
        if (carry) {
            LLVMValueRef y = axis == s.axis ? lower_element(l, carry, at) : lower_vector(l, carry, at, s.axis, s.lanes);
            x.state = lower_cast(l, x.t, type->dtype, y);
        }
        for (int64_t j = 0; j < s.n[axis]; j++) {
            int64_t step = x.reverse ? s.n[axis] - 1 - j : j;
            at[axis] = step * (axis == s.axis ? s.lanes : 1);
            int64_t here = registers_index(&s, at);
            LLVMValueRef y = lower_cast(l, x.t, type->dtype, lower_register(l, v, here));
            y = axis == s.axis ? scan_across(l, &x, y, registers_valid(type, here)) : scan_along(l, &x, y);
            lower_set_register(l, result, here, lower_cast(l, type->dtype, x.t, y));
        }
    }
    return l->values[result->id] ? l->values[result->id][r].value : NULL;
}
