// The reference interpreter against plain C. Every kernel goes through the verifier first.
#include "ir/interp.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct module *m;
static struct diags diags;
static struct builder b;
static struct interp_arg args[8];
static int64_t symbols[4];

static void setup(void)
{
    m = module_create();
    diag_init(&diags);
    memset(args, 0, sizeof args);
    memset(symbols, 0, sizeof symbols);
    struct function *k = function_create(m, "k", (struct loc){.file = "test", .line = 1});
    b = (struct builder){.function = k, .block = k->body, .loc = {.file = "test", .line = 2}, .diags = &diags};
}

static void teardown(void)
{
    module_destroy(m);
    diag_finish(&diags);
}

#define DIMS(...)                                                                                                      \
    ((int)(sizeof((dim[]){__VA_ARGS__}) / sizeof(dim))), (dim[])                                                       \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define VALUES(...)                                                                                                    \
    (struct value *[])                                                                                                 \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define COUNT(...) ((int)(sizeof(VALUES(__VA_ARGS__)) / sizeof(struct value *))), VALUES(__VA_ARGS__)
#define AXES(...) ((struct ints){(int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}})

static struct type *tile(enum dtype t, int rank, const dim *dims)
{
    return type_tile(m, t, rank, dims);
}

// A view parameter on data, without gaps.
static struct value *param(const char *name, enum dtype t, int rank, const dim *dims, void *data)
{
    struct type *type = type_view(m, t, rank, dims, NULL);
    struct interp_view *v = &args[b.function->n_params].view;
    ck_assert_int_eq(interp_view_fill(v, type, symbols), 0);
    v->data = data;
    v->bytes = dtype_bytes(t);
    for (int d = 0; d < rank; d++)
        v->bytes *= v->sizes[d];
    return function_add_param(b.function, name, type);
}

static struct value *idx(int64_t x)
{
    return build_index(&b, x);
}

static struct value *one(enum opcode code, int n, struct value *const *operands, struct attr attr, struct type *type)
{
    return build_value(&b, code, n, operands, 1, &attr, type);
}

static void grid(int n, const int64_t *sizes)
{
    struct builder outer = b;
    build_enter(&b, b.function->grid);
    struct value *v[3];
    for (int i = 0; i < n; i++)
        v[i] = idx(sizes[i]);
    build_yield(&b, n, v);
    b = outer;
}

static void check_verifies(void)
{
    ck_assert_msg(!b.failed && verify_module(m, &diags), "%s", diag_string(&diags));
}

static int run_for(int64_t budget)
{
    if (!b.function->grid->first)
        grid(1, (int64_t[]){1});
    check_verifies();
    return interp_run(b.function, args, symbols, budget, &diags);
}

static void run(void)
{
    int status = run_for(0);
    ck_assert_msg(!status, "%s", diag_string(&diags));
}

static void fails_with(const char *text)
{
    ck_assert(run_for(100000));
    ck_assert_msg(strstr(diag_string(&diags), text), "%s", diag_string(&diags));
    ck_assert_int_eq(diags.n_errors, 1);
}

// A kernel that stores one tile, whole, in its last parameter.
static void store_all(struct value *x, struct value *out)
{
    struct value *at[MAX_RANK];
    for (int d = 0; d < out->type->rank; d++)
        at[d] = idx(0);
    build_store(&b, x, out, at);
}

static struct value *load_all(struct value *view)
{
    struct value *at[MAX_RANK];
    for (int d = 0; d < view->type->rank; d++)
        at[d] = idx(0);
    return build_load(&b, view, at, tile(view->type->dtype, view->type->rank, view->type->dims), NULL);
}

static void fill(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)(i * 37 % 101) / 16 - 3;
}

static void expect(const float *have, const float *want, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(have[i] == want[i], "[%d] is %g, not %g", i, (double)have[i], (double)want[i]);
}

static void expect_ints(const int32_t *have, const int32_t *want, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(have[i] == want[i], "[%d] is %d, not %d", i, have[i], want[i]);
}

// ---- Whole kernels ---------------------------------------------------------------------------------------------

// z = x + y with a tail, N a symbol, the grid computed from it; shaped and unshaped.
static void vector_add(int lanes)
{
    enum { N = 37 };
    float x[N], y[N], z[N + 3], want[N + 3];
    fill(x, N);
    fill(y, N);
    for (int i = 0; i < N + 3; i++)
        z[i] = want[i] = i < N ? x[i] + y[i] : 99;
    for (int i = N; i < N + 3; i++)
        z[i] = 99;
    memset(z, 0, sizeof(float) * N);
    int n = module_symbol(m, "N", 1);
    symbols[n] = N;
    dim d = dim_symbol(n);
    struct value *px = param("x", DTYPE_F32, 1, &d, x), *py = param("y", DTYPE_F32, 1, &d, y);
    struct value *pz = param("z", DTYPE_F32, 1, &d, z);
    struct value *size = function_symbol(b.function, n);
    build_enter(&b, b.function->grid);
    build_yield(&b, COUNT(build_binary(&b, OP_CEILDIV, size, idx(16))));
    build_enter(&b, b.function->body);
    struct value *pid = one(OP_PROGRAM_ID, 0, NULL, (struct attr){ATTR_DIM, {.i = 0}}, NULL);
    struct value *at = build_binary(&b, OP_MUL, pid, idx(16));
    struct type *t = tile(DTYPE_F32, DIMS(16));
    if (lanes)
        t = type_shaped(m, t, lanes, 0);
    struct value *sum = build_binary(&b, OP_ADD, build_load(&b, px, &at, t, NULL), build_load(&b, py, &at, t, NULL));
    build_store(&b, sum, pz, &at);
    run();
    expect(z, want, N + 3);
}

START_TEST(adds_vectors)
{
    vector_add(0);
}
END_TEST

START_TEST(layouts_do_not_change_the_meaning)
{
    vector_add(8);
}
END_TEST

START_TEST(multiplies_matrices)
{
    enum { M = 13, N = 9, K = 21, BM = 4, BN = 8, BK = 5 };
    float x[M * K], y[K * N], z[M * N] = {0}, want[M * N];
    fill(x, M * K);
    fill(y, K * N);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < K; k++)
                sum += (double)x[i * K + k] * (double)y[k * N + j];
            want[i * N + j] = (float)sum;
        }
    struct value *px = param("x", DTYPE_F32, DIMS(M, K), x), *py = param("y", DTYPE_F32, DIMS(K, N), y);
    struct value *pz = param("z", DTYPE_F32, DIMS(M, N), z);
    grid(2, (int64_t[]){(M + BM - 1) / BM, (N + BN - 1) / BN});
    struct value *p0 = one(OP_PROGRAM_ID, 0, NULL, (struct attr){ATTR_DIM, {.i = 0}}, NULL);
    struct value *p1 = one(OP_PROGRAM_ID, 0, NULL, (struct attr){ATTR_DIM, {.i = 1}}, NULL);
    struct value *i = build_binary(&b, OP_MUL, p0, idx(BM)), *j = build_binary(&b, OP_MUL, p1, idx(BN));
    struct value *zero = build_float(&b, tile(DTYPE_F32, DIMS(BM, BN)), 0);
    struct op *loop = build_for(&b, idx(0), idx(K), idx(BK), 1, &zero);
    struct value *k = loop->blocks[0]->args[0], *sum = loop->blocks[0]->args[1];
    struct value *tx = build_load(&b, px, VALUES(i, k), tile(DTYPE_F32, DIMS(BM, BK)), NULL);
    struct value *ty = build_load(&b, py, VALUES(k, j), tile(DTYPE_F32, DIMS(BK, BN)), NULL);
    struct attr labels = {ATTR_LABELS, {.string = "mk,kn->mn"}};
    build_yield(&b, COUNT(one(OP_DOT, COUNT(tx, ty, sum), labels, NULL)));
    build_end(&b, loop);
    build_store(&b, loop->results[0], pz, VALUES(i, j));
    run();
    for (int e = 0; e < M * N; e++)
        ck_assert_double_eq_tol((double)z[e], (double)want[e], 1e-4);
}
END_TEST

// out[i] = sum over k of x[i * 2 + k * 3 - 4] * w[k]: a convolution with stride, dilation and padding by a window.
START_TEST(convolves_through_a_window)
{
    enum { N = 20, K = 4, OUT = 10 };
    float x[N], w[K], out[OUT], want[OUT];
    fill(x, N);
    fill(w, K);
    for (int i = 0; i < OUT; i++) {
        double sum = 0;
        for (int k = 0; k < K; k++) {
            int at = i * 2 + k * 3 - 4;
            sum += at >= 0 && at < N ? (double)x[at] * (double)w[k] : 0;
        }
        want[i] = (float)sum;
    }
    struct value *px = param("x", DTYPE_F32, DIMS(N), x), *pw = param("w", DTYPE_F32, DIMS(K), w);
    struct value *pout = param("out", DTYPE_F32, DIMS(OUT), out);
    struct affine_map map = {2, 1, {{2, 3}}}, shift = {2, 2, {{1, 0}, {0, 1}}};
    struct value *window = one(OP_WINDOW, COUNT(px, idx(-10)), (struct attr){ATTR_MAP, {.map = &map}}, NULL);
    // A window on the window: three further in dimension 0.
    window = one(OP_WINDOW, COUNT(window, idx(3), idx(0)), (struct attr){ATTR_MAP, {.map = &shift}}, NULL);
    struct value *patches = build_load(&b, window, VALUES(idx(0), idx(0)), tile(DTYPE_F32, DIMS(OUT, K)), NULL);
    struct value *zero = build_float(&b, tile(DTYPE_F32, DIMS(OUT)), 0);
    struct attr labels = {ATTR_LABELS, {.string = "ik,k->i"}};
    store_all(one(OP_DOT, COUNT(patches, load_all(pw), zero), labels, NULL), pout);
    run();
    expect(out, want, OUT);
}
END_TEST

START_TEST(runs_the_grid_in_order)
{
    int32_t out[24], want[24], counter = 0;
    for (int i = 0; i < 24; i++)
        want[i] = i;
    struct value *pout = param("out", DTYPE_I32, DIMS(4, 3, 2), out), *pc = param("c", DTYPE_I32, DIMS(1), &counter);
    grid(3, (int64_t[]){2, 3, 4});
    struct value *p[3];
    for (int d = 0; d < 3; d++)
        p[d] = one(OP_PROGRAM_ID, 0, NULL, (struct attr){ATTR_DIM, {.i = d}}, NULL);
    struct value *zero = idx(0), *c = build_load(&b, pc, &zero, type_scalar(m, DTYPE_I32), NULL);
    build_store(&b, c, pout, VALUES(p[2], p[1], p[0]));
    struct value *n = one(OP_NUM_PROGRAMS, 0, NULL, (struct attr){ATTR_DIM, {.i = 1}}, NULL);
    struct value *step =
        build_binary(&b, OP_SUB, build_cast(&b, DTYPE_I32, n), build_int(&b, type_scalar(m, DTYPE_I32), 2));
    build_store(&b, build_binary(&b, OP_ADD, c, step), pc, &zero);
    run();
    expect_ints(out, want, 24);
    ck_assert_int_eq(counter, 24);
}
END_TEST

// ---- Memory ----------------------------------------------------------------------------------------------------

START_TEST(pads_loads_and_drops_stores)
{
    float x[6] = {1, 2, 3, 4, 5, 6}, out[20], whole[6] = {0};
    struct value *px = param("x", DTYPE_F32, DIMS(2, 3), x), *pout = param("out", DTYPE_F32, DIMS(4, 5), out);
    struct value *pwhole = param("whole", DTYPE_F32, DIMS(2, 3), whole);
    struct attr pad = {ATTR_PAD, {.number = {.is_float = true, .f = -7}}};
    struct value *at[] = {idx(-1), idx(-1)};
    struct value *t = build_load(&b, px, at, tile(DTYPE_F32, DIMS(4, 5)), &pad);
    store_all(t, pout);
    build_store(&b, t, pwhole, at);
    run();
    float want[20] = {-7, -7, -7, -7, -7, -7, 1, 2, 3, -7, -7, 4, 5, 6, -7, -7, -7, -7, -7, -7};
    expect(out, want, 20);
    expect(whole, x, 6);
}
END_TEST

START_TEST(reads_strided_views)
{
    float x[12], out[6];
    fill(x, 12);
    int s = module_symbol(m, "S", 1);
    symbols[s] = 1;
    struct type *type = type_view(m, DTYPE_F32, DIMS(2, 3), (dim[]){dim_symbol(s), 4});
    struct value *px = function_add_param(b.function, "x", type);
    ck_assert_int_eq(interp_view_fill(&args[0].view, type, symbols), 0);
    args[0].view.data = x;
    args[0].view.bytes = sizeof x;
    struct value *pout = param("out", DTYPE_F32, DIMS(2, 3), out);
    store_all(load_all(px), pout);
    run();
    expect(out, (float[]){x[0], x[4], x[8], x[1], x[5], x[9]}, 6);
}
END_TEST

START_TEST(gathers_scatters_and_adds)
{
    float x[12], out[10], sums[4] = {100, 0, 0, 0}, moved[5] = {0};
    int32_t rows[5] = {2, 0, -1, 3, 1}, columns[2] = {3, 0}, bins[5] = {0, 1, 0, 7, 3};
    fill(x, 12);
    struct value *px = param("x", DTYPE_F32, DIMS(3, 4), x), *pr = param("rows", DTYPE_I32, DIMS(5, 1), rows);
    struct value *pc = param("columns", DTYPE_I32, DIMS(2), columns);
    struct value *pb = param("bins", DTYPE_I32, DIMS(5), bins), *pout = param("out", DTYPE_F32, DIMS(5, 2), out);
    struct value *psums = param("sums", DTYPE_F32, DIMS(4), sums), *pm = param("moved", DTYPE_F32, DIMS(5), moved);
    struct attr pad = {ATTR_PAD, {.number = {.i = -1}}}, combine = {ATTR_COMBINE, {.opcode = OP_ADD}};
    store_all(one(OP_GATHER, COUNT(px, load_all(pr), load_all(pc)), pad, NULL), pout);
    struct value *i =
        build_value(&b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = 0}}, tile(DTYPE_I32, DIMS(5)));
    struct value *values = build_cast(&b, DTYPE_F32, i);
    build_op(&b, OP_ATOMIC, COUNT(values, psums, load_all(pb)), 1, &combine, 0, NULL);
    build_op(&b, OP_ATOMIC, COUNT(build_float(&b, type_scalar(m, DTYPE_F32), 0.5), psums, load_all(pb)), 1, &combine, 0,
             NULL);
    // Backwards, by row numbers 4 - i.
    struct value *back = build_binary(&b, OP_SUB, build_int(&b, type_scalar(m, DTYPE_I32), 4), i);
    build_op(&b, OP_SCATTER, COUNT(values, pm, back), 0, NULL, 0, NULL);
    run();
    float want[10];
    for (int r = 0; r < 5; r++)
        for (int c = 0; c < 2; c++)
            want[r * 2 + c] = rows[r] >= 0 && rows[r] < 3 ? x[rows[r] * 4 + columns[c]] : -1;
    expect(out, want, 10);
    expect(sums, (float[]){103, 1.5, 0, 4.5}, 4);
    expect(moved, (float[]){4, 3, 2, 1, 0}, 5);
}
END_TEST

START_TEST(scratch_is_fresh_and_poisoned)
{
    float out[6];
    struct value *pout = param("out", DTYPE_F32, DIMS(2, 3), out);
    grid(1, (int64_t[]){2});
    struct value *pid = one(OP_PROGRAM_ID, 0, NULL, (struct attr){ATTR_DIM, {.i = 0}}, NULL);
    struct type *type = type_view(m, DTYPE_F32, DIMS(DIM_UNKNOWN, 3), NULL);
    struct value *size = idx(1), *zero = idx(0);
    struct value *buffer = build_value(&b, OP_SCRATCH, 1, &size, 0, NULL, type);
    build_store(&b, build_float(&b, type_scalar(m, DTYPE_F32), 5), buffer, VALUES(zero, pid));
    struct value *t = build_load(&b, buffer, VALUES(zero, zero), tile(DTYPE_F32, DIMS(1, 3)), NULL);
    build_store(&b, t, pout, VALUES(pid, zero));
    run();
    for (int i = 0; i < 6; i++)
        ck_assert(i == 0 || i == 4 ? out[i] == 5 : isnan(out[i]));
}
END_TEST

START_TEST(dim_of_views)
{
    int32_t out[2];
    int n = module_symbol(m, "N", 1);
    symbols[n] = 11;
    dim dims[] = {3, dim_symbol(n)};
    struct value *px = param("x", DTYPE_F32, 2, dims, NULL), *pout = param("out", DTYPE_I32, DIMS(2), out);
    for (int d = 0; d < 2; d++) {
        struct value *size = one(OP_DIM, 1, &px, (struct attr){ATTR_DIM, {.i = d}}, NULL), *at = idx(d);
        build_store(&b, build_cast(&b, DTYPE_I32, size), pout, &at);
    }
    run();
    expect_ints(out, (int32_t[]){3, 11}, 2);
}
END_TEST

// ---- Tiles -----------------------------------------------------------------------------------------------------

START_TEST(rearranges)
{
    int32_t x[6] = {0, 1, 2, 3, 4, 5}, turned[6], shaped[6], wide[12], picked[1], column[2] = {10, 20}, mixed[6];
    struct value *px = param("x", DTYPE_I32, DIMS(2, 3), x), *pt = param("turned", DTYPE_I32, DIMS(3, 2), turned);
    struct value *ps = param("shaped", DTYPE_I32, DIMS(3, 2), shaped);
    struct value *pw = param("wide", DTYPE_I32, DIMS(2, 2, 3), wide), *pp = param("picked", DTYPE_I32, DIMS(1), picked);
    struct value *pc = param("column", DTYPE_I32, DIMS(2, 1), column);
    struct value *pm = param("mixed", DTYPE_I32, DIMS(2, 3), mixed);
    struct value *t = load_all(px), *zero = idx(0);
    store_all(one(OP_TRANSPOSE, 1, &t, (struct attr){ATTR_AXES, {.ints = AXES(1, 0)}}, NULL), pt);
    store_all(build_value(&b, OP_RESHAPE, 1, &t, 0, NULL, tile(DTYPE_I32, DIMS(3, 2))), ps);
    store_all(build_value(&b, OP_BROADCAST, 1, &t, 0, NULL, tile(DTYPE_I32, DIMS(2, 2, 3))), pw);
    build_store(&b, build_value(&b, OP_EXTRACT, COUNT(t, idx(1), idx(1)), 0, NULL, NULL), pp, &zero);
    struct value *big = build_binary(&b, OP_GT, t, build_int(&b, type_scalar(m, DTYPE_I32), 2));
    store_all(build_select(&b, big, t, load_all(pc)), pm);
    run();
    expect_ints(turned, (int32_t[]){0, 3, 1, 4, 2, 5}, 6);
    expect_ints(shaped, x, 6);
    expect_ints(wide, (int32_t[]){0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}, 12);
    expect_ints(picked, (int32_t[]){4}, 1);
    expect_ints(mixed, (int32_t[]){10, 10, 10, 3, 4, 5}, 6);
}
END_TEST

START_TEST(transposes_three_axes)
{
    int32_t x[24], out[24];
    for (int i = 0; i < 24; i++)
        x[i] = i;
    struct value *px = param("x", DTYPE_I32, DIMS(2, 3, 4), x), *pout = param("out", DTYPE_I32, DIMS(4, 2, 3), out);
    struct value *t = load_all(px);
    store_all(one(OP_TRANSPOSE, 1, &t, (struct attr){ATTR_AXES, {.ints = AXES(2, 0, 1)}}, NULL), pout);
    run();
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 3; k++)
                ck_assert_int_eq(out[(i * 2 + j) * 3 + k], x[(j * 3 + k) * 4 + i]);
}
END_TEST

START_TEST(converts)
{
    float x[4] = {-1.5, 300, 2.5, NAN}, half[1];
    int32_t bits[4];
    uint8_t bytes[4];
    struct value *px = param("x", DTYPE_F32, DIMS(4), x), *pb = param("bits", DTYPE_I32, DIMS(4), bits);
    struct value *py = param("bytes", DTYPE_U8, DIMS(4), bytes), *ph = param("half", DTYPE_F32, DIMS(1), half);
    struct value *t = load_all(px);
    store_all(one(OP_BITCAST, 1, &t, (struct attr){ATTR_TO, {.dtype = DTYPE_I32}}, NULL), pb);
    store_all(build_cast(&b, DTYPE_U8, t), py);
    store_all(build_cast(&b, DTYPE_F32, build_float(&b, tile(DTYPE_F16, DIMS(1)), 0.1)), ph);
    run();
    ck_assert_mem_eq(bits, x, sizeof(float) * 3);
    ck_assert(bytes[0] == 0 && bytes[1] == 255 && bytes[2] == 2 && bytes[3] == 0);
    ck_assert(half[0] == 0.0999755859375f);
}
END_TEST

static struct value *reduce(struct value *x, enum opcode combine, struct ints axes, struct value *count)
{
    struct attr attrs[] = {{ATTR_COMBINE, {.opcode = combine}}, {ATTR_AXES, {.ints = axes}}};
    return build_value(&b, OP_REDUCE, count ? 2 : 1, VALUES(x, count), 2, attrs, NULL);
}

START_TEST(reduces)
{
    int32_t x[24], rows[3], all[1], first[8], none[8], last[8];
    for (int i = 0; i < 24; i++)
        x[i] = i * 7 % 11 - 5;
    struct value *px = param("x", DTYPE_I32, DIMS(2, 3, 4), x), *pr = param("rows", DTYPE_I32, DIMS(1, 3, 1), rows);
    struct value *pa = param("all", DTYPE_I32, DIMS(1, 1, 1), all);
    struct value *pf = param("first", DTYPE_I32, DIMS(2, 1, 4), first);
    struct value *pn = param("none", DTYPE_I32, DIMS(2, 1, 4), none);
    struct value *pl = param("last", DTYPE_I32, DIMS(2, 1, 4), last);
    struct value *t = load_all(px);
    store_all(reduce(t, OP_ADD, AXES(0, 2), NULL), pr);
    store_all(reduce(t, OP_MAX, AXES(2, 1, 0), NULL), pa);
    store_all(reduce(t, OP_ADD, AXES(1), idx(2)), pf);
    store_all(reduce(t, OP_MIN, AXES(1), idx(-3)), pn);
    store_all(reduce(t, OP_MIN, AXES(1), idx(300)), pl);
    run();
    int32_t want[3] = {0}, most = INT32_MIN;
    for (int i = 0; i < 24; i++) {
        want[i / 4 % 3] += x[i];
        most = x[i] > most ? x[i] : most;
    }
    expect_ints(rows, want, 3);
    ck_assert_int_eq(all[0], most);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 4; k++) {
            const int32_t *r = x + i * 12 + k;
            int32_t least = r[0] < r[4] ? r[0] : r[4];
            ck_assert_int_eq(first[i * 4 + k], r[0] + r[4]);
            ck_assert_int_eq(none[i * 4 + k], INT32_MAX);
            ck_assert_int_eq(last[i * 4 + k], least < r[8] ? least : r[8]);
        }
}
END_TEST

START_TEST(sums_floats_in_double)
{
    float x[3] = {16777216, 1, 1}, out[1]; // in f32, one by one: 16777216
    struct value *px = param("x", DTYPE_F32, DIMS(3), x), *pout = param("out", DTYPE_F32, DIMS(1), out);
    store_all(reduce(load_all(px), OP_ADD, AXES(0), NULL), pout);
    run();
    ck_assert(out[0] == 16777218);
}
END_TEST

static struct value *scan(struct value *x, int axis, bool exclusive, bool reverse, struct value *carry)
{
    struct attr attrs[4] = {{ATTR_COMBINE, {.opcode = OP_ADD}}, {ATTR_AXIS, {.i = axis}}};
    int n = 2;
    if (exclusive)
        attrs[n++].key = ATTR_EXCLUSIVE;
    if (reverse)
        attrs[n++].key = ATTR_REVERSE;
    return build_value(&b, OP_SCAN, carry ? 2 : 1, VALUES(x, carry), n, attrs, NULL);
}

START_TEST(scans)
{
    int32_t x[6] = {1, 2, 3, 4, 5, 6}, out[4][6], carry[2] = {100, 200};
    static const char *const names[] = {"a", "b", "c", "d"};
    struct value *px = param("x", DTYPE_I32, DIMS(2, 3), x), *pc = param("carry", DTYPE_I32, DIMS(2, 1), carry);
    struct value *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = param(names[i], DTYPE_I32, DIMS(2, 3), out[i]);
    struct value *t = load_all(px);
    store_all(scan(t, 1, false, false, NULL), p[0]);
    store_all(scan(t, 1, true, false, load_all(pc)), p[1]);
    store_all(scan(t, 1, false, true, load_all(pc)), p[2]);
    store_all(scan(t, 0, true, true, NULL), p[3]);
    run();
    expect_ints(out[0], (int32_t[]){1, 3, 6, 4, 9, 15}, 6);
    expect_ints(out[1], (int32_t[]){100, 101, 103, 200, 204, 209}, 6);
    expect_ints(out[2], (int32_t[]){106, 105, 103, 215, 211, 206}, 6);
    expect_ints(out[3], (int32_t[]){4, 5, 6, 0, 0, 0}, 6);
}
END_TEST

// Batched, two contracted axes, one of them transposed; unsigned by signed bytes into 32 bits.
START_TEST(dots_mixed_bytes)
{
    enum { B = 2, M = 3, N = 2, P = 4, Q = 3 };
    uint8_t x[B * M * P * Q];
    int8_t y[B * Q * N * P];
    int32_t z[B * N * M], want[B * N * M];
    for (int i = 0; i < B * M * P * Q; i++)
        x[i] = (uint8_t)(i * 91);
    for (int i = 0; i < B * Q * N * P; i++)
        y[i] = (int8_t)(i * 57);
    for (int e = 0; e < B * N * M; e++) {
        int batch = e / (N * M), n = e / M % N, i = e % M;
        want[e] = z[e] = e;
        for (int p = 0; p < P; p++)
            for (int q = 0; q < Q; q++)
                want[e] += x[((batch * M + i) * P + p) * Q + q] * y[((batch * Q + q) * N + n) * P + p];
    }
    struct value *px = param("x", DTYPE_U8, DIMS(B, M, P, Q), x), *py = param("y", DTYPE_I8, DIMS(B, Q, N, P), y);
    struct value *pz = param("z", DTYPE_I32, DIMS(B, N, M), z);
    struct attr labels = {ATTR_LABELS, {.string = "bmpq,bqnp->bnm"}};
    store_all(one(OP_DOT, COUNT(load_all(px), load_all(py), load_all(pz)), labels, NULL), pz);
    run();
    expect_ints(z, want, B * N * M);
}
END_TEST

// ---- Control flow ----------------------------------------------------------------------------------------------

// Fibonacci numbers: the loop's values change places, which a copy in the wrong order would lose.
START_TEST(for_carries_values_in_parallel)
{
    int32_t out[2];
    struct value *pout = param("out", DTYPE_I32, DIMS(2), out),
                 *n = function_add_param(b.function, "n", type_scalar(m, DTYPE_INDEX));
    args[1].scalar.i = 10;
    struct value *start[] = {build_int(&b, type_scalar(m, DTYPE_I32), 0), build_int(&b, type_scalar(m, DTYPE_I32), 1)};
    struct op *loop = build_for(&b, idx(0), n, idx(1), 2, start);
    struct value *x = loop->blocks[0]->args[1], *y = loop->blocks[0]->args[2];
    build_yield(&b, COUNT(y, build_binary(&b, OP_ADD, x, y)));
    build_end(&b, loop);
    for (int i = 0; i < 2; i++) {
        struct value *at = idx(i);
        build_store(&b, loop->results[i], pout, &at);
    }
    run();
    expect_ints(out, (int32_t[]){55, 89}, 2);
    args[1].scalar.i = -1; // not once
    run();
    expect_ints(out, (int32_t[]){0, 1}, 2);
}
END_TEST

// The greatest common divisor; `if` chooses what to subtract.
START_TEST(while_and_if)
{
    int32_t out[1];
    struct value *pout = param("out", DTYPE_I32, DIMS(1), out);
    struct type *t = type_scalar(m, DTYPE_I32);
    struct value *start[] = {build_int(&b, t, 84), build_int(&b, t, 132)};
    struct op *loop = build_op(&b, OP_WHILE, 2, start, 0, NULL, 2, (struct type *[]){t, t});
    struct value *a[2][2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            a[i][j] = block_add_arg(b.function, loop->blocks[i], NULL, t);
    build_enter(&b, loop->blocks[0]);
    build_op(&b, OP_CONDITION, COUNT(build_binary(&b, OP_NE, a[0][0], a[0][1])), 0, NULL, 0, NULL);
    build_enter(&b, loop->blocks[1]);
    struct op *branch = build_if(&b, build_binary(&b, OP_GT, a[1][0], a[1][1]), 2, (struct type *[]){t, t});
    build_yield(&b, COUNT(build_binary(&b, OP_SUB, a[1][0], a[1][1]), a[1][1]));
    build_enter(&b, branch->blocks[1]);
    build_yield(&b, COUNT(a[1][0], build_binary(&b, OP_SUB, a[1][1], a[1][0])));
    build_end(&b, branch);
    build_yield(&b, 2, branch->results);
    build_end(&b, loop);
    struct value *zero = idx(0);
    build_store(&b, loop->results[1], pout, &zero);
    run();
    ck_assert_int_eq(out[0], 12);
}
END_TEST

START_TEST(if_without_else)
{
    int32_t out[4] = {9, 9, 9, 9};
    struct value *pout = param("out", DTYPE_I32, DIMS(4), out);
    grid(1, (int64_t[]){4});
    struct value *pid = one(OP_PROGRAM_ID, 0, NULL, (struct attr){ATTR_DIM, {.i = 0}}, NULL);
    struct op *branch = build_if(&b, build_binary(&b, OP_LT, pid, idx(2)), 0, NULL);
    build_store(&b, build_cast(&b, DTYPE_I32, pid), pout, &pid);
    build_yield(&b, 0, NULL);
    build_end(&b, branch);
    run();
    expect_ints(out, (int32_t[]){0, 1, 9, 9}, 4);
}
END_TEST

// ---- Faults ----------------------------------------------------------------------------------------------------

START_TEST(reports_a_violated_assumption)
{
    struct value *x = idx(12);
    one(OP_ASSUME, 1, &x, (struct attr){ATTR_DIVISIBLE, {.i = 4}}, NULL);
    one(OP_ASSUME, 1, &x, (struct attr){ATTR_LEAST, {.i = 12}}, NULL);
    one(OP_ASSUME, 1, &x, (struct attr){ATTR_MOST, {.i = 11}}, NULL);
    fails_with("test:2: error: assume: 12 is more than 11");
}
END_TEST

START_TEST(reports_a_false_inbounds)
{
    float x[4] = {0};
    struct value *px = param("x", DTYPE_F32, DIMS(4), x), *at = idx(1);
    struct attr inbounds = {ATTR_INBOUNDS, {.ints = AXES(0)}};
    struct value *t = build_load(&b, px, &at, tile(DTYPE_F32, DIMS(3)), &inbounds);
    build_op(&b, OP_STORE, COUNT(t, px, idx(2)), 1, &inbounds, 0, NULL);
    fails_with("store: index 4 of root dimension 0 is outside of the size 4");
}
END_TEST

START_TEST(reports_a_small_buffer)
{
    float x[4] = {0};
    struct value *px = param("x", DTYPE_F32, DIMS(8), x);
    args[0].view.bytes = sizeof x;
    load_all(px);
    fails_with("load: element 4 of %x is not in its buffer of 16 bytes");
}
END_TEST

START_TEST(reports_sizes_that_belie_the_type)
{
    param("x", DTYPE_F32, DIMS(8), NULL);
    args[0].view.sizes[0] = 9;
    fails_with("parameter %x has size 9");
}
END_TEST

START_TEST(reports_steps_that_are_not_positive)
{
    struct op *loop = build_for(&b, idx(0), idx(4), idx(0), 0, NULL);
    build_yield(&b, 0, NULL);
    build_end(&b, loop);
    fails_with("for: the step is 0");
}
END_TEST

START_TEST(reports_loops_without_end)
{
    struct op *loop = build_op(&b, OP_WHILE, 0, NULL, 0, NULL, 0, NULL);
    build_enter(&b, loop->blocks[0]);
    build_op(&b, OP_CONDITION, COUNT(build_int(&b, type_scalar(m, DTYPE_I1), 1)), 0, NULL, 0, NULL);
    build_enter(&b, loop->blocks[1]);
    build_yield(&b, 0, NULL);
    build_end(&b, loop);
    fails_with("too long");
}
END_TEST

START_TEST(reports_a_grid_too_large)
{
    grid(3, (int64_t[]){INT64_MAX, INT64_MAX, INT64_MAX});
    fails_with("too long");
}
END_TEST

START_TEST(reports_huge_tiles)
{
    build_int(&b, tile(DTYPE_I32, DIMS(1 << 15, 1 << 15)), 0);
    fails_with("more memory");
}
END_TEST

START_TEST(reports_huge_scratch)
{
    struct type *type = type_view(m, DTYPE_F32, DIMS(DIM_UNKNOWN, DIM_UNKNOWN), NULL);
    build_value(&b, OP_SCRATCH, COUNT(idx(INT64_MAX), idx(3)), 0, NULL, type);
    fails_with("too large");
}
END_TEST

START_TEST(reports_an_extract_outside)
{
    struct value *t = build_int(&b, tile(DTYPE_I32, DIMS(4)), 0);
    build_value(&b, OP_EXTRACT, COUNT(t, idx(4)), 0, NULL, NULL);
    fails_with("extract: index 0 is 4");
}
END_TEST

START_TEST(empty_sizes_are_fine)
{
    int n = module_symbol(m, "N", 1);
    dim dims[] = {dim_symbol(n), 1 << 30};
    float out[4] = {1, 1, 1, 1};
    struct value *px = param("x", DTYPE_F32, 2, dims, NULL), *pout = param("out", DTYPE_F32, DIMS(4), out);
    struct value *t = build_load(&b, px, VALUES(idx(0), idx(0)), tile(DTYPE_F32, DIMS(1, 4)), NULL);
    store_all(build_value(&b, OP_RESHAPE, 1, &t, 0, NULL, tile(DTYPE_F32, DIMS(4))), pout);
    run();
    expect(out, (float[]){0, 0, 0, 0}, 4);
}
END_TEST

START_TEST(nothing_runs_in_a_negative_grid)
{
    float out[4] = {1, 1, 1, 1};
    struct value *pout = param("out", DTYPE_F32, DIMS(4), out);
    grid(2, (int64_t[]){1, -1});
    store_all(build_float(&b, tile(DTYPE_F32, DIMS(4)), 2), pout);
    run();
    expect(out, (float[]){1, 1, 1, 1}, 4);
}
END_TEST

int main(void)
{
    // clang-format off
    const TTest *const tests[] = {
        adds_vectors, layouts_do_not_change_the_meaning, multiplies_matrices, convolves_through_a_window,
        runs_the_grid_in_order, pads_loads_and_drops_stores, reads_strided_views, gathers_scatters_and_adds,
        scratch_is_fresh_and_poisoned, dim_of_views, rearranges, transposes_three_axes, converts, reduces,
        sums_floats_in_double, scans, dots_mixed_bytes, for_carries_values_in_parallel, while_and_if, if_without_else,
        reports_a_violated_assumption, reports_a_false_inbounds, reports_a_small_buffer,
        reports_sizes_that_belie_the_type, reports_steps_that_are_not_positive, reports_loops_without_end,
        reports_a_grid_too_large, reports_huge_tiles, reports_huge_scratch,
        reports_an_extract_outside, empty_sizes_are_fine, nothing_runs_in_a_negative_grid
    };
    // clang-format on
    Suite *s = suite_create("interp");
    TCase *c = tcase_create("interp");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
