// The algebra of linear layouts: see layout.h for the model. Everything is Gaussian elimination over words of 32 bits.
#include "ir/layout.h"

#include <assert.h>
#include <string.h>

// Interning hashes and compares the bytes.
static_assert(sizeof(struct layout) == 2 * (1 + LAYOUT_DIMS) + 4 * LAYOUT_MAX_BITS, "struct layout has padding");

enum { INVALID_RANK = 0xff };

static struct layout invalid(void)
{
    return (struct layout){.in.rank = INVALID_RANK};
}

bool layout_valid(const struct layout *l)
{
    return l->in.rank != INVALID_RANK;
}

bool layout_equal(const struct layout *a, const struct layout *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

// ---- Spaces and packed words -----------------------------------------------------------------------------------

// From the low bits up: row-major order wants the last tile dimension lowest.
static const uint8_t packing[LAYOUT_DIMS] = {LAYOUT_REG,      LAYOUT_LANE,     LAYOUT_WARP,     LAYOUT_BLOCK,
                                             LAYOUT_OFFSET,   LAYOUT_DIM0 + 5, LAYOUT_DIM0 + 4, LAYOUT_DIM0 + 3,
                                             LAYOUT_DIM0 + 2, LAYOUT_DIM0 + 1, LAYOUT_DIM0};
static_assert(LAYOUT_MAX_RANK == 6, "packing lists the tile dimensions");

static unsigned total_bits(const struct layout_space *s)
{
    unsigned n = 0;
    for (int d = 0; d < LAYOUT_DIMS; d++)
        n += s->bits[d];
    return n;
}

static bool space_fits(const struct layout_space *s)
{
    return s->rank <= LAYOUT_MAX_RANK && total_bits(s) <= LAYOUT_MAX_BITS;
}

static bool space_equal(const struct layout_space *a, const struct layout_space *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

// Where a dimension's bits start in the packed word; 32 if it has none and all others come before it.
static unsigned shift_of(const struct layout_space *s, unsigned dim)
{
    unsigned shift = 0;
    for (int i = 0; packing[i] != dim; i++)
        shift += s->bits[packing[i]];
    return shift;
}

static uint32_t low_mask(unsigned bits)
{
    return bits >= 32 ? UINT32_MAX : (UINT32_C(1) << bits) - 1;
}

void layout_unpack(const struct layout_space *s, uint32_t word, uint32_t coordinates[LAYOUT_DIMS])
{
    uint64_t rest = word;
    for (int i = 0; i < LAYOUT_DIMS; i++) {
        unsigned bits = s->bits[packing[i]];
        coordinates[packing[i]] = (uint32_t)rest & low_mask(bits);
        rest >>= bits;
    }
}

uint32_t layout_pack(const struct layout_space *s, const uint32_t coordinates[LAYOUT_DIMS])
{
    uint64_t word = 0;
    unsigned shift = 0;
    for (int i = 0; i < LAYOUT_DIMS; i++) {
        unsigned bits = s->bits[packing[i]];
        word |= (uint64_t)(coordinates[packing[i]] & low_mask(bits)) << shift;
        shift += bits;
    }
    return (uint32_t)word;
}

// The same coordinates, modulo the new sizes, in another space.
static uint32_t repack(const struct layout_space *from, const struct layout_space *to, uint32_t word)
{
    uint32_t coordinates[LAYOUT_DIMS];
    layout_unpack(from, word, coordinates);
    return layout_pack(to, coordinates);
}

int layout_log2(uint32_t n)
{
    if (n == 0 || (n & (n - 1)))
        return -1;
    int log = 0;
    while (n >>= 1)
        log++;
    return log;
}

// ---- Looking at a layout ---------------------------------------------------------------------------------------

unsigned layout_in_bits(const struct layout *l)
{
    return total_bits(&l->in);
}

unsigned layout_out_bits(const struct layout *l)
{
    return total_bits(&l->out);
}

uint64_t layout_in_size(const struct layout *l, enum layout_dim d)
{
    return UINT64_C(1) << l->in.bits[d];
}

uint64_t layout_out_size(const struct layout *l, enum layout_dim d)
{
    return UINT64_C(1) << l->out.bits[d];
}

uint32_t layout_basis(const struct layout *l, enum layout_dim in_dim, unsigned bit, enum layout_dim out_dim)
{
    assert(bit < l->in.bits[in_dim]);
    uint32_t out[LAYOUT_DIMS];
    layout_unpack(&l->out, l->basis[shift_of(&l->in, in_dim) + bit], out);
    return out[out_dim];
}

uint32_t layout_apply_packed(const struct layout *l, uint32_t in)
{
    uint32_t out = 0;
    for (unsigned i = 0; i < LAYOUT_MAX_BITS; i++)
        if (in >> i & 1)
            out ^= l->basis[i];
    return out;
}

void layout_apply(const struct layout *l, const uint32_t in[LAYOUT_DIMS], uint32_t out[LAYOUT_DIMS])
{
    layout_unpack(&l->out, layout_apply_packed(l, layout_pack(&l->in, in)), out);
}

// A growing set of independent vectors, at most one per leading bit. Each remembers which of the inserted vectors it
// is the sum of, and when it came, so that membership can be asked of the span of the first n insertions alone: a
// vector is never changed after its insertion.
struct span {
    uint32_t value[32]; // indexed by leading bit; 0: none
    uint32_t sum_of[32];
    uint8_t when[32];
    unsigned dimension;
};

// Subtracts what the span of the vectors inserted before `limit` can; true if nothing is left of v.
static bool span_reduce(const struct span *s, unsigned limit, uint32_t v, uint32_t *rest, uint32_t *sum_of)
{
    uint32_t sum = 0;
    for (int bit = 31; bit >= 0; bit--)
        if (v >> bit & 1 && s->value[bit] && s->when[bit] < limit) {
            v ^= s->value[bit];
            sum ^= s->sum_of[bit];
        }
    if (rest)
        *rest = v;
    if (sum_of)
        *sum_of = sum;
    return v == 0;
}

// Inserts the i-th vector; false if it depends on those before it.
static bool span_insert(struct span *s, unsigned i, uint32_t v)
{
    uint32_t rest, sum;
    if (span_reduce(s, UINT32_MAX, v, &rest, &sum))
        return false;
    int bit = 31;
    while (!(rest >> bit & 1))
        bit--;
    s->value[bit] = rest;
    s->sum_of[bit] = sum ^ UINT32_C(1) << i;
    s->when[bit] = (uint8_t)i;
    s->dimension++;
    return true;
}

static struct span image(const struct layout *l)
{
    struct span s = {0};
    for (unsigned i = 0; i < layout_in_bits(l); i++)
        span_insert(&s, i, l->basis[i]);
    return s;
}

unsigned layout_image_bits(const struct layout *l)
{
    return image(l).dimension;
}

bool layout_injective(const struct layout *l)
{
    return layout_valid(l) && layout_image_bits(l) == layout_in_bits(l);
}

bool layout_surjective(const struct layout *l)
{
    return layout_valid(l) && layout_image_bits(l) == layout_out_bits(l);
}

bool layout_bijective(const struct layout *l)
{
    return layout_injective(l) && layout_surjective(l);
}

uint32_t layout_free_mask(const struct layout *l, enum layout_dim d)
{
    struct span s = {0};
    uint32_t free_bits = 0;
    for (unsigned i = 0; i < layout_in_bits(l); i++)
        if (!span_insert(&s, i, l->basis[i]))
            free_bits |= UINT32_C(1) << i;
    uint32_t in[LAYOUT_DIMS];
    layout_unpack(&l->in, free_bits, in);
    return in[d];
}

uint64_t layout_vector_width(const struct layout *l, enum layout_dim d, uint32_t regs[LAYOUT_MAX_BITS])
{
    unsigned n_regs = l->in.bits[LAYOUT_REG]; // the lowest of the packed bits
    struct span s = image(l);
    unsigned shift = shift_of(&l->out, d), k = 0;
    while (k < l->out.bits[d]) {
        uint32_t reg;
        if (!span_reduce(&s, n_regs, UINT32_C(1) << (shift + k), NULL, &reg))
            break;
        if (regs)
            regs[k] = reg;
        k++;
    }
    return UINT64_C(1) << k;
}

// ---- Building --------------------------------------------------------------------------------------------------

static void space_extend(struct layout_space *s, enum layout_dim d, unsigned bits)
{
    s->bits[d] = (uint8_t)bits;
    if (d >= LAYOUT_DIM0)
        s->rank = (uint8_t)(d - LAYOUT_DIM0 + 1);
}

struct layout layout_strided(enum layout_dim in, unsigned bits, enum layout_dim out, unsigned shift)
{
    if (bits > LAYOUT_MAX_BITS || shift > LAYOUT_MAX_BITS - bits)
        return invalid();
    struct layout l = {0};
    space_extend(&l.in, in, bits);
    space_extend(&l.out, out, bits + shift);
    for (unsigned i = 0; i < bits; i++)
        l.basis[i] = UINT32_C(1) << (i + shift);
    return l;
}

struct layout layout_broadcast(enum layout_dim in, unsigned bits)
{
    if (bits > LAYOUT_MAX_BITS)
        return invalid();
    struct layout l = {0};
    space_extend(&l.in, in, bits);
    return l;
}

struct layout layout_empty(unsigned rank)
{
    if (rank > LAYOUT_MAX_RANK)
        return invalid();
    return (struct layout){.out.rank = (uint8_t)rank};
}

struct layout layout_identity(const struct layout_space *s)
{
    if (!space_fits(s))
        return invalid();
    struct layout l = {.in = *s, .out = *s};
    for (unsigned i = 0; i < total_bits(s); i++)
        l.basis[i] = UINT32_C(1) << i;
    return l;
}

static struct layout_space space_sum(const struct layout_space *a, const struct layout_space *b)
{
    struct layout_space s = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int d = 0; d < LAYOUT_DIMS; d++)
        s.bits[d] = a->bits[d] + b->bits[d];
    return s;
}

struct layout layout_product(const struct layout *inner, const struct layout *outer)
{
    if (!layout_valid(inner) || !layout_valid(outer))
        return invalid();
    struct layout l = {.in = space_sum(&inner->in, &outer->in), .out = space_sum(&inner->out, &outer->out)};
    if (!space_fits(&l.in) || !space_fits(&l.out))
        return invalid();
    for (unsigned d = 0; d < LAYOUT_DIMS; d++) {
        uint32_t *basis = l.basis + shift_of(&l.in, d);
        for (unsigned i = 0; i < inner->in.bits[d]; i++)
            *basis++ = repack(&inner->out, &l.out, inner->basis[shift_of(&inner->in, d) + i]);
        for (unsigned i = 0; i < outer->in.bits[d]; i++) {
            uint32_t out[LAYOUT_DIMS];
            layout_unpack(&outer->out, outer->basis[shift_of(&outer->in, d) + i], out);
            for (int o = 0; o < LAYOUT_DIMS; o++)
                if (out[o]) // then inner has less than 32 bits there
                    out[o] <<= inner->out.bits[o];
            *basis++ = layout_pack(&l.out, out);
        }
    }
    return l;
}

// ---- Algebra ---------------------------------------------------------------------------------------------------

struct layout layout_compose(const struct layout *outer, const struct layout *inner)
{
    if (!layout_valid(outer) || !layout_valid(inner) || outer->in.rank != inner->out.rank)
        return invalid();
    for (int d = 0; d < LAYOUT_DIMS; d++)
        if (inner->out.bits[d] > outer->in.bits[d])
            return invalid();
    struct layout l = {.in = inner->in, .out = outer->out};
    for (unsigned i = 0; i < layout_in_bits(inner); i++)
        l.basis[i] = layout_apply_packed(outer, repack(&inner->out, &outer->in, inner->basis[i]));
    return l;
}

struct layout layout_solve(const struct layout *a, const struct layout *b)
{
    if (!layout_valid(a) || !layout_valid(b) || !space_equal(&a->out, &b->out))
        return invalid();
    struct span s = image(a);
    struct layout x = {.in = b->in, .out = a->in};
    for (unsigned i = 0; i < layout_in_bits(b); i++)
        if (!span_reduce(&s, UINT32_MAX, b->basis[i], NULL, &x.basis[i]))
            return invalid();
    return x;
}

struct layout layout_pseudo_invert(const struct layout *l)
{
    if (!layout_valid(l))
        return invalid();
    struct layout id = layout_identity(&l->out);
    return layout_solve(l, &id);
}

struct layout layout_invert(const struct layout *l)
{
    return layout_injective(l) ? layout_pseudo_invert(l) : invalid();
}

// Keeps the input bits of `keep` (a packed mask); the bits above them in their dimension move down.
static struct layout select_in_bits(const struct layout *l, uint32_t keep)
{
    struct layout r = {.in.rank = l->in.rank, .out = l->out};
    unsigned n = 0, i = 0;
    for (int p = 0; p < LAYOUT_DIMS; p++)
        for (unsigned bit = 0; bit < l->in.bits[packing[p]]; bit++, i++)
            if (keep >> i & 1) {
                r.basis[n++] = l->basis[i];
                r.in.bits[packing[p]]++;
            }
    return r;
}

struct layout layout_sublayout(const struct layout *l, uint32_t in_mask, uint32_t out_mask)
{
    if (!layout_valid(l))
        return invalid();
    uint32_t keep[LAYOUT_DIMS];
    struct layout_space out = l->out;
    for (int d = 0; d < LAYOUT_DIMS; d++) {
        keep[d] = in_mask >> d & 1 ? UINT32_MAX : 0;
        if (!(out_mask >> d & 1))
            out.bits[d] = 0;
    }
    struct layout r = select_in_bits(l, layout_pack(&l->in, keep));
    for (unsigned i = 0; i < layout_in_bits(&r); i++)
        r.basis[i] = repack(&l->out, &out, r.basis[i]);
    r.out = out;
    return r;
}

// Reads a shape into the tile dimensions of a space; false unless all sizes are powers of two and fit.
static bool space_set_shape(struct layout_space *s, unsigned rank, const uint32_t *shape)
{
    if (rank > LAYOUT_MAX_RANK)
        return false;
    for (unsigned k = 0; k < LAYOUT_MAX_RANK; k++) {
        int log = k < rank ? layout_log2(shape[k]) : 0;
        if (log < 0)
            return false;
        s->bits[LAYOUT_DIM0 + k] = (uint8_t)log;
    }
    s->rank = (uint8_t)rank;
    return space_fits(s);
}

struct layout layout_reshape(const struct layout *l, unsigned rank, const uint32_t *shape)
{
    if (!layout_valid(l))
        return invalid();
    struct layout r = *l; // tile coordinates pack to row-major indices, so no vector changes
    if (!space_set_shape(&r.out, rank, shape) || layout_out_bits(&r) != layout_out_bits(l))
        return invalid();
    return r;
}

static bool is_permutation(unsigned n, const unsigned *p)
{
    uint32_t seen = 0;
    for (unsigned i = 0; i < n; i++)
        if (p[i] < n)
            seen |= UINT32_C(1) << p[i];
    return seen == low_mask(n);
}

struct layout layout_transpose(const struct layout *l, const unsigned *permutation)
{
    if (!layout_valid(l) || !is_permutation(l->out.rank, permutation))
        return invalid();
    struct layout r = *l;
    for (unsigned k = 0; k < l->out.rank; k++)
        r.out.bits[LAYOUT_DIM0 + k] = l->out.bits[LAYOUT_DIM0 + permutation[k]];
    for (unsigned i = 0; i < layout_in_bits(l); i++) {
        uint32_t from[LAYOUT_DIMS], to[LAYOUT_DIMS];
        layout_unpack(&l->out, l->basis[i], from);
        memcpy(to, from, sizeof to);
        for (unsigned k = 0; k < l->out.rank; k++)
            to[LAYOUT_DIM0 + k] = from[LAYOUT_DIM0 + permutation[k]];
        r.basis[i] = layout_pack(&r.out, to);
    }
    return r;
}

struct layout layout_drop_free_registers(const struct layout *l)
{
    if (!layout_valid(l))
        return invalid();
    return select_in_bits(l, ~layout_free_mask(l, LAYOUT_REG)); // registers are the lowest of the packed bits
}

struct layout layout_fit(const struct layout *l, const uint32_t *shape, const unsigned *order)
{
    struct layout_space tile = {0};
    if (!layout_valid(l) || !space_set_shape(&tile, l->out.rank, shape))
        return invalid();
    unsigned row_major[LAYOUT_MAX_RANK];
    for (unsigned i = 0; i < l->out.rank; i++)
        row_major[i] = l->out.rank - 1u - i;
    if (!order)
        order = row_major;
    if (!is_permutation(l->out.rank, order))
        return invalid();
    struct layout r = *l;
    for (int d = LAYOUT_DIM0; d < LAYOUT_DIMS; d++)
        if (r.out.bits[d] > tile.bits[d])
            r.out.bits[d] = tile.bits[d];
    if (!space_equal(&r.out, &l->out)) {
        for (unsigned i = 0; i < layout_in_bits(l); i++)
            r.basis[i] = repack(&l->out, &r.out, l->basis[i]);
        r = layout_drop_free_registers(&r);
    }
    for (unsigned i = 0; i < l->out.rank && layout_valid(&r); i++) {
        enum layout_dim d = LAYOUT_DIM0 + order[i];
        struct layout more = layout_strided(LAYOUT_REG, (unsigned)tile.bits[d] - r.out.bits[d], d, 0);
        r = layout_product(&r, &more);
    }
    return r;
}

// ---- Conversions -----------------------------------------------------------------------------------------------

static_assert((int)LAYOUT_MOVE_NONE == LAYOUT_REG && (int)LAYOUT_MOVE_REGISTERS == LAYOUT_LANE &&
                  (int)LAYOUT_MOVE_LANES == LAYOUT_WARP && (int)LAYOUT_MOVE_WARPS == LAYOUT_BLOCK &&
                  (int)LAYOUT_MOVE_BLOCKS == LAYOUT_OFFSET,
              "a move of kind m leaves the dimensions from m on alone");

// Finds for one bit of dst, which holds `element`, the nearest place in src. `own` is the same bit in src's space, 0 if
// src has no such bit. As everything is linear, a place for each bit is a place for every index, and the dearest bit
// decides.
static enum layout_move nearest_source(const struct layout *src, const struct span *src_image, uint32_t own,
                                       uint32_t element, uint32_t *source)
{
    for (unsigned move = LAYOUT_MOVE_NONE; move <= LAYOUT_MOVE_BLOCKS; move++) {
        unsigned movable = shift_of(&src->in, move); // the bits of the dimensions before `move`
        uint32_t step;
        if (span_reduce(src_image, movable, element ^ layout_apply_packed(src, own), NULL, &step)) {
            *source = own ^ step;
            return (enum layout_move)move;
        }
    }
    return LAYOUT_MOVE_IMPOSSIBLE;
}

enum layout_move layout_conversion(const struct layout *src, const struct layout *dst, struct layout *map)
{
    struct layout x = {.in = dst->in, .out = src->in};
    enum layout_move result = LAYOUT_MOVE_NONE;
    struct layout_space other_than_reg = src->in;
    other_than_reg.bits[LAYOUT_REG] = dst->in.bits[LAYOUT_REG];
    if (!layout_valid(src) || !layout_valid(dst) || !space_equal(&src->out, &dst->out) ||
        !space_equal(&other_than_reg, &dst->in))
        result = LAYOUT_MOVE_IMPOSSIBLE;
    else {
        struct span src_image = image(src);
        for (unsigned i = 0; i < layout_in_bits(dst); i++) {
            uint32_t in[LAYOUT_DIMS];
            layout_unpack(&dst->in, UINT32_C(1) << i, in);
            enum layout_move move =
                nearest_source(src, &src_image, layout_pack(&src->in, in), dst->basis[i], &x.basis[i]);
            if (move > result)
                result = move;
        }
        // Dropping registers moves nothing; but a change in their number is not "every register stays".
        if (result == LAYOUT_MOVE_NONE && src->in.bits[LAYOUT_REG] != dst->in.bits[LAYOUT_REG])
            result = LAYOUT_MOVE_REGISTERS;
    }
    if (map)
        *map = result == LAYOUT_MOVE_IMPOSSIBLE ? invalid() : x;
    return result;
}
