// Where the elements of a tile lie in memory, and which of them exist.
//
// The root index along dimension r of element e is base[r] + sum over d of step[r][d] * e[d]. An address is made of the
// part along the root dimensions whose strides are known at run time only (one pointer for each offset along them, so
// rows get a pointer each that does not move with the columns) and a part at constant distances.
//
// An element exists if every root index is in [0, size). What is the same for all lanes of a register becomes one
// condition, which chooses between the address and that of a constant full of padding (loads) or of a slot on the
// stack (stores); what differs from lane to lane becomes a mask. So the rows of a tile share their masks.
#include <stdlib.h>
#include <string.h>

#include "codegen/lower_host.h"
#include "ir/scalar.h"
#include "ir/wrap.h"

// ---- Roots -----------------------------------------------------------------------------------------------------

static LLVMValueRef size_value(struct lower *l, dim d)
{
    if (l->host)
        return host_size(l, d);
    if (d == DIM_UNKNOWN)
        return NULL;
    return dim_is_symbol(d) ? lower_scalar(l, l->kernel->symbols[dim_symbol_id(d)]) : lower_i64(l, d);
}

static void fill_strides(struct lower *l, struct root *root, const struct type *t)
{
    LLVMValueRef stride = lower_i64(l, 1);
    for (int d = t->rank - 1; d >= 0; d--) {
        root->stride[d] = t->strided ? size_value(l, t->strides[d]) : stride;
        stride = stride && root->size[d] ? lower_mul(l, stride, root->size[d]) : NULL;
    }
}

void lower_root_sizes(struct lower *l, struct root *root, const struct type *t)
{
    for (int d = 0; d < t->rank; d++)
        root->size[d] = size_value(l, t->dims[d]);
    fill_strides(l, root, t);
}

// What the size of a buffer may be computed with. Sums of sums would be walked again and again without `known`, which
// has what was found to be so.
static bool known_at_entry(const struct value *v, struct table *known)
{
    if (!v->def)
        return !v->block;
    if (table_get(known, table_key(v)))
        return true;
    bool pure = opcode_is_scalar(v->def->code) || v->def->code == OP_CONSTANT || v->def->code == OP_CAST ||
                v->def->code == OP_DIM || v->def->code == OP_ASSUME;
    for (int i = 0; pure && i < v->def->n_operands; i++)
        pure = known_at_entry(v->def->operands[i], known);
    if (pure)
        table_set(known, table_key(v), (void *)v);
    return pure;
}

// Sizes are not below 0. What does not fit an int64_t is its greatest value, which no allocator has; the instance only
// runs if all of it fits, or nothing is there, and then the product is 0 however it wraps.
static LLVMValueRef scratch_mul(struct lower *l, LLVMValueRef x, LLVMValueRef y, bool saturate)
{
    int64_t a, b, product;
    if (lower_is_constant(x, &a) && lower_is_constant(y, &b))
        return lower_i64(l, __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product);
    if (!saturate)
        return LLVMBuildMul(l->b, x, y, "");
    LLVMValueRef pair = lower_intrinsic(l, "llvm.smul.with.overflow", 1, &l->i64, 2, (LLVMValueRef[]){x, y});
    return LLVMBuildSelect(l->b, LLVMBuildExtractValue(l->b, pair, 1, ""), lower_i64(l, INT64_MAX),
                           LLVMBuildExtractValue(l->b, pair, 0, ""), "");
}

static LLVMValueRef scratch_add(struct lower *l, LLVMValueRef x, LLVMValueRef y, bool saturate)
{
    if (!saturate)
        return LLVMBuildAdd(l->b, x, y, "");
    return lower_intrinsic(l, "llvm.sadd.sat", 1, &l->i64, 2, (LLVMValueRef[]){x, y});
}

static void scratch_roots(struct lower *l, const struct block *b, LLVMValueRef scratch, LLVMValueRef *offset)
{
    bool saturate = !scratch;
    for (struct op *o = b->first; o; o = o->next) {
        for (int i = 0; i < o->n_blocks; i++)
            scratch_roots(l, o->blocks[i], scratch, offset);
        if (o->code != OP_SCRATCH)
            continue;
        const struct type *t = o->results[0]->type;
        struct root *root = ARENA_NEW(&l->arena, struct root);
        LLVMValueRef bytes = lower_i64(l, dtype_bytes(t->dtype));
        for (int d = 0, operand = 0; d < t->rank; d++) {
            if (t->dims[d] == DIM_UNKNOWN) {
                struct value *size = o->operands[operand++];
                if (!known_at_entry(size, &(struct table){.arena = &l->arena})) {
                    lower_error(l, o,
                                "the size of dimension %d is not computed from the kernel's symbols and scalar "
                                "parameters alone",
                                d);
                    return;
                }
                root->size[d] = lower_max(l, lower_scalar(l, size), lower_i64(l, 0));
            } else {
                root->size[d] = lower_i64(l, t->dims[d]);
            }
            bytes = scratch_mul(l, bytes, root->size[d], saturate);
        }
        fill_strides(l, root, t);
        root->align = 64;
        if (scratch)
            root->pointer = LLVMBuildInBoundsGEP2(l->b, l->i8, scratch, offset, 1, "buffer");
        l->roots[o->results[0]->id] = root;
        LLVMValueRef rounded = scratch_add(l, bytes, lower_i64(l, 63), saturate);
        *offset = scratch_add(l, *offset, LLVMBuildAnd(l->b, rounded, lower_i64(l, -64), ""), saturate);
    }
}

void lower_roots(struct lower *l, LLVMValueRef scratch)
{
    for (int i = 0; i < l->kernel->n_params; i++) {
        struct value *v = l->kernel->params[i];
        if (v->type->kind != TYPE_VIEW)
            continue;
        struct root *root = ARENA_NEW(&l->arena, struct root);
        l->roots[v->id] = root;
        if (!l->host || l->host->accessed[v->id])
            lower_root_sizes(l, root, v->type);
        root->align = (int)dtype_bytes(v->type->dtype);
    }
    if (scratch) {
        LLVMValueRef offset = lower_i64(l, 0);
        scratch_roots(l, l->kernel->body, scratch, &offset);
    }
}

LLVMValueRef lower_scratch_bytes(struct lower *l)
{
    LLVMValueRef offset = lower_i64(l, 0);
    scratch_roots(l, l->kernel->body, NULL, &offset);
    return LLVMBuildAnd(l->b, offset, lower_i64(l, -64), "");
}

struct root *lower_root(struct lower *l, struct value *root)
{
    return l->roots[root->id];
}

LLVMValueRef lower_dim(struct lower *l, struct op *op, int64_t r)
{
    (void)r;
    struct root *root = lower_root(l, op->operands[0]);
    LLVMValueRef size = root ? root->size[op_int(op, ATTR_DIM, 0)] : NULL;
    if (!size)
        lower_error(l, op, "the size is not known");
    return size;
}

// ---- What is known of an index ---------------------------------------------------------------------------------

static bool nonnegative(const struct value *v, int depth)
{
    if (v->symbol >= 0)
        return true;
    if (depth > 16)
        return false;
    const struct op *op = v->def;
    if (!op) // an induction variable does not go below its start
        return v->block && v->block->parent && v->block->parent->code == OP_FOR && v == v->block->args[0] &&
               nonnegative(v->block->parent->operands[0], depth + 1);
    switch (op->code) {
    case OP_PROGRAM_ID:
    case OP_NUM_PROGRAMS:
    case OP_DIM:
        return true;
    case OP_CONSTANT:
        return scalar_from_number(DTYPE_INDEX, op_attr(op, ATTR_VALUE)->number).i >= 0;
    case OP_ASSUME:
        return op_int(op, ATTR_LEAST, -1) >= 0 || nonnegative(op->operands[0], depth + 1);
    case OP_MAX:
        return nonnegative(op->operands[0], depth + 1) || nonnegative(op->operands[1], depth + 1);
    case OP_MOD:
        return nonnegative(op->operands[1], depth + 1);
    case OP_ADD:
    case OP_MUL:
    case OP_MIN:
    case OP_DIV:
    case OP_FLOORDIV:
    case OP_CEILDIV:
        return nonnegative(op->operands[0], depth + 1) && nonnegative(op->operands[1], depth + 1);
    case OP_REM:
        return nonnegative(op->operands[0], depth + 1);
    case OP_SELECT:
        return nonnegative(op->operands[1], depth + 1) && nonnegative(op->operands[2], depth + 1);
    default:
        return false;
    }
}

bool lower_is_nonnegative(const struct value *v)
{
    return nonnegative(v, 0);
}

// ---- Making ----------------------------------------------------------------------------------------------------

void access_init(struct lower *l, struct access *a, const struct op *op, struct value *view, LLVMValueRef *index,
                 bool *nonnegative_index, struct ints inbounds)
{
    *a = (struct access){.op = op, .dtype = view->type->dtype, .rank = view->type->rank, .root_rank = view->type->rank};
    a->stream = op_attr(op, ATTR_STREAM) != NULL;
    if (op_attr(op, ATTR_PAD))
        a->pad = op_attr(op, ATTR_PAD)->number;
    for (int d = 0; d < a->rank; d++) {
        a->base[d] = index[d];
        a->nonnegative[d] = nonnegative_index[d];
        a->step[d][d] = 1;
    }
    for (; view->def && view->def->code == OP_WINDOW; view = view->def->operands[0]) {
        const struct affine_map *map = op_attr(view->def, ATTR_MAP)->map;
        struct access inner = *a;
        a->root_rank = map->n_out;
        for (int r = 0; r < map->n_out; r++) {
            struct value *offset = view->def->operands[1 + r];
            a->base[r] = lower_scalar(l, offset);
            a->nonnegative[r] = lower_is_nonnegative(offset);
            memset(a->step[r], 0, sizeof a->step[r]);
            for (int j = 0; j < map->n_in; j++) {
                int64_t k = map->coefficient[r][j];
                if (!k)
                    continue;
                a->base[r] = lower_add(l, a->base[r], lower_mul(l, inner.base[j], lower_i64(l, k)));
                a->nonnegative[r] = a->nonnegative[r] && k > 0 && inner.nonnegative[j];
                for (int d = 0; d < a->rank; d++)
                    a->step[r][d] = wrap_add(a->step[r][d], wrap_mul(k, inner.step[j][d]));
            }
        }
    }
    a->root = lower_root(l, view);
    if (!a->root) {
        lower_error(l, op, "the view leads to no parameter or buffer");
        return;
    }
    for (int r = 0; r < a->root_rank; r++) {
        a->check[r] = true;
        for (int i = 0; i < inbounds.n; i++)
            if (inbounds.v[i] == r)
                a->check[r] = false;
        if (!a->root->stride[r] || (a->check[r] && !a->root->size[r])) {
            lower_error(l, op, "%s of dimension %d is not known", a->root->stride[r] ? "the size" : "the stride", r);
            a->root = NULL;
            return;
        }
    }
}

void access_init_op(struct lower *l, struct access *a, const struct op *op)
{
    int v = op_view_operand(op);
    struct value *view = op->operands[v];
    LLVMValueRef index[MAX_RANK];
    bool nonnegative_index[MAX_RANK];
    for (int d = 0; d < view->type->rank; d++) {
        index[d] = lower_scalar(l, op->operands[v + 1 + d]);
        nonnegative_index[d] = lower_is_nonnegative(op->operands[v + 1 + d]);
    }
    access_init(l, a, op, view, index, nonnegative_index, op_ints(op, ATTR_INBOUNDS));
}

bool access_stride(const struct access *a, int d, int64_t *stride)
{
    *stride = 0;
    for (int r = 0; r < a->root_rank; r++) {
        int64_t c;
        if (!a->step[r][d])
            continue;
        if (!lower_is_constant(a->root->stride[r], &c))
            return false;
        *stride = wrap_add(*stride, wrap_mul(c, a->step[r][d]));
    }
    return true;
}

static int64_t offset_at(const struct access *a, int r, const int64_t *at)
{
    int64_t offset = 0;
    for (int d = 0; d < a->rank; d++)
        offset = wrap_add(offset, wrap_mul(a->step[r][d], at[d]));
    return offset;
}

static LLVMValueRef gep(struct lower *l, struct access *a, LLVMValueRef p, LLVMValueRef offset)
{
    int64_t c;
    if (lower_is_constant(offset, &c) && c == 0)
        return p;
    LLVMTypeRef element = lower_memory_type(l, a->dtype, 1);
    for (int r = 0; r < a->root_rank; r++)
        if (a->check[r]) // it may lead out of the buffer
            return LLVMBuildGEP2(l->b, element, p, &offset, 1, "");
    return LLVMBuildInBoundsGEP2(l->b, element, p, &offset, 1, "");
}

// The address of element `at`, which need not exist.
static LLVMValueRef pointer(struct lower *l, struct access *a, const int64_t *at)
{
    int64_t offset[MAX_RANK], distance = 0, stride;
    for (int r = 0; r < a->root_rank; r++) {
        offset[r] = offset_at(a, r, at);
        if (lower_is_constant(a->root->stride[r], &stride)) {
            distance = wrap_add(distance, wrap_mul(stride, offset[r]));
            offset[r] = 0;
        }
    }
    LLVMValueRef p = NULL;
    for (int i = 0; i < a->n_rows && !p; i++)
        if (!memcmp(a->rows[i].offset, offset, sizeof *offset * (size_t)a->root_rank))
            p = a->rows[i].pointer;
    if (!p) {
        p = a->root->pointer;
        for (int variable = 1; variable >= 0; variable--)
            for (int r = 0; r < a->root_rank; r++)
                if (!lower_is_constant(a->root->stride[r], &stride) == variable) {
                    LLVMValueRef index = lower_add(l, a->base[r], lower_i64(l, offset[r]));
                    p = gep(l, a, p, lower_mul(l, index, a->root->stride[r]));
                }
        if (a->n_rows < (int)(sizeof a->rows / sizeof *a->rows)) {
            memcpy(a->rows[a->n_rows].offset, offset, sizeof offset);
            a->rows[a->n_rows++].pointer = p;
        }
    }
    return gep(l, a, p, lower_i64(l, distance));
}

// ---- Bounds ----------------------------------------------------------------------------------------------------

struct bounds {
    LLVMValueRef condition; // of all lanes; NULL: true
    LLVMValueRef mask;      // <lanes x i1>; NULL: all
};

static LLVMValueRef both(struct lower *l, LLVMValueRef x, LLVMValueRef y)
{
    return !x ? y : !y ? x : LLVMBuildAnd(l->b, x, y, "");
}

static LLVMValueRef clamp(struct lower *l, LLVMValueRef x, int lanes)
{
    return lower_max(l, lower_min(l, x, lower_i64(l, lanes)), lower_i64(l, 0));
}

// The conditions under which lanes [0, n) from `at` on along the axis exist; lanes from n on do not.
static struct bounds bounds(struct lower *l, const struct access *a, const int64_t *at, int axis, int lanes, int n)
{
    struct bounds b = {0};
    LLVMValueRef below = NULL; // the lanes below this many exist
    int bits = dtype_bytes(a->dtype) > 1 ? dtype_info[a->dtype].bits : 8;
    for (int r = 0; r < a->root_rank; r++) {
        if (!a->check[r])
            continue;
        int64_t step = lanes > 1 ? a->step[r][axis] : 0, c, s;
        LLVMValueRef size = a->root->size[r], first = lower_add(l, a->base[r], lower_i64(l, offset_at(a, r, at)));
        int64_t span = wrap_mul(step, n - 1);
        if (lower_is_constant(first, &c) && lower_is_constant(size, &s) && c >= 0 && c < s && wrap_add(c, span) >= 0 &&
            wrap_add(c, span) < s)
            continue;
        if (step == 0) {
            b.condition = both(l, b.condition, LLVMBuildICmp(l->b, LLVMIntULT, first, size, ""));
        } else if (step == 1) {
            bool from_zero = a->nonnegative[r];
            for (int d = 0; d < a->rank; d++)
                from_zero = from_zero && a->step[r][d] >= 0;
            LLVMValueRef left = clamp(l, LLVMBuildNSWSub(l->b, size, first, ""), lanes);
            below = below ? lower_min(l, below, left) : left;
            if (!from_zero) {
                LLVMValueRef skipped = clamp(l, LLVMBuildNSWNeg(l->b, first, ""), lanes);
                b.mask = both(l, b.mask, LLVMBuildNot(l->b, lower_lanes_below(l, skipped, lanes, bits), ""));
            }
        } else {
            LLVMValueRef index =
                LLVMBuildAdd(l->b, lower_splat(l, first, lanes), lower_iota(l, l->i64, lanes, 0, step), "");
            b.mask = both(l, b.mask, LLVMBuildICmp(l->b, LLVMIntULT, index, lower_splat(l, size, lanes), ""));
        }
    }
    if (below) {
        if (n < lanes)
            below = lower_min(l, below, lower_i64(l, n));
        b.mask = both(l, b.mask, lower_lanes_below(l, below, lanes, bits));
    } else if (n < lanes) {
        b.mask = both(l, b.mask, lower_first_lanes(l, n, lanes));
    }
    return b;
}

// ---- Loads -----------------------------------------------------------------------------------------------------

static LLVMValueRef pad_element(struct lower *l, const struct access *a)
{
    LLVMValueRef x = lower_number(l, a->dtype, a->pad);
    return a->dtype == DTYPE_I1 ? LLVMConstInt(l->i8, LLVMConstIntGetZExtValue(x), false) : x;
}

// A constant of at least 64 bytes of padding.
static LLVMValueRef padding(struct lower *l, const struct access *a, int lanes)
{
    LLVMValueRef x = pad_element(l, a);
    int64_t n = 64 / dtype_bytes(a->dtype);
    if (n < lanes)
        n = lanes;
    LLVMValueRef all[256];
    for (int64_t i = 0; i < n; i++)
        all[i] = x;
    LLVMValueRef value = LLVMConstArray2(LLVMTypeOf(x), all, (uint64_t)n);
    for (LLVMValueRef g = LLVMGetFirstGlobal(l->module); g; g = LLVMGetNextGlobal(g))
        if (LLVMGetInitializer(g) == value && LLVMGetLinkage(g) == LLVMPrivateLinkage)
            return g;
    LLVMValueRef g = LLVMAddGlobal(l->module, LLVMTypeOf(value), "padding");
    LLVMSetInitializer(g, value);
    LLVMSetGlobalConstant(g, true);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetAlignment(g, 64);
    return g;
}

static LLVMValueRef from_memory(struct lower *l, const struct access *a, LLVMValueRef x)
{
    return a->dtype == DTYPE_I1 ? LLVMBuildICmp(l->b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "") : x;
}

static LLVMValueRef readable(struct lower *l, struct access *a, const int64_t *at, int lanes, LLVMValueRef condition)
{
    LLVMValueRef p = pointer(l, a, at);
    return condition ? LLVMBuildSelect(l->b, condition, p, padding(l, a, lanes), "") : p;
}

static LLVMValueRef plain_load(struct lower *l, struct access *a, const int64_t *at, int lanes, LLVMValueRef condition)
{
    LLVMValueRef p = readable(l, a, at, lanes, condition);
    LLVMValueRef x = LLVMBuildLoad2(l->b, lower_memory_type(l, a->dtype, lanes), p, "");
    LLVMSetAlignment(x, (unsigned)dtype_bytes(a->dtype));
    return from_memory(l, a, x);
}

LLVMValueRef access_load(struct lower *l, struct access *a, const int64_t *at, int axis, int lanes, int n)
{
    if (!a->root)
        return LLVMGetUndef(lower_vector_type(l, a->dtype, lanes));
    if (lanes == 1)
        return plain_load(l, a, at, 1, bounds(l, a, at, -1, 1, 1).condition);
    int64_t stride, e[MAX_RANK];
    bool constant = access_stride(a, axis, &stride);
    if (constant && stride == 1) {
        struct bounds b = bounds(l, a, at, axis, lanes, n);
        if (!b.mask)
            return plain_load(l, a, at, lanes, b.condition);
        LLVMTypeRef t = lower_memory_type(l, a->dtype, lanes), types[2] = {t, l->ptr};
        LLVMValueRef args[4] = {readable(l, a, at, lanes, b.condition), lower_i32(l, dtype_bytes(a->dtype)), b.mask,
                                lower_splat(l, pad_element(l, a), lanes)};
        return from_memory(l, a, lower_intrinsic(l, "llvm.masked.load", 2, types, 4, args));
    }
    bool same = true; // every lane reads one element
    for (int r = 0; r < a->root_rank; r++)
        same = same && a->step[r][axis] == 0;
    if (same)
        return lower_splat(l, access_load(l, a, at, axis, 1, 1), lanes);
    memcpy(e, at, sizeof e);
    LLVMValueRef x = LLVMGetPoison(lower_vector_type(l, a->dtype, lanes));
    for (int i = 0; i < n; i++, e[axis]++)
        x = lower_insert(l, x, access_load(l, a, e, axis, 1, 1), i);
    return x;
}

// ---- Stores ----------------------------------------------------------------------------------------------------

static LLVMValueRef spoilt(struct lower *l, int bytes)
{
    bytes = bytes < 64 ? 64 : bytes;
    if (!l->dummy || l->dummy_bytes < bytes) {
        l->dummy = lower_stack(l, l->i8, bytes, 64);
        l->dummy_bytes = bytes;
    }
    return l->dummy;
}

static LLVMValueRef existing(struct lower *l, struct access *a, const int64_t *at, int lanes, LLVMValueRef condition)
{
    LLVMValueRef p = pointer(l, a, at);
    return condition ? LLVMBuildSelect(l->b, condition, p, spoilt(l, lanes * (int)dtype_bytes(a->dtype)), "") : p;
}

LLVMValueRef access_safe_pointer(struct lower *l, struct access *a, const int64_t *at)
{
    return a->root ? existing(l, a, at, 1, bounds(l, a, at, -1, 1, 1).condition) : LLVMGetUndef(l->ptr);
}

void access_prefetch(struct lower *l, struct access *a, const int64_t *at, bool write)
{
    if (!a->root)
        return;
    int closest = 3, data = 1;
    LLVMValueRef args[4] = {pointer(l, a, at), lower_i32(l, write), lower_i32(l, closest), lower_i32(l, data)};
    lower_intrinsic(l, "llvm.prefetch", 1, &l->ptr, 4, args);
}

// Only whole aligned vectors can be written past the caches; where they lie is known at run time.
static void store_past_caches(struct lower *l, LLVMValueRef x, LLVMValueRef p, unsigned alignment, int64_t bytes)
{
    l->streams = true;
    LLVMBasicBlockRef past = lower_new_block(l, "past"), plain = lower_new_block(l, "plain"),
                      stored = lower_new_block(l, "stored");
    LLVMValueRef address = LLVMBuildPtrToInt(l->b, p, l->i64, "");
    LLVMValueRef low = LLVMBuildAnd(l->b, address, lower_i64(l, bytes - 1), "");
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, low, lower_i64(l, 0), ""), past, plain);
    LLVMPositionBuilderAtEnd(l->b, past);
    LLVMValueRef store = LLVMBuildStore(l->b, x, p), one = lower_i32(l, 1);
    LLVMSetAlignment(store, (unsigned)bytes);
    LLVMMetadataRef node = LLVMValueAsMetadata(one);
    LLVMSetMetadata(store, LLVMGetMDKindIDInContext(l->context, "nontemporal", 11),
                    LLVMMetadataAsValue(l->context, LLVMMDNodeInContext2(l->context, &node, 1)));
    LLVMBuildBr(l->b, stored);
    LLVMPositionBuilderAtEnd(l->b, plain);
    LLVMSetAlignment(LLVMBuildStore(l->b, x, p), alignment);
    LLVMBuildBr(l->b, stored);
    LLVMPositionBuilderAtEnd(l->b, stored);
}

void access_store(struct lower *l, struct access *a, const int64_t *at, int axis, int lanes, int n, LLVMValueRef x)
{
    if (!a->root)
        return;
    int64_t stride, e[MAX_RANK];
    if (lanes > 1 && !(access_stride(a, axis, &stride) && stride == 1)) {
        memcpy(e, at, sizeof e);
        for (int i = 0; i < n; i++, e[axis]++)
            access_store(l, a, e, axis, 1, 1, lower_pick(l, x, i));
        return;
    }
    LLVMTypeRef t = lower_memory_type(l, a->dtype, lanes);
    if (a->dtype == DTYPE_I1)
        x = LLVMBuildZExt(l->b, x, t, "");
    struct bounds b = bounds(l, a, at, lanes > 1 ? axis : -1, lanes, n);
    if (b.mask) {
        LLVMTypeRef types[2] = {t, l->ptr};
        LLVMValueRef args[4] = {x, existing(l, a, at, lanes, b.condition), lower_i32(l, dtype_bytes(a->dtype)), b.mask};
        lower_intrinsic(l, "llvm.masked.store", 2, types, 4, args);
        return;
    }
    LLVMValueRef p = existing(l, a, at, lanes, b.condition);
    if (a->stream && lanes > 1) {
        store_past_caches(l, x, p, (unsigned)dtype_bytes(a->dtype), lanes * dtype_bytes(a->dtype));
        return;
    }
    LLVMValueRef store = LLVMBuildStore(l->b, x, p);
    LLVMSetAlignment(store, (unsigned)dtype_bytes(a->dtype));
}
