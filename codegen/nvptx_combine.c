// reduce and dot. The order of every sum is fixed: registers in a tree, lanes by halves, warps in a tree.
#include "codegen/nvptx_internal.h"

#include <string.h>

// Narrow floats are combined in f32 and rounded at the end.
static enum dtype accumulator(enum dtype t)
{
    return lower_is_narrow(t) ? DTYPE_F32 : t;
}

// ---- reduce --------------------------------------------------------------------------------------------------------

struct reduction {
    struct op *op;
    enum opcode combine;
    enum dtype t;
    const struct layout *l; // of the operand
    uint32_t axes;          // bit d: dimension d is reduced
};

static LLVMValueRef combine(struct nvptx *n, const struct reduction *x, LLVMValueRef a, LLVMValueRef b)
{
    LLVMValueRef y = lower_apply(&n->l, x->op, x->combine, x->t, (LLVMValueRef[]){a, b});
    return y ? y : a; // a fault was reported
}

static LLVMValueRef tree(struct nvptx *n, const struct reduction *x, LLVMValueRef *leaf, int count)
{
    for (; count > 1; count = (count + 1) / 2)
        for (int i = 0; i < count / 2; i++) {
            int other = i + (count + 1) / 2;
            leaf[i] = combine(n, x, leaf[i], leaf[other]);
        }
    return leaf[0];
}

static bool reduces(const struct reduction *x, enum layout_dim d, unsigned bit)
{
    for (unsigned i = 0; i < x->l->out.rank; i++)
        if (x->axes >> i & 1 && layout_basis(x->l, d, bit, LAYOUT_DIM0 + i))
            return true;
    return false;
}

// The operand's registers, neutral where they do not count.
static LLVMValueRef *counted(struct nvptx *n, const struct reduction *x)
{
    struct lower *l = &n->l;
    struct value *v = x->op->operands[0];
    int registers = nvptx_registers(v->type);
    LLVMValueRef *y = ARENA_ARRAY(&l->arena, LLVMValueRef, registers), count = NULL, identity = NULL;
    struct position p = {0};
    enum layout_dim d = LAYOUT_DIM0;
    if (x->op->n_operands > 1) {
        int axis = (int)op_ints(x->op, ATTR_AXES).v[0];
        int64_t c, size = v->type->dims[axis];
        count = lower_scalar(l, x->op->operands[1]);
        d = LAYOUT_DIM0 + (unsigned)axis;
        if (lower_is_constant(count, &c) && c >= size) {
            count = NULL;
        } else {
            count = lower_max(l, lower_min(l, count, lower_i64(l, size)), lower_i64(l, 0));
            count = LLVMBuildTrunc(l->b, count, l->i32, "count");
            p = nvptx_position(n, x->l, d);
            identity = lower_identity(l, x->combine, x->t, false);
            if (p.apart)
                count = LLVMBuildSub(l->b, count, p.thread, "");
        }
    }
    for (int r = 0; r < registers; r++) {
        y[r] = lower_cast(l, x->t, v->type->dtype, nvptx_register(n, v, r));
        if (!count)
            continue;
        uint32_t c = nvptx_register_coordinate(x->l, r, d);
        LLVMValueRef at = p.apart ? lower_i32(l, c) : nvptx_coordinate(n, p, c);
        y[r] = LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, at, count, ""), y[r], identity, "");
    }
    return y;
}

// Results of warps that share a row meet in shared memory: [warp's number among them][element of the result].
static void across_warps(struct nvptx *n, const struct reduction *x, const struct type *result, LLVMValueRef *y)
{
    struct lower *l = &n->l;
    uint32_t lane[5] = {0}, warp[LAYOUT_MAX_BITS] = {0};
    int bits = 0, registers = nvptx_registers(result);
    for (int i = 0; i < n->warp_bits; i++)
        if (reduces(x, LAYOUT_WARP, (unsigned)i))
            warp[i] = 1u << bits++;
    if (!bits)
        return;
    LLVMValueRef which = nvptx_thread_map(n, lane, warp);
    int64_t elements = type_elements(result), bytes = dtype_bytes(x->t);
    int64_t region = nvptx_shared_region(n, (elements << bits) * bytes);
    LLVMTypeRef type = lower_memory_type(l, x->t, 1);
    LLVMValueRef base = LLVMBuildInBoundsGEP2(l->b, l->i8, n->shared, (LLVMValueRef[]){lower_i64(l, region)}, 1, "");
    LLVMValueRef *at = ARENA_ARRAY(&l->arena, LLVMValueRef, registers);
    struct position p[MAX_RANK];
    for (int d = 0; d < result->rank; d++)
        p[d] = nvptx_position(n, result->linear, LAYOUT_DIM0 + d);
    nvptx_touch(n, NULL, region, region + (elements << bits) * bytes, true);
    for (int r = 0; r < registers; r++) {
        LLVMValueRef index = lower_i32(l, 0);
        for (int d = 0; d < result->rank; d++) {
            if (result->dims[d] == 1)
                continue;
            LLVMValueRef c = nvptx_coordinate(n, p[d], nvptx_register_coordinate(result->linear, r, LAYOUT_DIM0 + d));
            index = LLVMBuildAdd(l->b, LLVMBuildMul(l->b, index, lower_i32(l, result->dims[d]), ""), c, "");
        }
        at[r] = index;
        LLVMValueRef mine = LLVMBuildAdd(l->b, LLVMBuildMul(l->b, which, lower_i32(l, elements), ""), index, "");
        LLVMValueRef v = x->t == DTYPE_I1 ? LLVMBuildZExt(l->b, y[r], type, "") : y[r];
        LLVMValueRef s = LLVMBuildStore(l->b, v, LLVMBuildInBoundsGEP2(l->b, type, base, &mine, 1, ""));
        LLVMSetAlignment(s, (unsigned)bytes);
    }
    nvptx_touch(n, NULL, region, region + (elements << bits) * bytes, false);
    for (int r = 0; r < registers; r++) {
        LLVMValueRef part[1 << 5];
        for (int w = 0; w < 1 << bits; w++) {
            LLVMValueRef index = LLVMBuildAdd(l->b, at[r], lower_i32(l, elements * w), "");
            part[w] = LLVMBuildLoad2(l->b, type, LLVMBuildInBoundsGEP2(l->b, type, base, &index, 1, ""), "");
            LLVMSetAlignment(part[w], (unsigned)bytes);
            if (x->t == DTYPE_I1)
                part[w] = LLVMBuildTrunc(l->b, part[w], l->i1, "");
        }
        y[r] = tree(n, x, part, 1 << bits);
    }
}

void nvptx_reduce(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    struct value *v = op->operands[0], *result = op->results[0];
    const struct type *t = result->type;
    struct reduction x = {
        .op = op, .combine = op_attr(op, ATTR_COMBINE)->opcode, .t = accumulator(t->dtype), .l = v->type->linear};
    struct ints axes = op_ints(op, ATTR_AXES);
    for (int i = 0; i < axes.n; i++)
        x.axes |= 1u << axes.v[i];
    if (!layout_reduces(x.l, x.axes)) {
        lower_error(l, op, "the layout of %s cannot be reduced", type_string(&l->arena, l->kernel->module, v->type));
        return;
    }
    LLVMValueRef *leaf = counted(n, &x), *y = ARENA_ARRAY(&l->arena, LLVMValueRef, nvptx_registers(t)),
                 *mine = ARENA_ARRAY(&l->arena, LLVMValueRef, nvptx_registers(v->type));
    int *reg_at = ARENA_ARRAY(&l->arena, int, type_elements(t)), registers = nvptx_registers(v->type);
    int *to = ARENA_ARRAY(&l->arena, int, registers);
    layout_first_thread(t->linear, reg_at);
    for (int r = 0; r < registers; r++) {
        int64_t at = 0;
        for (int d = 0; d < t->rank; d++)
            at = at * t->dims[d] + (t->dims[d] == 1 ? 0 : nvptx_register_coordinate(x.l, r, LAYOUT_DIM0 + d));
        to[r] = reg_at[at];
    }
    for (int i = 0; i < nvptx_registers(t); i++) {
        int count = 0;
        for (int r = 0; r < registers; r++)
            if (to[r] == i)
                mine[count++] = leaf[r];
        y[i] = tree(n, &x, mine, count);
        for (unsigned bit = 0; bit < 5; bit++)
            if (reduces(&x, LAYOUT_LANE, bit))
                y[i] = combine(n, &x, y[i], nvptx_shuffle_xor(n, y[i], 1 << bit));
    }
    across_warps(n, &x, t, y);
    for (int i = 0; i < nvptx_registers(t); i++)
        nvptx_set(n, result, i, lower_cast(l, t->dtype, x.t, y[i]));
}

// ---- dot -----------------------------------------------------------------------------------------------------------

struct dot {
    struct op *op;
    struct einsum e;
    int64_t size[EINSUM_LABELS];
    int *reg_at[3]; // of lane 0 of warp 0, by element
};

static int register_of(const struct dot *d, int operand, const int64_t *label)
{
    const struct type *t = d->op->operands[operand]->type;
    int64_t at = 0;
    for (int i = 0; i < t->rank; i++)
        at = at * t->dims[i] + label[d->e.axis[operand][i]];
    return d->reg_at[operand][at];
}

// The label with several elements that operands have (bit i of `operands`) and no others; -1: none.
static int lone_label(const struct dot *d, unsigned operands)
{
    for (int x = 0; x < d->e.n_axes; x++) {
        unsigned in = 0;
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < d->e.rank[i]; k++)
                in |= d->e.axis[i][k] == x ? 1u << i : 0;
        if (in == operands && d->size[x] > 1)
            return x;
    }
    return -1;
}

// Fragments are found by their elements: element i of a fragment is where its layout has it in lane 0.
static bool fragment(struct nvptx *n, const struct dot *d, int operand, enum layout_mma which, int row, int column,
                     const int64_t *origin, int *registers)
{
    struct layout f = layout_mma_fragment(which, 16, 16);
    for (int i = 0; i < 1 << f.in.bits[LAYOUT_REG]; i++) {
        int64_t at[EINSUM_LABELS];
        memcpy(at, origin, sizeof at);
        at[row] += nvptx_register_coordinate(&f, i, LAYOUT_DIM0);
        at[column] += nvptx_register_coordinate(&f, i, LAYOUT_DIM0 + 1);
        registers[i] = register_of(d, operand, at);
        if (registers[i] < 0) {
            lower_error(&n->l, d->op, "operand %d does not lie as mma has it", operand + 1);
            return false;
        }
    }
    return true;
}

static void factor_words(struct nvptx *n, const struct dot *d, int operand, const int *registers, int words,
                         LLVMValueRef *word)
{
    struct value *v = d->op->operands[operand];
    for (int i = 0; i < words; i++) {
        LLVMValueRef pair[2] = {nvptx_register(n, v, registers[2 * i]), nvptx_register(n, v, registers[2 * i + 1])};
        nvptx_pack(n, v->type->dtype, 32, 1, pair, &word[i]);
    }
}

static void dot_mma(struct nvptx *n, const struct dot *d, LLVMValueRef *sum)
{
    int m = lone_label(d, 1 | 4), nn = lone_label(d, 2 | 4), k = lone_label(d, 1 | 2);
    if (m < 0 || nn < 0 || k < 0) {
        lower_error(&n->l, d->op, "its labels are not those of a matrix product");
        return;
    }
    int64_t at[EINSUM_LABELS] = {0};
    for (at[k] = 0; at[k] < d->size[k]; at[k] += 16)
        for (at[m] = 0; at[m] < d->size[m]; at[m] += 16)
            for (at[nn] = 0; at[nn] < d->size[nn]; at[nn] += 8) {
                if (register_of(d, 2, at) < 0)
                    continue; // another warp's
                int ra[8], rb[4], rc[4];
                LLVMValueRef a[4], b[2], c[4];
                if (!fragment(n, d, 0, LAYOUT_MMA_A, m, k, at, ra) || !fragment(n, d, 1, LAYOUT_MMA_B, k, nn, at, rb) ||
                    !fragment(n, d, 2, LAYOUT_MMA_ACC, m, nn, at, rc))
                    return;
                factor_words(n, d, 0, ra, 4, a);
                factor_words(n, d, 1, rb, 2, b);
                for (int i = 0; i < 4; i++)
                    c[i] = sum[rc[i]];
                nvptx_mma(n, d->op->operands[0]->type->dtype, a, b, c);
                for (int i = 0; i < 4; i++)
                    sum[rc[i]] = c[i];
            }
}

static void dot_multiply_add(struct nvptx *n, const struct dot *d, LLVMValueRef *sum)
{
    struct lower *l = &n->l;
    const struct type *t = d->op->operands[2]->type;
    enum dtype acc = accumulator(t->dtype);
    int64_t products = 1;
    for (int x = 0; x < d->e.n_axes; x++)
        if (einsum_contracts(&d->e, x))
            products *= d->size[x];
    for (int64_t p = 0; p < products; p++) {
        int64_t at[EINSUM_LABELS] = {0}, rest = p;
        for (int x = 0; x < d->e.n_axes; x++)
            if (einsum_contracts(&d->e, x)) {
                at[x] = rest % d->size[x];
                rest /= d->size[x];
            }
        for (int r = 0; r < nvptx_registers(t); r++) {
            for (int i = 0; i < t->rank; i++)
                at[d->e.axis[2][i]] = nvptx_register_coordinate(t->linear, r, LAYOUT_DIM0 + i);
            LLVMValueRef x[2];
            for (int i = 0; i < 2; i++) {
                int from = register_of(d, i, at);
                if (from < 0) {
                    lower_error(l, d->op, "operand %d does not lie as the sums need it", i + 1);
                    return;
                }
                struct value *v = d->op->operands[i];
                x[i] = lower_cast(l, acc, v->type->dtype, nvptx_register(n, v, from));
            }
            sum[r] = lower_fma(l, acc, x[0], x[1], sum[r]);
        }
    }
}

void nvptx_dot(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    struct dot d = {.op = op};
    einsum_parse(op_attr(op, ATTR_LABELS)->string, &d.e);
    bool own = true; // each thread has all factors of its sums
    for (int i = 0; i < 3; i++) {
        const struct type *t = op->operands[i]->type;
        for (int k = 0; k < t->rank; k++)
            d.size[d.e.axis[i][k]] = t->dims[k];
        d.reg_at[i] = ARENA_ARRAY(&l->arena, int, type_elements(t));
        layout_first_thread(t->linear, d.reg_at[i]);
        struct layout factor = layout_factor(op->operands[2]->type->linear, &d.e, i, t);
        own = own && (i == 2 || layout_equal(&factor, t->linear));
    }
    const struct type *t = op->results[0]->type;
    enum dtype acc = accumulator(t->dtype);
    LLVMValueRef *sum = ARENA_ARRAY(&l->arena, LLVMValueRef, nvptx_registers(t));
    for (int r = 0; r < nvptx_registers(t); r++)
        sum[r] = lower_cast(l, acc, t->dtype, nvptx_register(n, op->operands[2], r));
    if (own)
        dot_multiply_add(n, &d, sum);
    else
        dot_mma(n, &d, sum);
    for (int r = 0; r < nvptx_registers(t) && !l->failed; r++)
        nvptx_set(n, op->results[0], r, lower_cast(l, t->dtype, acc, sum[r]));
}
