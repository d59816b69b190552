// load, store, gather, scatter, atomic.
//
// A tile whose vectors lie across memory (say, a column of a row-major matrix per vector) is read along the dimension
// that is contiguous and transposed in registers, lanes x lanes elements at a time; stores are the reverse.
#include <string.h>

#include "codegen/lower_internal.h"

#define LINE_BYTES 64

// ---- Transposition in registers --------------------------------------------------------------------------------

// x[i] lane j becomes x[j] lane i. Within 128 bits pairs are interleaved (unpck), which moves the bit of the register
// number that tells them apart to the lowest of the lane number; then 128-bit pieces are dealt out, even ones to the
// first of the pair (shuf), which moves that bit to the highest.
static void transpose(struct lower *l, LLVMValueRef *x, int lanes, int bits)
{
    int piece = lanes < 128 / bits ? lanes : 128 / bits, inner = __builtin_ctz((unsigned)piece);
    for (int step = 0; 1 << step < lanes; step++) {
        bool interleave = step < inner;
        int bit = interleave ? inner - 1 - step : step;
        for (int r = 0; r < lanes; r++) {
            if (r >> bit & 1)
                continue;
            int other = r | 1 << bit, lane[2][128];
            for (int half = 0; half < 2; half++)
                for (int i = 0; i < lanes; i++) {
                    if (interleave) {
                        int at = i / piece * piece + half * piece / 2 + i % piece / 2;
                        lane[half][i] = at + (i % 2) * lanes;
                    } else {
                        int pieces = lanes / piece, p = i / piece; // of the result
                        int source = p % (pieces / 2) * 2 + half;
                        lane[half][i] = source * piece + i % piece + (p < pieces / 2 ? 0 : lanes);
                    }
                }
            LLVMValueRef low = lower_shuffle(l, x[r], x[other], lanes, lane[0]);
            x[other] = lower_shuffle(l, x[r], x[other], lanes, lane[1]);
            x[r] = low;
        }
    }
}

// The dimension to go along instead of the vector axis, or -1: contiguous, and long enough.
static int contiguous_dimension(const struct access *a, const struct type *t, const struct registers *s)
{
    int64_t stride;
    if (s->axis < 0 || t->dtype == DTYPE_I1 || (access_stride(a, s->axis, &stride) && (stride == 0 || stride == 1)) ||
        s->lanes & (s->lanes - 1) || s->lanes > 64 || t->dims[s->axis] < s->lanes / 2)
        return -1;
    for (int d = t->rank - 1; d >= 0; d--)
        if (d != s->axis && t->dims[d] >= s->lanes / 2 && access_stride(a, d, &stride) && stride == 1)
            return d;
    return -1;
}

static int valid(const struct type *t, int d, int64_t at, int lanes)
{
    int64_t left = t->dims[d] - at;
    return left < lanes ? (int)left : lanes;
}

static void load_transposed(struct lower *l, struct access *a, struct value *result, int along, const int64_t *at)
{
    const struct type *t = result->type;
    struct registers s = registers_of(t);
    LLVMValueRef x[64];
    int64_t e[MAX_RANK];
    memcpy(e, at, sizeof e);
    e[along] -= e[along] % s.lanes;
    int rows = valid(t, s.axis, e[s.axis], s.lanes), columns = valid(t, along, e[along], s.lanes);
    for (int i = 0; i < s.lanes; i++, e[s.axis]++)
        x[i] = i < rows ? access_load(l, a, e, along, s.lanes, columns)
                        : LLVMGetPoison(lower_vector_type(l, t->dtype, s.lanes));
    transpose(l, x, s.lanes, dtype_info[t->dtype].bits);
    e[s.axis] = at[s.axis];
    for (int i = 0; i < columns; i++, e[along]++)
        lower_set_register(l, result, registers_index(&s, e), x[i]);
}

// ---- Contiguous tiles ------------------------------------------------------------------------------------------

// The addresses made for one register serve the next, in the same scope.
static struct access *load_access(struct lower *l, struct op *op)
{
    int id = op->results[0]->id;
    if (!l->loads[id] || l->load_scope[id] != l->scope) {
        if (!l->loads[id])
            l->loads[id] = ARENA_NEW(&l->arena, struct access);
        access_init_op(l, l->loads[id], op);
        l->load_scope[id] = l->scope;
    }
    return l->loads[id];
}

LLVMValueRef lower_load(struct lower *l, struct op *op, int64_t r)
{
    struct value *result = op->results[0];
    const struct type *t = result->type;
    struct registers s = registers_of(t);
    int64_t e[MAX_RANK] = {0};
    struct access *a = load_access(l, op);
    if (!a->root)
        return NULL;
    registers_element(&s, r, e);
    int along = contiguous_dimension(a, t, &s);
    if (along >= 0) {
        load_transposed(l, a, result, along, e);
        return l->values[result->id][r].value;
    }
    return access_load(l, a, e, s.axis, s.lanes, registers_valid(t, r));
}

static void store_transposed(struct lower *l, struct access *a, struct value *v, int along)
{
    const struct type *t = v->type;
    struct registers s = registers_of(t), blocks = s;
    blocks.n[along] = (t->dims[along] + s.lanes - 1) / s.lanes;
    blocks.total = blocks.total / s.n[along] * blocks.n[along];
    for (int64_t b = 0; b < blocks.total; b++) {
        LLVMValueRef x[64];
        int64_t e[MAX_RANK];
        registers_element(&blocks, b, e);
        e[along] *= s.lanes;
        int rows = valid(t, s.axis, e[s.axis], s.lanes), columns = valid(t, along, e[along], s.lanes);
        int64_t first = e[along];
        for (int i = 0; i < s.lanes; i++, e[along]++)
            x[i] = i < columns ? lower_register(l, v, registers_index(&s, e))
                               : LLVMGetPoison(lower_vector_type(l, t->dtype, s.lanes));
        transpose(l, x, s.lanes, dtype_info[t->dtype].bits);
        e[along] = first;
        for (int i = 0; i < rows; i++, e[s.axis]++)
            access_store(l, a, e, along, s.lanes, columns, x[i]);
    }
}

void lower_store(struct lower *l, struct op *op)
{
    struct value *v = op->operands[0];
    struct registers s = registers_of(v->type);
    struct access a;
    access_init_op(l, &a, op);
    if (!a.root)
        return;
    int along = contiguous_dimension(&a, v->type, &s);
    if (along >= 0) {
        store_transposed(l, &a, v, along);
        return;
    }
    for (int64_t r = 0; r < s.total; r++) {
        int64_t e[MAX_RANK] = {0};
        registers_element(&s, r, e);
        access_store(l, &a, e, s.axis, s.lanes, registers_valid(v->type, r), lower_register(l, v, r));
    }
}

// Once for each line of memory along the dimension in which elements are neighbours.
void lower_prefetch(struct lower *l, struct op *op)
{
    struct ints sizes = op_ints(op, ATTR_SIZES);
    bool write = op_attr(op, ATTR_WRITE) != NULL;
    struct access a;
    access_init_op(l, &a, op);
    int64_t total = 1, stride;
    int along = -1;
    for (int d = 0; a.root && d < sizes.n; d++) {
        total *= sizes.v[d];
        if (sizes.v[d] > 1 && access_stride(&a, d, &stride) && stride == 1)
            along = d;
    }
    int64_t line = LINE_BYTES / dtype_bytes(a.dtype), n = along < 0 ? 1 : sizes.v[along];
    for (int64_t i = 0; a.root && i < total; i++) {
        int64_t at[MAX_RANK] = {0}, rest = i;
        for (int d = sizes.n - 1; d >= 0; d--) {
            at[d] = rest % sizes.v[d];
            rest /= sizes.v[d];
        }
        // Lines that begin within n elements, and that of the last one, which may lie in one more.
        if (along < 0 || at[along] % line == 0 || (n % line && at[along] == n - 1))
            access_prefetch(l, &a, at, write);
    }
}

// ---- Tiles of indices ------------------------------------------------------------------------------------------

// How an index changes along an axis of the tile.
enum course { CONSTANT, CONSECUTIVE, ANY };

static enum course course(const struct value *v, const struct type *tile, int axis)
{
    const struct type *t = v->type;
    int d = axis - (tile->rank - t->rank);
    if (t->kind != TYPE_TILE || d < 0 || t->dims[d] == 1)
        return tile->dims[axis] == 1 || t->kind != TYPE_TILE || d < 0 || t->dims[d] == 1 ? CONSTANT : ANY;
    const struct op *op = v->def;
    if (!op)
        return ANY;
    if (op->code == OP_IOTA)
        return op_int(op, ATTR_AXIS, 0) == d ? CONSECUTIVE : CONSTANT;
    if (op->code == OP_CONSTANT)
        return CONSTANT;
    if (op->code == OP_BROADCAST)
        return course(op->operands[0], t, d);
    if (t->dtype != DTYPE_I64 && t->dtype != DTYPE_INDEX) // arithmetic may wrap
        return ANY;
    if (op->code == OP_ADD || op->code == OP_SUB) {
        enum course x = course(op->operands[0], t, d), y = course(op->operands[1], t, d);
        if (y == CONSTANT)
            return x;
        return x == CONSTANT && op->code == OP_ADD ? y : ANY;
    }
    return ANY;
}

static LLVMValueRef index_element(struct lower *l, struct value *v, const struct type *tile, const int64_t *at)
{
    int64_t e[MAX_RANK] = {0};
    const struct type *t = v->type;
    for (int d = 0; t->kind == TYPE_TILE && d < t->rank; d++)
        e[d] = t->dims[d] == 1 ? 0 : at[tile->rank - t->rank + d];
    return lower_cast(l, DTYPE_INDEX, t->dtype, lower_element(l, v, e));
}

// The access to the elements from `at` on along the vector axis: one, or consecutive ones along its dimension 0.
static void init_indexed(struct lower *l, struct access *a, struct op *op, const struct type *tile, const int64_t *at,
                         int consecutive)
{
    int v = op_view_operand(op);
    struct value *view = op->operands[v];
    LLVMValueRef index[MAX_RANK];
    bool nonnegative[MAX_RANK] = {false};
    for (int d = 0; d < view->type->rank; d++) {
        struct value *x = op->operands[v + 1 + d];
        index[d] = index_element(l, x, tile, at);
        nonnegative[d] = x->type->kind == TYPE_SCALAR && lower_is_nonnegative(x);
    }
    access_init(l, a, op, view, index, nonnegative, (struct ints){0});
    for (int r = 0; r < a->root_rank; r++) {
        int64_t step = consecutive >= 0 ? a->step[r][consecutive] : 0;
        memset(a->step[r], 0, sizeof a->step[r]);
        a->step[r][0] = step;
    }
    a->rank = 1;
}

// The view dimension whose index counts up along the vector axis while the others stand still; -1: none, -2: any.
static int consecutive_dimension(const struct op *op, const struct type *tile, int axis)
{
    int v = op_view_operand(op), found = -1;
    for (int i = v + 1; i < op->n_operands; i++) {
        enum course c = course(op->operands[i], tile, axis);
        if (c == ANY || (c == CONSECUTIVE && found >= 0))
            return -2;
        if (c == CONSECUTIVE)
            found = i - v - 1;
    }
    return found;
}

LLVMValueRef lower_gather(struct lower *l, struct op *op, int64_t r)
{
    const struct type *t = op->results[0]->type;
    struct registers s = registers_of(t);
    int64_t e[MAX_RANK] = {0}, start[MAX_RANK] = {0};
    struct access a;
    registers_element(&s, r, e);
    int n = registers_valid(t, r);
    int consecutive = s.axis < 0 ? -1 : consecutive_dimension(op, t, s.axis);
    if (consecutive >= -1) {
        init_indexed(l, &a, op, t, e, consecutive);
        return access_load(l, &a, start, 0, s.lanes, n);
    }
    LLVMValueRef x = LLVMGetPoison(lower_vector_type(l, t->dtype, s.lanes));
    for (int i = 0; i < n && !l->failed; i++, e[s.axis]++) {
        init_indexed(l, &a, op, t, e, -1);
        x = lower_insert(l, x, access_load(l, &a, start, 0, 1, 1), i);
    }
    return x;
}

// The tile that values and indices make up together.
static struct type indexed_tile(const struct op *op)
{
    struct type tile = {.kind = TYPE_SCALAR};
    for (int i = 0; i < op->n_operands; i++) {
        const struct type *t = op->operands[i]->type;
        if (t->kind != TYPE_TILE)
            continue;
        tile.kind = TYPE_TILE;
        int shift = t->rank - tile.rank;
        if (shift > 0) {
            memmove(tile.dims + shift, tile.dims, sizeof(dim) * (size_t)tile.rank);
            for (int d = 0; d < shift; d++)
                tile.dims[d] = 1;
            tile.rank = t->rank;
        }
        for (int d = 0; d < t->rank; d++)
            if (t->dims[d] != 1)
                tile.dims[tile.rank - t->rank + d] = t->dims[d];
    }
    return tile;
}

// Calls `each` for the elements in row-major order, `lanes` at a time along `axis` if a vector can be stored.
static void lower_indexed(struct lower *l, struct op *op,
                          void (*each)(struct lower *l, struct op *op, struct access *a, LLVMValueRef x))
{
    struct type tile = indexed_tile(op);
    struct value *v = op->operands[0];
    int64_t n = type_elements(&tile), start[MAX_RANK] = {0};
    struct registers s = registers_of(v->type);
    bool vectors = !each && s.axis >= 0 && v->type->rank == tile.rank && tile.dims[s.axis] == v->type->dims[s.axis];
    int consecutive = vectors ? consecutive_dimension(op, &tile, s.axis) : -2;
    struct access a;
    for (int64_t i = 0; i < n && !l->failed; i++) {
        int64_t e[MAX_RANK] = {0}, rest = i, at[MAX_RANK] = {0};
        for (int d = tile.rank - 1; d >= 0; d--) {
            e[d] = rest % tile.dims[d];
            rest /= tile.dims[d];
        }
        for (int d = 0; v->type->kind == TYPE_TILE && d < v->type->rank; d++)
            at[d] = v->type->dims[d] == 1 ? 0 : e[tile.rank - v->type->rank + d];
        if (consecutive >= 0) {
            if (e[s.axis] % s.lanes)
                continue;
            init_indexed(l, &a, op, &tile, e, consecutive);
            int64_t r = registers_index(&s, at);
            access_store(l, &a, start, 0, s.lanes, registers_valid(v->type, r), lower_register(l, v, r));
            continue;
        }
        init_indexed(l, &a, op, &tile, e, -1);
        LLVMValueRef x = lower_element(l, v, at);
        if (each)
            each(l, op, &a, x);
        else
            access_store(l, &a, start, 0, 1, 1, x);
    }
}

void lower_scatter(struct lower *l, struct op *op)
{
    lower_indexed(l, op, NULL);
}

// ---- Atomic updates --------------------------------------------------------------------------------------------

bool lower_atomic_instruction(enum opcode combine, enum dtype t, LLVMAtomicRMWBinOp *out)
{
    bool is_signed = dtype_is_signed(t);
    if (dtype_is_float(t)) {
        *out = LLVMAtomicRMWBinOpFAdd;
        return combine == OP_ADD && !lower_is_narrow(t);
    }
    switch (combine) {
    case OP_ADD:
        *out = LLVMAtomicRMWBinOpAdd;
        return true;
    case OP_AND:
        *out = LLVMAtomicRMWBinOpAnd;
        return true;
    case OP_OR:
        *out = LLVMAtomicRMWBinOpOr;
        return true;
    case OP_XOR:
        *out = LLVMAtomicRMWBinOpXor;
        return true;
    case OP_MAX:
        *out = is_signed ? LLVMAtomicRMWBinOpMax : LLVMAtomicRMWBinOpUMax;
        return true;
    case OP_MIN:
        *out = is_signed ? LLVMAtomicRMWBinOpMin : LLVMAtomicRMWBinOpUMin;
        return true;
    default:
        return false;
    }
}

// Any other combiner: compare and exchange the bits until nobody came between.
static void exchange_loop(struct lower *l, struct op *op, enum dtype t, LLVMValueRef p, LLVMValueRef x)
{
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    LLVMTypeRef element = lower_type(l, t),
                bits = t == DTYPE_I1 ? l->i8 : LLVMIntTypeInContext(l->context, (unsigned)dtype_info[t].bits);
    LLVMValueRef first = LLVMBuildLoad2(l->b, bits, p, "");
    LLVMSetOrdering(first, LLVMAtomicOrderingMonotonic);
    LLVMSetAlignment(first, (unsigned)dtype_bytes(t));
    LLVMBasicBlockRef before = LLVMGetInsertBlock(l->b), again = lower_new_block(l, "update"),
                      after = lower_new_block(l, "updated");
    LLVMBuildBr(l->b, again);
    LLVMPositionBuilderAtEnd(l->b, again);
    LLVMValueRef old = LLVMBuildPhi(l->b, bits, "");
    LLVMValueRef args[2] = {
        t == DTYPE_I1 ? LLVMBuildTrunc(l->b, old, element, "") : LLVMBuildBitCast(l->b, old, element, ""), x};
    LLVMValueRef y = lower_apply(l, op, combine, t, args);
    if (!y)
        return;
    y = t == DTYPE_I1 ? LLVMBuildZExt(l->b, y, bits, "") : LLVMBuildBitCast(l->b, y, bits, "");
    LLVMValueRef swap =
        LLVMBuildAtomicCmpXchg(l->b, p, old, y, LLVMAtomicOrderingMonotonic, LLVMAtomicOrderingMonotonic, false);
    LLVMValueRef seen = LLVMBuildExtractValue(l->b, swap, 0, "");
    LLVMAddIncoming(old, (LLVMValueRef[]){first, seen}, (LLVMBasicBlockRef[]){before, LLVMGetInsertBlock(l->b)}, 2);
    LLVMBuildCondBr(l->b, LLVMBuildExtractValue(l->b, swap, 1, ""), after, again);
    LLVMPositionBuilderAtEnd(l->b, after);
}

static void update(struct lower *l, struct op *op, struct access *a, LLVMValueRef x)
{
    enum dtype t = op->operands[1]->type->dtype;
    LLVMAtomicRMWBinOp instruction;
    LLVMValueRef p = access_safe_pointer(l, a, (int64_t[MAX_RANK]){0});
    if (t != DTYPE_I1 && lower_atomic_instruction(op_attr(op, ATTR_COMBINE)->opcode, t, &instruction))
        LLVMBuildAtomicRMW(l->b, instruction, p, x, LLVMAtomicOrderingMonotonic, false);
    else
        exchange_loop(l, op, t, p, x);
}

void lower_atomic(struct lower *l, struct op *op)
{
    lower_indexed(l, op, update);
}
