#include "ir/layout_tile.h"

#include <string.h>

static struct layout invalid(void)
{
    return layout_empty(LAYOUT_MAX_RANK + 1);
}

struct layout layout_remap(const struct layout *l, unsigned rank, const int *source)
{
    if (!layout_valid(l) || rank > LAYOUT_MAX_RANK)
        return invalid();
    struct layout r = {.in = l->in, .out.rank = (uint8_t)rank};
    for (unsigned d = 0; d < rank; d++)
        r.out.bits[LAYOUT_DIM0 + d] = source[d] < 0 ? 0 : l->out.bits[LAYOUT_DIM0 + source[d]];
    for (unsigned i = 0; i < layout_in_bits(l); i++) {
        uint32_t from[LAYOUT_DIMS], to[LAYOUT_DIMS] = {0};
        layout_unpack(&l->out, l->basis[i], from);
        for (unsigned d = 0; d < rank; d++)
            to[LAYOUT_DIM0 + d] = source[d] < 0 ? 0 : from[LAYOUT_DIM0 + source[d]];
        r.basis[i] = layout_pack(&r.out, to);
    }
    return layout_drop_free_registers(&r);
}

struct layout layout_operand(const struct layout *l, const struct type *operand)
{
    int source[MAX_RANK];
    for (int d = 0; d < operand->rank; d++)
        source[d] = operand->dims[d] == 1 ? -1 : l->out.rank - operand->rank + d;
    return layout_remap(l, (unsigned)operand->rank, source);
}

struct layout layout_add_registers(const struct layout *l, unsigned d, uint32_t size)
{
    int bits = layout_log2(size);
    if (!layout_valid(l) || bits < 0 || d >= l->out.rank || l->out.bits[LAYOUT_DIM0 + d] ||
        layout_in_bits(l) + (unsigned)bits > LAYOUT_MAX_BITS || layout_out_bits(l) + (unsigned)bits > LAYOUT_MAX_BITS)
        return invalid();
    struct layout r = {.in = l->in, .out = l->out};
    r.in.bits[LAYOUT_REG] = (uint8_t)(r.in.bits[LAYOUT_REG] + bits);
    r.out.bits[LAYOUT_DIM0 + d] = (uint8_t)bits;
    unsigned n = 0, old = 0, registers = l->in.bits[LAYOUT_REG];
    for (; n < layout_in_bits(&r); n++) {
        uint32_t at[LAYOUT_DIMS] = {0};
        if (n >= registers && n < registers + (unsigned)bits)
            at[LAYOUT_DIM0 + d] = UINT32_C(1) << (n - registers);
        else
            layout_unpack(&l->out, l->basis[old++], at);
        r.basis[n] = layout_pack(&r.out, at);
    }
    return r;
}

struct layout layout_factor(const struct layout *sum, const struct einsum *e, int factor, const struct type *type)
{
    int source[MAX_RANK];
    for (int d = 0; d < type->rank; d++) {
        source[d] = -1;
        for (int p = 0; p < e->rank[2]; p++)
            if (e->axis[2][p] == e->axis[factor][d])
                source[d] = p;
    }
    struct layout l = layout_remap(sum, (unsigned)type->rank, source);
    for (int d = 0; d < type->rank; d++)
        if (source[d] < 0 && type->dims[d] > 1)
            l = layout_add_registers(&l, (unsigned)d, (uint32_t)type->dims[d]);
    return l;
}

bool layout_reduces(const struct layout *l, uint32_t mask)
{
    struct layout moving = {.out = l->out}; // the inputs that move along reduced dimensions
    unsigned n = 0;
    for (unsigned i = 0; i < layout_in_bits(l); i++) {
        uint32_t at[LAYOUT_DIMS];
        bool along = false, across = false;
        layout_unpack(&l->out, l->basis[i], at);
        for (unsigned d = 0; d < l->out.rank; d++)
            if (at[LAYOUT_DIM0 + d])
                *(mask >> d & 1 ? &along : &across) = true;
        if (along && across)
            return false;
        if (along)
            moving.basis[n++] = l->basis[i];
    }
    moving.in.bits[LAYOUT_REG] = (uint8_t)n;
    return layout_image_bits(&moving) == n;
}

uint32_t layout_run(const struct layout *l, enum layout_dim d, uint32_t most, uint32_t regs[LAYOUT_MAX_BITS])
{
    uint64_t width = layout_vector_width(l, d, regs);
    if (width < most)
        most = (uint32_t)width;
    for (unsigned i = l->in.bits[LAYOUT_REG]; i < layout_in_bits(l); i++) {
        uint32_t at[LAYOUT_DIMS];
        layout_unpack(&l->out, l->basis[i], at);
        while (at[d] & (most - 1))
            most /= 2;
    }
    return most;
}

void layout_first_thread(const struct layout *l, int *reg_at)
{
    uint32_t elements = UINT32_C(1) << layout_out_bits(l);
    for (uint32_t i = 0; i < elements; i++)
        reg_at[i] = -1;
    for (uint32_t r = 0; r < (UINT32_C(1) << l->in.bits[LAYOUT_REG]); r++)
        reg_at[layout_apply_packed(l, r)] = (int)r; // registers are the low bits of the packed input
}
