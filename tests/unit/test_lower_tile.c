// Tile operations, memory with bounds, and control flow as machine code.
#include <stdio.h>

#include "tests/unit/kernel_code.h"
#include "tests/unit/suite.h"

// ---- Matrix products -------------------------------------------------------------------------------------------

static const char matmul[] = "kernel @k(%a: view<MxKxTA>, %b: view<KxNxTB>, %c: view<MxNxTC>)\n"
                             "    grid [ceildiv(M, 6), ceildiv(N, 32)] {\n"
                             "  %p = program_id 0\n  %q = program_id 1\n  %m = mul %p, 6\n  %n = mul %q, 32\n"
                             "  %z = load %c[%m, %n] : tile<6x32xTC, v1x16>\n"
                             "  %s = for %k = 0 to K step 4 with (%acc = %z) {\n"
                             "    %x = load %a[%m, %k] : tile<6x4xTA, s>\n"
                             "    %y = load %b[%k, %n] : tile<4x32xTB, v1x16>\n"
                             "    %d = dot \"mk,kn->mn\" %x, %y, %acc\n    yield %d\n  }\n"
                             "  store %s, %c[%m, %n]\n}\n";

static void matmul_of(const char *a, const char *b, const char *c, double tolerance)
{
    static const int64_t sizes[][3] = {{12, 64, 8}, {13, 45, 7}, {1, 1, 1}, {5, 33, 0}};
    char x[2048], y[2048], z[2048];
    for (int i = 0; i < 4; i++)
        CHECK(.text = with(z, 2048, with(y, 2048, with(x, 2048, matmul, "TA", a), "TB", b), "TC", c),
              .tolerance = tolerance, .symbols = {sizes[i][0], sizes[i][2], sizes[i][1]});
}

START_TEST(test_matmul)
{
    matmul_of("f32", "f32", "f32", 1e-5);
    matmul_of("bf16", "f16", "f32", 1e-5);
    matmul_of("u8", "i8", "i32", 0);
    matmul_of("f64", "f64", "f64", 1e-14);
}
END_TEST

// ---- Memory ----------------------------------------------------------------------------------------------------

START_TEST(test_bounds)
{
    static const char *const types[] = {"f32", "u8", "f64", "i16", "i1", "bf16"};
    char room[2048], a[16];
    // Tiles that stick out on all sides, with padding.
    const char *text = "kernel @k(%x: view<HxWxT>, %y: view<PxQxT>) grid [4, 4] {\n"
                       "  %i = program_id 0\n  %j = program_id 1\n  %m = mul %i, 5\n  %n = mul %j, 17\n"
                       "  %u = sub %m, 3\n  %v = sub %n, 2\n"
                       "  %a = load %x[%u, %v] pad 1 : tile<5x17xT, v1x8>\n  store %a, %y[%u, %v]\n}\n";
    for (int i = 0; i < 6; i++) {
        snprintf(a, sizeof a, "x%s", types[i]);
        CHECK(.text = with(room, sizeof room, text, "xT", a), .symbols = {13, 40, 11, 50});
    }
}
END_TEST

START_TEST(test_windows)
{
    // Every second row and third column, a diagonal, and a dimension that is repeated.
    CHECK(.text = "kernel @k(%x: view<9x40xf32>, %y: view<5x20xf32>, %z: view<24xf32>, %w: view<4x16xf32>) grid [1] {\n"
                  "  %s = window %x[1, -2] (d0, d1) -> (d0 * 2, d1 * 3)\n"
                  "  %a = load %s[0, 0] pad 7.0 : tile<5x20xf32, v1x8>\n  store %a, %y[0, 0]\n"
                  "  %d = window %x[-1, -1] (d0) -> (d0, d0)\n"
                  "  %b = load %d[0] : tile<24xf32, v0x8>\n  store %b, %z[0]\n"
                  "  %r = window %x[2, 3] (d0, d1) -> (d1, 0)\n"
                  "  %c = load %r[0, 0] : tile<4x16xf32, v0x4>\n  store %c, %w[0, 0]\n"
                  "  %t = window %s[1, 1] (d0, d1) -> (d0, d1 * 2)\n"
                  "  %e = load %t[0, 0] : tile<3x8xf32, v1x8>\n  store %e, %w[1, 5]\n}\n");
}
END_TEST

START_TEST(test_transposing)
{
    static const char *const types[] = {"f32", "f64", "u8", "bf16", "i1"};
    char room[2048], a[16];
    const char *text = "kernel @k(%x: view<20x37xT>, %y: view<20x37xT>) grid [1] {\n"
                       "  %a = load %x[0, 0] : tile<20x37xT, v0x16>\n"
                       "  %b = load %x[3, 30] : tile<16x16xT, v0x16>\n"
                       "  store %a, %y[0, 0]\n  store %b, %y[9, 25]\n  store %b, %y[-9, -5]\n}\n";
    for (int i = 0; i < 5; i++) {
        snprintf(a, sizeof a, "x%s", types[i]);
        CHECK(.text = with(room, sizeof room, text, "xT", a));
    }
}
END_TEST

START_TEST(test_strides)
{
    CHECK(.text = "kernel @k(%x: view<6x20xf32, strides [24, 1]>, %y: view<MxNxf32, strides [S, 1]>, %z: "
                  "view<20x6xf32, strides [1, 20]>) grid [1] {\n"
                  "  %a = load %x[0, 0] : tile<6x20xf32, v1x8>\n  store %a, %y[0, 0]\n"
                  "  %t = transpose %a, [1, 0]\n  store %t, %z[0, 0]\n}\n",
          .symbols = {5, 18, 23});
}
END_TEST

START_TEST(test_streaming)
{
    // Aligned rows, rows that are not, and a tile that sticks out.
    CHECK(.text = "kernel @k(%x: view<32x32xf32>, %y: view<32x32xf32>, %z: view<32x32xf32>, %w: view<32x32xf32>) grid "
                  "[1] {\n"
                  "  %a = load %x[0, 0] : tile<2x32xf32, v1x16>\n  store %a, %y[1, 0] stream inbounds [0, 1]\n"
                  "  store %a, %z[3, 0] stream inbounds [0, 1]\n  %b = load %x[7, 0] : tile<3x16xf32, v1x4>\n"
                  "  store %b, %z[9, 5] stream inbounds [0, 1]\n  store %b, %w[30, 28] stream\n}\n");
    // Far outside too.
    CHECK(.text = "kernel @k(%x: view<32x32xf32>, %y: view<32x32xf32>) grid [1] {\n"
                  "  prefetch %x[0, 0], [32, 32]\n  prefetch %y[-100000, 1000000000], [3, 17] write\n"
                  "  %a = load %x[0, 0] : tile<2x32xf32, v1x16>\n  store %a, %y[1, 0]\n}\n");
}
END_TEST

START_TEST(test_gather)
{
    CHECK(.text = "kernel @k(%x: view<30x40xf32>, %i: view<12x16xi32>, %y: view<12x16xf32>, %z: view<12x16xf32>,\n"
                  "          %w: view<30x40xf32>) grid [1] {\n"
                  "  %a = load %i[0, 0] : tile<12x16xi32, v1x8>\n"
                  "  %g = gather %x[%a, 3] pad 2.0\n  store %g, %y[0, 0]\n"
                  "  %r = load %i[0, 0] : tile<12x1xi32, s>\n  %c = iota 1 : tile<1x16xindex, v1x8>\n"
                  "  %d = add %c, 20\n  %h = gather %x[%r, %d]\n  store %h, %z[0, 0]\n"
                  "  %e = iota 0 : tile<12x1xindex, s>\n  scatter %g, %w[%e, %d]\n  scatter %h, %w[%a, %c]\n}\n");
}
END_TEST

START_TEST(test_atomic)
{
    CHECK(.text =
              "kernel @k(%i: view<64xi32>, %f: view<50xf32>, %n: view<50xi32>, %u: view<50xu8>, %h: view<50xbf16>,\n"
              "          %v: view<64xf32>, %w: view<64xi32>, %x: view<64xu8>, %y: view<64xbf16>) grid [1] {\n"
              "  %a = load %i[0] : tile<64xi32, v0x16>\n  %b = load %v[0] : tile<64xf32, v0x16>\n"
              "  %c = load %w[0] : tile<64xi32, v0x16>\n  %d = load %x[0] : tile<64xu8, v0x16>\n"
              "  %e = load %y[0] : tile<64xbf16, v0x16>\n"
              "  atomic add %b, %f[%a]\n  atomic max %b, %f[%a]\n  atomic max %c, %n[%a]\n  atomic mul %c, %n[%a]\n"
              "  atomic or %d, %u[%a]\n  atomic min %d, %u[%a]\n  atomic add %e, %h[%a]\n}\n",
          .tolerance = 1e-2);
}
END_TEST

// ---- Tiles -----------------------------------------------------------------------------------------------------

START_TEST(test_reduce)
{
    static const char *const ops[] = {"add", "max", "minimum", "mul"};
    char room[4096];
    const char *text =
        "kernel @k(%x: view<9x37xf32>, %n: index, %a: view<9x1xf32>, %b: view<1x37xf32>, %c: view<1x1xf32>,\n"
        "          %d: view<9x1xf32>, %e: view<1x37xf32>, %h: view<9x37xbf16>, %g: view<9x1xbf16>) grid [1] {\n"
        "  %v = load %x[0, 0] : tile<9x37xf32, v1x16>\n"
        "  %r = reduce OP %v, [1]\n  store %r, %a[0, 0]\n"
        "  %s = reduce OP %v, [0]\n  store %s, %b[0, 0]\n"
        "  %t = reduce OP %v, [0, 1]\n  store %t, %c[0, 0]\n"
        "  %u = reduce OP %v, [1] count %n\n  store %u, %d[0, 0]\n"
        "  %w = reduce OP %v, [0] count %n\n  store %w, %e[0, 0]\n"
        "  %z = load %h[0, 0] : tile<9x37xbf16, v1x8>\n  %y = reduce OP %z, [1]\n  store %y, %g[0, 0]\n}\n";
    static const int64_t counts[] = {0, 1, 5, 20, 33, 100};
    for (int i = 0; i < 6; i++)
        CHECK(.text = with(room, sizeof room, text, "OP", ops[i % 4]), .tolerance = i % 4 == 0 ? 1e-2 : 1e-5,
              .scalars = {{.i = counts[i]}});
}
END_TEST

START_TEST(test_scan)
{
    static const char *const flags[] = {"", " exclusive", " reverse", " exclusive reverse"};
    char room[4096];
    const char *text =
        "kernel @k(%x: view<5x37xi32>, %f: view<5x37xf32>, %p: view<5x1xi32>, %q: view<1x37xi32>,\n"
        "          %a: view<5x37xi32>, %b: view<5x37xi32>, %c: view<5x37xi32>, %d: view<5x37xf32>) grid [1] {\n"
        "  %v = load %x[0, 0] : tile<5x37xi32, v1x8>\n  %w = load %f[0, 0] : tile<5x37xf32, v1x8>\n"
        "  %i = load %p[0, 0] : tile<5x1xi32, s>\n  %j = load %q[0, 0] : tile<1x37xi32, v1x8>\n"
        "  %r = scan add %v, 1FLAGS\n  store %r, %a[0, 0]\n"
        "  %s = scan max %v, 0FLAGS carry %j\n  store %s, %b[0, 0]\n"
        "  %t = scan add %v, 1FLAGS carry %i\n  store %t, %c[0, 0]\n"
        "  %u = scan add %w, 1FLAGS\n  store %u, %d[0, 0]\n}\n";
    for (int i = 0; i < 4; i++)
        CHECK(.text = with(room, sizeof room, text, "FLAGS", flags[i]), .tolerance = 1e-5);
}
END_TEST

START_TEST(test_moving)
{
    CHECK(.text =
              "kernel @k(%x: view<6x20xf32>, %n: index, %a: view<20x6xf32>, %b: view<4x30xf32>, %c: view<6x20xf32>,\n"
              "          %d: view<3x2x20xf32>, %e: view<1xf32>, %f: view<6x20xf32>, %g: view<6x20xi1>) grid [1] {\n"
              "  %v = load %x[0, 0] : tile<6x20xf32, v1x8>\n"
              "  %t = transpose %v, [1, 0]\n  store %t, %a[0, 0]\n"
              "  %r = reshape %v : tile<4x30xf32, v1x8>\n  store %r, %b[0, 0]\n"
              "  %s = reshape %v : tile<3x2x20xf32, v2x8>\n  store %s, %d[0, 0, 0]\n"
              "  %m = reduce max %v, [1]\n  %w = broadcast %m : tile<6x20xf32, v1x8>\n  store %w, %c[0, 0]\n"
              "  %p = extract %v[%n, 3]\n  %q = broadcast %p : tile<1xf32, s>\n  store %q, %e[0]\n"
              "  %i = iota 1 : tile<6x20xi32, v1x8>\n  %j = cast f32 %i\n  %o = mul %j, %m\n  store %o, %f[0, 0]\n"
              "  %y = gt %v, %o\n  store %y, %g[0, 0]\n}\n",
          .scalars = {{.i = 4}});
}
END_TEST

START_TEST(test_dots)
{
    // Batches, two contracted axes, vectors along the contracted axis, sums in scalars.
    CHECK(.text = "kernel @k(%x: view<2x3x5xf32>, %y: view<2x5x16xf32>, %z: view<2x3x16xf32>, %u: view<4x37xf32>,\n"
                  "          %v: view<3x37xf32>, %w: view<4x3xf32>, %s: view<3xf32>, %h: view<3x37xbf16>) grid [1] {\n"
                  "  %a = load %x[0, 0, 0] : tile<2x3x5xf32, s>\n  %b = load %y[0, 0, 0] : tile<2x5x16xf32, v2x8>\n"
                  "  %c = load %z[0, 0, 0] : tile<2x3x16xf32, v2x8>\n  %d = dot \"bmk,bkn->bmn\" %a, %b, %c\n"
                  "  store %d, %z[0, 0, 0]\n"
                  "  %e = load %u[0, 0] : tile<4x37xf32, v1x8>\n  %f = load %v[0, 0] : tile<3x37xf32, v1x8>\n"
                  "  %g = load %w[0, 0] : tile<4x3xf32, s>\n  %i = dot \"mk,nk->mn\" %e, %f, %g\n  store %i, %w[0, 0]\n"
                  "  %j = load %s[0] : tile<3xf32, s>\n  %l = load %x[1, 0, 0] : tile<1x3x5xf32, s>\n"
                  "  %m = reshape %l : tile<3x5xf32, s>\n  %n = dot \"nk,nk->n\" %m, %m, %j\n  store %n, %s[0]\n"
                  "  %o = load %h[0, 0] : tile<3x37xbf16, v1x8>\n  %p = dot \"mk,nk->mn\" %e, %o, %i\n  store %p, "
                  "%w[0, 0]\n}\n",
          .tolerance = 1e-5);
}
END_TEST

// ---- Control flow ----------------------------------------------------------------------------------------------

START_TEST(test_control)
{
    CHECK(.text = "kernel @k(%x: view<NxNxf32>, %y: view<NxNxf32>, %n: index, %z: view<4xi64>) grid [1] {\n"
                  "  %o = constant 0.0 : tile<1x16xf32, v1x8>\n"
                  "  %v = load %x[1, 2] : tile<1x16xf32, v1x8>\n"
                  "  %t = for %i = 2 to N step 3 with (%s = %o) {\n"
                  "    %r = load %x[%i, 0] : tile<1x16xf32, v1x8>\n    %a = add %r, %s\n"
                  "    %c = lt %i, %n\n"
                  "    %q = if %c {\n      %m = mul %a, %v\n      yield %m\n    } else {\n      store %a, %y[%i, 0]\n  "
                  "    yield %s\n    }\n"
                  "    %w = load %y[%i, 1] : tile<1x16xf32, v1x8>\n    %e = add %w, %q\n    store %e, %y[%i, 1]\n"
                  "    yield %q\n  }\n  %p = add %t, %v\n  store %p, %y[0, 0]\n"
                  "  %h, %g = while (%l = %n, %k = 1) {\n    %c = gt %l, 1\n    condition %c\n  } do (%l, %k) {\n"
                  "    %d = floordiv %l, 2\n    %f = add %k, 1\n    yield %d, %f\n  }\n"
                  "  %i2 = cast i64 %g\n  %b2 = broadcast %i2 : tile<1xi64, s>\n  store %b2, %z[2]\n}\n",
          .tolerance = 1e-5, .symbols = {20}, .scalars = {{.i = 9}});
}
END_TEST

START_TEST(test_scratch)
{
    CHECK(.text =
              "kernel @k(%x: view<Nxf32>, %y: view<Nxf32>) grid [2] {\n"
              "  %s = scratch N : view<?xf32>\n  %t = scratch : view<3x5xi1>\n"
              "  for %i = 0 to N step 8 {\n    %v = load %x[%i] : tile<8xf32, v0x8>\n    %w = mul %v, 2.0\n"
              "    store %w, %s[%i]\n  }\n"
              "  for %j = 0 to N step 16 {\n    %a = load %s[%j] : tile<16xf32, v0x16>\n    store %a, %y[%j]\n  }\n}\n",
          .symbols = {29});
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_tile");
    TCase *tiles = tcase_create("tiles");
    tcase_set_timeout(tiles, 120);
    tcase_add_test(tiles, test_matmul);
    tcase_add_test(tiles, test_bounds);
    tcase_add_test(tiles, test_windows);
    tcase_add_test(tiles, test_transposing);
    tcase_add_test(tiles, test_strides);
    tcase_add_test(tiles, test_streaming);
    tcase_add_test(tiles, test_gather);
    tcase_add_test(tiles, test_atomic);
    tcase_add_test(tiles, test_reduce);
    tcase_add_test(tiles, test_scan);
    tcase_add_test(tiles, test_moving);
    tcase_add_test(tiles, test_dots);
    tcase_add_test(tiles, test_control);
    tcase_add_test(tiles, test_scratch);
    suite_add_tcase(s, tiles);
    return suite_run(s, CK_FORK_GETENV);
}
