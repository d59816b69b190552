// What the tests of layouts share: random layouts, and where a layout puts things.
#ifndef TEGULA_TESTS_UNIT_LAYOUTS_H
#define TEGULA_TESTS_UNIT_LAYOUTS_H

#include "ir/layout.h"
#include "tests/unit/suite.h"

#include <string.h>

#define TILE(k) (LAYOUT_DIM0 + (k))

static uint64_t random_state;

static inline void seed(uint64_t s)
{
    random_state = s;
}

static inline uint32_t random_below(uint32_t n) // splitmix64
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) % n);
}

static inline const char *text(const struct layout *l)
{
    static char buffer[4][LAYOUT_TEXT_MAX];
    static int next;
    char *b = buffer[next++ % 4];
    ck_assert_uint_lt(layout_print(l, b, LAYOUT_TEXT_MAX), LAYOUT_TEXT_MAX);
    return b;
}

static inline struct layout parsed(const char *s)
{
    struct layout l;
    const char *cursor = s, *error = layout_parse(&cursor, &l);
    ck_assert_msg(!error, "%s: %s at '%s'", s, error, cursor);
    ck_assert_str_eq(cursor, "");
    return l;
}

static inline void check_equal(const struct layout *a, const struct layout *b)
{
    ck_assert_msg(layout_valid(a) && layout_valid(b) && layout_equal(a, b), "%s is not %s", text(a), text(b));
}

struct place {
    uint32_t reg, lane, warp;
};

static inline void tile_coordinates(const struct layout *l, struct place p, uint32_t tile[LAYOUT_MAX_RANK])
{
    uint32_t in[LAYOUT_DIMS] = {[LAYOUT_REG] = p.reg, [LAYOUT_LANE] = p.lane, [LAYOUT_WARP] = p.warp};
    uint32_t out[LAYOUT_DIMS];
    layout_apply(l, in, out);
    memcpy(tile, out + LAYOUT_DIM0, LAYOUT_MAX_RANK * sizeof *tile);
}

static inline void check_at(const struct layout *l, struct place p, uint32_t row, uint32_t col)
{
    uint32_t tile[LAYOUT_MAX_RANK];
    tile_coordinates(l, p, tile);
    ck_assert_msg(tile[0] == row && tile[1] == col, "reg %u lane %u warp %u holds (%u,%u), not (%u,%u) in %s", p.reg,
                  p.lane, p.warp, tile[0], tile[1], row, col, text(l));
}

static inline struct layout_space random_space(bool tile, unsigned max_bits)
{
    struct layout_space s = {0};
    unsigned n = random_below(max_bits + 1);
    if (tile)
        s.rank = (uint8_t)(1 + random_below(LAYOUT_MAX_RANK));
    while (n--) {
        unsigned d = tile ? LAYOUT_DIM0 + random_below(s.rank) : random_below(LAYOUT_OFFSET + 1);
        s.bits[d]++;
    }
    return s;
}

static inline struct layout random_map(const struct layout_space *in, const struct layout_space *out)
{
    struct layout l = {.in = *in, .out = *out};
    for (unsigned i = 0; i < layout_in_bits(&l); i++)
        l.basis[i] = random_below(UINT32_C(1) << layout_out_bits(&l));
    return l;
}

// Row operations on the identity: a random bijection from `in` to a tile of as many bits.
static inline struct layout random_bijection(const struct layout_space *in)
{
    struct layout l = layout_identity(in);
    unsigned n = layout_in_bits(&l);
    for (unsigned i = 0; n > 1 && i < 4 * n; i++) {
        unsigned a = random_below(n), b = random_below(n);
        if (a != b)
            l.basis[a] ^= l.basis[b];
    }
    memset(&l.out, 0, sizeof l.out);
    l.out.rank = 2;
    l.out.bits[TILE(0)] = (uint8_t)(n / 2);
    l.out.bits[TILE(1)] = (uint8_t)(n - n / 2);
    return l;
}

#endif
