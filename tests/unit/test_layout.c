// The algebra of linear layouts, conversions between them and their text, against brute force over every index, and on
// random maps.
#include "tests/unit/layouts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Algebra -----------------------------------------------------------------------------------------------------

START_TEST(products_and_strides)
{
    struct layout reg = layout_strided(LAYOUT_REG, 2, TILE(1), 0), lane = layout_strided(LAYOUT_LANE, 3, TILE(1), 0);
    struct layout warp = layout_strided(LAYOUT_WARP, 1, TILE(0), 0), l = layout_product(&reg, &lane);
    l = layout_product(&l, &warp);
    ck_assert_str_eq(text(&l), "#linear<reg=[[0,1],[0,2]], lane=[[0,4],[0,8],[0,16]], warp=[[1,0]]>");
    struct layout strided = layout_strided(LAYOUT_REG, 1, TILE(0), 2);
    ck_assert_str_eq(text(&strided), "#linear<reg=[[4]]>");
    ck_assert(layout_injective(&strided) && !layout_surjective(&strided));
}
END_TEST

START_TEST(reshape_and_transpose)
{
    struct layout l = parsed("#linear<reg=[[0,1],[8,0]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]], warp=[[16,0]]>");
    const uint32_t flat[] = {256}, cube[] = {4, 8, 8}, wrong[] = {4, 8};
    struct layout f = layout_reshape(&l, 1, flat), c = layout_reshape(&l, 3, cube), w = layout_reshape(&l, 2, wrong);
    const unsigned swap[] = {1, 0}, rotate[] = {2, 0, 1};
    struct layout t = layout_transpose(&l, swap), r = layout_transpose(&c, rotate);
    ck_assert(!layout_valid(&w));
    for (uint32_t warp = 0; warp < 2; warp++)
        for (uint32_t lane = 0; lane < 32; lane++)
            for (uint32_t reg = 0; reg < 4; reg++) {
                struct place p = {reg, lane, warp};
                uint32_t a[LAYOUT_MAX_RANK], b[LAYOUT_MAX_RANK];
                tile_coordinates(&l, p, a);
                check_at(&t, p, a[1], a[0]);
                check_at(&f, p, a[0] * 8 + a[1], 0);
                tile_coordinates(&c, p, b);
                ck_assert_uint_eq(b[0] * 64 + b[1] * 8 + b[2], a[0] * 8 + a[1]);
                tile_coordinates(&r, p, a);
                ck_assert(a[0] == b[2] && a[1] == b[0] && a[2] == b[1]);
            }
    const uint32_t shape[] = {32, 8};
    struct layout back = layout_reshape(&f, 2, shape);
    check_equal(&back, &l);
    back = layout_transpose(&t, swap);
    check_equal(&back, &l);
}
END_TEST

START_TEST(sublayouts)
{
    struct layout l = parsed("#linear<reg=[[0,1],[8,0]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]], warp=[[16,0]]>");
    struct layout s = layout_sublayout(&l, 1u << LAYOUT_REG | 1u << LAYOUT_WARP, 1u << TILE(0));
    ck_assert_str_eq(text(&s), "#linear<reg=[[0,0],[8,0]], warp=[[16,0]]>");
    ck_assert(!layout_surjective(&s) && !layout_injective(&s));
    ck_assert_uint_eq(layout_image_bits(&s), 2);
}
END_TEST

START_TEST(broadcasts_have_pseudo_inverses)
{
    struct layout l = parsed("#linear<reg=[[0],[1]], lane=[[1],[2],[3],[0],[4]]>");
    struct layout inverse = layout_invert(&l), pseudo = layout_pseudo_invert(&l);
    ck_assert(!layout_valid(&inverse));
    ck_assert_uint_eq(layout_free_mask(&l, LAYOUT_REG), 1);
    ck_assert_uint_eq(layout_free_mask(&l, LAYOUT_LANE), 1 | 4 | 8);
    ck_assert_str_eq(text(&pseudo), "#linear<d0=[[2,0],[0,2],[0,16]], out=[reg:4, lane:32]>");
    struct layout id = layout_compose(&l, &pseudo), expected = layout_identity(&l.out);
    check_equal(&id, &expected);
    struct layout narrow = parsed("#linear<reg=[[1]], out=[4]>");
    pseudo = layout_pseudo_invert(&narrow);
    ck_assert(!layout_valid(&pseudo));
}
END_TEST

START_TEST(random_algebra)
{
    seed(1);
    for (int round = 0; round < 3000; round++) {
        struct layout_space in = random_space(false, 16), tile = random_space(true, 12), far = random_space(false, 14);
        // Linearity, and apply against its packed form.
        struct layout f = random_map(&in, &tile), g = random_map(&tile, &far);
        uint32_t x[LAYOUT_DIMS], y[LAYOUT_DIMS];
        uint32_t a = random_below(1u << layout_in_bits(&f)), b = random_below(1u << layout_in_bits(&f));
        ck_assert_uint_eq(layout_apply_packed(&f, a ^ b), layout_apply_packed(&f, a) ^ layout_apply_packed(&f, b));
        layout_unpack(&f.in, a, x);
        ck_assert_uint_eq(layout_pack(&f.in, x), a);
        layout_apply(&f, x, y);
        ck_assert_uint_eq(layout_pack(&f.out, y), layout_apply_packed(&f, a));
        // Composition.
        struct layout gf = layout_compose(&g, &f);
        ck_assert_uint_eq(layout_apply_packed(&gf, a), layout_apply_packed(&g, layout_apply_packed(&f, a)));
        struct layout h = random_map(&far, &in), hg = layout_compose(&h, &g);
        struct layout left = layout_compose(&h, &gf), right = layout_compose(&hg, &f);
        check_equal(&left, &right);
        // Inverses.
        struct layout p = random_bijection(&in), q = layout_invert(&p), one = layout_identity(&p.in);
        ck_assert(layout_bijective(&p));
        struct layout qp = layout_compose(&q, &p);
        check_equal(&qp, &one);
        struct layout plus = layout_pseudo_invert(&f);
        ck_assert_int_eq(layout_valid(&plus), layout_surjective(&f));
        if (layout_valid(&plus)) {
            struct layout id = layout_compose(&f, &plus), tile_id = layout_identity(&f.out);
            check_equal(&id, &tile_id);
        }
        // Solving.
        struct layout fh = layout_compose(&f, &h), s = layout_solve(&f, &fh), fs = layout_compose(&f, &s);
        check_equal(&fs, &fh);
        // Products: sizes multiply, each factor keeps its own bits.
        struct layout_space little = random_space(true, 4), few = random_space(false, 4);
        struct layout k = random_map(&few, &little), product = layout_product(&f, &k);
        for (unsigned d = 0; d < LAYOUT_DIMS; d++)
            for (unsigned bit = 0; bit < product.in.bits[d]; bit++)
                for (unsigned o = 0; o < LAYOUT_DIMS; o++)
                    ck_assert_uint_eq(layout_basis(&product, d, bit, o),
                                      bit < f.in.bits[d] ? layout_basis(&f, d, bit, o)
                                                         : layout_basis(&k, d, bit - f.in.bits[d], o) << f.out.bits[o]);
        // With the free bits at 0 every element of the image occurs once.
        uint32_t free_bits[LAYOUT_DIMS], n_free = 0;
        for (int d = 0; d < LAYOUT_DIMS; d++) {
            free_bits[d] = layout_free_mask(&f, d);
            n_free += (uint32_t)__builtin_popcount(free_bits[d]);
        }
        ck_assert_uint_eq(n_free + layout_image_bits(&f), layout_in_bits(&f));
        struct layout dropped = layout_drop_free_registers(&f);
        ck_assert_uint_eq(layout_image_bits(&dropped), layout_image_bits(&f));
        ck_assert_uint_eq(layout_free_mask(&dropped, LAYOUT_REG), 0);
    }
}
END_TEST

// ---- Conversions -------------------------------------------------------------------------------------------------

static enum layout_move conversion(const char *from, const char *to)
{
    struct layout src = parsed(from), dst = parsed(to), map;
    enum layout_move move = layout_conversion(&src, &dst, &map);
    ck_assert_int_eq(layout_valid(&map), move != LAYOUT_MOVE_IMPOSSIBLE);
    if (layout_valid(&map)) {
        struct layout back = layout_compose(&src, &map);
        check_equal(&back, &dst);
    }
    return move;
}

START_TEST(conversion_classes)
{
    const char *l = "#linear<reg=[[0,1],[0,2]], lane=[[0,4],[1,0],[2,0]], warp=[[4,0]]>";
    ck_assert_int_eq(conversion(l, l), LAYOUT_MOVE_NONE);
    ck_assert_int_eq(conversion(l, "#linear<reg=[[0,2],[0,3]], lane=[[0,4],[1,0],[2,0]], warp=[[4,0]]>"),
                     LAYOUT_MOVE_REGISTERS);
    // A lane's registers in an order that depends on the lane: still its own.
    ck_assert_int_eq(conversion(l, "#linear<reg=[[0,1],[0,2]], lane=[[0,5],[1,0],[2,0]], warp=[[4,0]]>"),
                     LAYOUT_MOVE_REGISTERS);
    ck_assert_int_eq(conversion(l, "#linear<reg=[[0,1],[1,0]], lane=[[0,4],[0,2],[2,0]], warp=[[4,0]]>"),
                     LAYOUT_MOVE_LANES);
    ck_assert_int_eq(conversion(l, "#linear<reg=[[0,1],[0,2]], lane=[[0,4],[1,0],[4,0]], warp=[[2,0]]>"),
                     LAYOUT_MOVE_WARPS);
    ck_assert_int_eq(conversion(l, "#linear<reg=[[0,1],[4,0]], lane=[[0,4],[1,0],[2,0]], warp=[[0,2]]>"),
                     LAYOUT_MOVE_WARPS);
    // Other tiles, other numbers of lanes.
    ck_assert_int_eq(conversion(l, "#linear<reg=[[1]], lane=[[2],[4],[8]], warp=[[16]]>"), LAYOUT_MOVE_IMPOSSIBLE);
    ck_assert_int_eq(conversion(l, "#linear<reg=[[0,1],[0,2],[2,0]], lane=[[0,4],[1,0]], warp=[[4,0]]>"),
                     LAYOUT_MOVE_IMPOSSIBLE);
    ck_assert_int_eq(conversion("#linear<reg=[[1]], block=[[2]]>", "#linear<reg=[[2]], block=[[1]]>"),
                     LAYOUT_MOVE_BLOCKS);
    ck_assert_int_eq(conversion("#linear<reg=[[1]], out=[4]>", "#linear<reg=[[2]], out=[4]>"), LAYOUT_MOVE_IMPOSSIBLE);
}
END_TEST

START_TEST(conversions_with_copies)
{
    // Where both sides hold copies in lane bit 1, nobody asks lane 0 for them.
    ck_assert_int_eq(conversion("#linear<reg=[[1]], lane=[[2],[0]]>", "#linear<reg=[[1]], lane=[[2],[0]]>"),
                     LAYOUT_MOVE_NONE);
    // Broadcasting to other lanes, and to other warps.
    ck_assert_int_eq(conversion("#linear<reg=[[1]], lane=[[2],[4]]>", "#linear<reg=[[1],[4]], lane=[[2],[0]]>"),
                     LAYOUT_MOVE_LANES);
    ck_assert_int_eq(conversion("#linear<reg=[[1],[4]], lane=[[2],[0]]>", "#linear<reg=[[1]], lane=[[2],[4]]>"),
                     LAYOUT_MOVE_REGISTERS); // a selection by lane
    ck_assert_int_eq(conversion("#linear<reg=[[1]], warp=[[2]]>", "#linear<reg=[[1],[2]], warp=[[0]]>"),
                     LAYOUT_MOVE_WARPS);
    // Dropping or adding registers that are copies.
    ck_assert_int_eq(conversion("#linear<reg=[[1],[0]], lane=[[2]]>", "#linear<reg=[[1]], lane=[[2]]>"),
                     LAYOUT_MOVE_REGISTERS);
    ck_assert_int_eq(conversion("#linear<reg=[[1]], lane=[[2]]>", "#linear<reg=[[1],[0]], lane=[[2]]>"),
                     LAYOUT_MOVE_REGISTERS);
}
END_TEST

START_TEST(accumulator_is_the_next_operand)
{
    // Flash attention's step: the 16-bit accumulator of S = Q K^T is the A operand of S V with no movement between
    // lanes: mma's fragments are made for that.
    const uint32_t warps[] = {4, 1}, shape[] = {64, 32};
    struct layout acc = layout_mma(LAYOUT_MMA_ACC, 16, 16, warps, shape);
    struct layout a = layout_mma(LAYOUT_MMA_A, 16, 16, warps, shape);
    ck_assert_int_eq(layout_conversion(&acc, &a, NULL), LAYOUT_MOVE_NONE);
    // Not so with tf32, where a lane's neighbours along k are not its own.
    a = layout_mma(LAYOUT_MMA_A, 32, 8, warps, shape);
    ck_assert_int_eq(layout_conversion(&acc, &a, NULL), LAYOUT_MOVE_LANES);
    const struct layout_blocked rows = {.per_thread = {1, 8}, .lanes = {8, 4}, .warps = {4, 1}, .order = {1, 0}};
    struct layout blocked = layout_blocked(&rows, 2, shape);
    ck_assert_int_eq(layout_conversion(&acc, &blocked, NULL), LAYOUT_MOVE_WARPS);
}
END_TEST

// The nearest source of one place by trying them all.
static enum layout_move brute_force_move(const struct layout *src, const struct layout *dst, uint32_t place)
{
    uint32_t wanted = layout_apply_packed(dst, place), here[LAYOUT_DIMS], there[LAYOUT_DIMS];
    enum layout_move best = LAYOUT_MOVE_IMPOSSIBLE;
    layout_unpack(&dst->in, place, here);
    for (uint32_t s = 0; s < 1u << layout_in_bits(src); s++) {
        if (layout_apply_packed(src, s) != wanted)
            continue;
        layout_unpack(&src->in, s, there);
        enum layout_move move = there[LAYOUT_BLOCK] != here[LAYOUT_BLOCK] ? LAYOUT_MOVE_BLOCKS
                                : there[LAYOUT_WARP] != here[LAYOUT_WARP] ? LAYOUT_MOVE_WARPS
                                : there[LAYOUT_LANE] != here[LAYOUT_LANE] ? LAYOUT_MOVE_LANES
                                : there[LAYOUT_REG] != here[LAYOUT_REG]   ? LAYOUT_MOVE_REGISTERS
                                                                          : LAYOUT_MOVE_NONE;
        if (move < best)
            best = move;
    }
    return best;
}

START_TEST(random_conversions)
{
    seed(2);
    int seen[LAYOUT_MOVE_IMPOSSIBLE + 1] = {0};
    for (int round = 0; round < 2000; round++) {
        struct layout_space in = {.bits = {random_below(4), random_below(3), random_below(2), random_below(2)}};
        struct layout_space tile = {.rank = 1, .bits = {[TILE(0)] = random_below(5)}};
        struct layout src = random_map(&in, &tile), map;
        in.bits[LAYOUT_REG] = random_below(4);
        struct layout dst = random_map(&in, &tile);
        if (random_below(2)) // something near src
            for (unsigned i = 0; i < layout_in_bits(&dst); i++)
                if (random_below(4) && layout_in_bits(&src) == layout_in_bits(&dst))
                    dst.basis[i] = src.basis[i];
        enum layout_move expected = LAYOUT_MOVE_NONE;
        for (uint32_t place = 0; place < 1u << layout_in_bits(&dst); place++) {
            enum layout_move move = brute_force_move(&src, &dst, place);
            expected = move > expected ? move : expected;
        }
        if (expected == LAYOUT_MOVE_NONE && src.in.bits[LAYOUT_REG] != dst.in.bits[LAYOUT_REG])
            expected = LAYOUT_MOVE_REGISTERS;
        enum layout_move move = layout_conversion(&src, &dst, &map);
        ck_assert_msg(move == expected, "%d, not %d: %s to %s", (int)move, (int)expected, text(&src), text(&dst));
        seen[move]++;
        if (move == LAYOUT_MOVE_IMPOSSIBLE)
            continue;
        struct layout back = layout_compose(&src, &map);
        check_equal(&back, &dst);
        // The map itself stays within its class.
        for (unsigned d = LAYOUT_LANE; d <= LAYOUT_BLOCK; d++)
            for (uint32_t place = 0; (int)d >= (int)move && place < 1u << layout_in_bits(&dst); place++) {
                uint32_t here[LAYOUT_DIMS], there[LAYOUT_DIMS];
                layout_unpack(&dst.in, place, here);
                layout_apply(&map, here, there);
                ck_assert(move == LAYOUT_MOVE_NONE || here[d] == there[d]);
            }
    }
    for (int move = 0; move <= LAYOUT_MOVE_IMPOSSIBLE; move++)
        ck_assert_msg(seen[move] >= 10, "class %d was met %d times", move, seen[move]);
}
END_TEST

// ---- Text --------------------------------------------------------------------------------------------------------

START_TEST(text_round_trip)
{
    static const char *const texts[] = {
        "#linear<reg=[[0,1],[8,0]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]], warp=[[16,0]]>",
        "#linear<>",
        "#linear<out=[1,1]>",
        "#linear<reg=[[1,0]], out=[4,1]>",
        "#linear<lane=[[0],[0]], block=[[1]]>",
        "#linear<lane=[[],[]]>",
        "#linear<offset=[[0,1],[0,2],[1,2]]>",
        "#linear<d0=[], d1=[[1,0],[0,1]], out=[reg:2, lane:32]>",
        "#linear<reg=[[1,0,0],[0,0,1]], out=[warp:2, d0:1, d1:2]>",
        "#linear<reg=[[2147483648]]>",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct layout l = parsed(texts[i]);
        ck_assert_str_eq(text(&l), texts[i]);
    }
    struct layout acc = parsed(texts[0]);
    const uint32_t warps[] = {2, 1}, shape[] = {32, 8};
    struct layout expected = layout_mma(LAYOUT_MMA_ACC, 16, 16, warps, shape);
    check_equal(&acc, &expected);
    // Blanks, order and empty lists do not matter; the cursor stops behind the layout.
    const char *s = " #linear < lane=[[2 , 0]],warp=[],\n reg = [ [1,0] ], out = [ 4,1 ] >>, rest", *cursor = s;
    struct layout l;
    ck_assert_ptr_null(layout_parse(&cursor, &l));
    ck_assert_str_eq(cursor, ">, rest");
    ck_assert_str_eq(text(&l), "#linear<reg=[[1,0]], lane=[[2,0]]>");
}
END_TEST

START_TEST(text_truncates_as_snprintf)
{
    struct layout l = parsed("#linear<reg=[[1]], lane=[[2]]>");
    char buffer[16] = "untouched";
    ck_assert_uint_eq(layout_print(&l, NULL, 0), strlen("#linear<reg=[[1]], lane=[[2]]>"));
    ck_assert_uint_eq(layout_print(&l, buffer, 8), strlen("#linear<reg=[[1]], lane=[[2]]>"));
    ck_assert_str_eq(buffer, "#linear");
}
END_TEST

START_TEST(text_random_round_trip)
{
    seed(4);
    for (int round = 0; round < 5000; round++) {
        struct layout_space in = random_space(random_below(4) == 0, 32);
        struct layout_space out = random_space(random_below(4) != 0, 31);
        struct layout l = random_map(&in, &out), again = parsed(text(&l));
        check_equal(&again, &l);
    }
}
END_TEST

START_TEST(text_faults)
{
    static const struct {
        const char *text, *rest, *error;
    } cases[] = {
        {"linear<>", "linear<>", "expected #linear<...>"},
        {"#linear", "", "expected '<'"},
        {"#linear<", "", "expected reg, lane, warp, block, offset, d0..d5 or out"},
        {"#linear<regs=[]>", "regs=[]>", "expected reg, lane, warp, block, offset, d0..d5 or out"},
        {"#linear<d6=[]>", "d6=[]>", "expected reg, lane, warp, block, offset, d0..d5 or out"},
        {"#linear<reg>", ">", "expected '='"},
        {"#linear<reg=1>", "1>", "expected '[' of a list of basis vectors"},
        {"#linear<reg=[1]>", "1]>", "expected '[' of a basis vector"},
        {"#linear<reg=[[1]>", ">", "expected ',' or ']' after a basis vector"},
        {"#linear<reg=[[1]]", "", "expected ',' or '>'"},
        {"#linear<reg=[[1]],>", ">", "expected reg, lane, warp, block, offset, d0..d5 or out"},
        {"#linear<reg=[[-1]]>", "-1]]>", "expected a coordinate below 2^32"},
        {"#linear<reg=[[4294967296]]>", "4294967296]]>", "expected a coordinate below 2^32"},
        {"#linear<reg=[[1,0],[2]]>", "2]]>", "basis vectors have different numbers of coordinates"},
        {"#linear<reg=[[1]], reg=[[2]]>", "reg=[[2]]>", "the dimension is named twice"},
        {"#linear<reg=[[1,0,0,0,0,0,0]]>", "", "the rank is above 6"},
        {"#linear<reg=[[0,0,0,0,0,0,0,0,0,0,0,0]]>", "0]]>", "too many coordinates"},
        {"#linear<reg=[[65536,65536]]>", "", "the output has more than 2^32 elements"},
        {"#linear<reg=[[4]], out=[4]>", "", "a coordinate is beyond its output size"},
        {"#linear<reg=[[4]], out=[4,8]>", "", "the number of coordinates is not that of the output sizes"},
        {"#linear<out=[3]>", "3]>", "expected a size: a power of two up to 2^32"},
        {"#linear<out=[0]>", "0]>", "expected a size: a power of two up to 2^32"},
        {"#linear<out=[reg:1, 2]>", "2]>", "either all output sizes have a name or none"},
        {"#linear<out=[2, reg:1]>", "reg:1]>", "either all output sizes have a name or none"},
        {"#linear<out=[reg:1, reg:1]>", "reg:1]>", "the dimension is named twice"},
        {"#linear<out=[reg]>", "]>", "expected ':' and a size"},
        {"#linear<out=[1,1,1,1,1,1,1]>", "1]>", "the rank is above 6"},
        {"#linear<out=[1>", ">", "expected ',' or ']' in the output sizes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct layout l, before;
        memset(&l, 0x5a, sizeof l);
        before = l;
        const char *cursor = cases[i].text, *error = layout_parse(&cursor, &l);
        ck_assert_msg(error != NULL, "%s is accepted", cases[i].text);
        ck_assert_msg(strcmp(error, cases[i].error) == 0, "%s: %s", cases[i].text, error);
        ck_assert_msg(strcmp(cursor, cases[i].rest) == 0, "%s: at '%s'", cases[i].text, cursor);
        ck_assert(layout_equal(&l, &before));
    }
}
END_TEST

START_TEST(text_mutations)
{
    seed(5);
    static const char alphabet[] = "[]<>=,:#0123456789regdlanoutwp ";
    for (int round = 0; round < 30000; round++) {
        char s[LAYOUT_TEXT_MAX];
        struct layout_space in = random_space(random_below(4) == 0, 6), out = random_space(random_below(4) != 0, 6);
        struct layout l = random_map(&in, &out), again;
        size_t n = layout_print(&l, s, sizeof s);
        for (uint32_t k = random_below(4); k > 0; k--)
            s[random_below((uint32_t)n)] = alphabet[random_below(sizeof alphabet - 1)];
        if (random_below(8) == 0)
            s[random_below((uint32_t)n)] = 0;
        const char *cursor = s;
        if (layout_parse(&cursor, &l)) {
            ck_assert(cursor >= s && cursor <= s + n);
            continue;
        }
        again = parsed(text(&l));
        check_equal(&again, &l);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layout");
    TCase *algebra = tcase_create("algebra"), *conversions = tcase_create("conversions"),
          *format = tcase_create("text");
    TCase *all[] = {algebra, conversions, format};
    tcase_add_test(algebra, products_and_strides);
    tcase_add_test(algebra, reshape_and_transpose);
    tcase_add_test(algebra, sublayouts);
    tcase_add_test(algebra, broadcasts_have_pseudo_inverses);
    tcase_add_test(algebra, random_algebra);
    tcase_add_test(conversions, conversion_classes);
    tcase_add_test(conversions, conversions_with_copies);
    tcase_add_test(conversions, accumulator_is_the_next_operand);
    tcase_add_test(conversions, random_conversions);
    tcase_add_test(format, text_round_trip);
    tcase_add_test(format, text_truncates_as_snprintf);
    tcase_add_test(format, text_random_round_trip);
    tcase_add_test(format, text_faults);
    tcase_add_test(format, text_mutations);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        tcase_set_timeout(all[i], 120);
        suite_add_tcase(suite, all[i]);
    }
    return suite_run(suite, CK_FORK_GETENV);
}
