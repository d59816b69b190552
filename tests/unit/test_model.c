// Host functions as machine code: what a model computes for any sizes, what it says to inputs that it cannot take, and
// whose memory is whose.
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/runtime.h>

#include "codegen/model.h"
#include "codegen/units.h"
#include "tests/unit/suite.h"

#define F32 {TG_CODE_FLOAT, 32, 1}

static const char kernels[] = "kernel @add(%a: view<Nxf32>, %b: view<Nxf32>, %c: view<Nxf32>) grid [ceildiv(N, 64)] {\n"
                              "  %i = program_id 0\n"
                              "  %n = mul %i, 64\n"
                              "  %x = load %a[%n] : tile<64xf32>\n"
                              "  %y = load %b[%n] : tile<64xf32>\n"
                              "  store add(%x, %y), %c[%n]\n"
                              "}\n"
                              // scratch of 4 * N bytes and more
                              "kernel @twice(%a: view<Nxf32>, %c: view<Nxf32>) grid [ceildiv(N, 512)] {\n"
                              "  %s = scratch N : view<?xf32>\n"
                              "  %i = program_id 0\n"
                              "  %n = mul %i, 512\n"
                              "  %x = load %a[%n] : tile<512xf32>\n"
                              "  store %x, %s[%n]\n"
                              "  %y = load %s[%n] : tile<512xf32>\n"
                              "  store add(%x, %y), %c[%n]\n"
                              "}\n"
                              "kernel @scale(%a: view<Nxf32>, %f: f32, %c: view<Nxf32>) grid [ceildiv(N, 64)] {\n"
                              "  %i = program_id 0\n"
                              "  %n = mul %i, 64\n"
                              "  %x = load %a[%n] : tile<64xf32>\n"
                              "  store mul(%x, %f), %c[%n]\n"
                              "}\n";

// ---- An environment that watches -------------------------------------------------------------------------------

struct watch {
    tg_env env;
    const tg_env *pool;             // NULL: loops run here
    int live, allocations, fail_at; // fail_at: which allocation fails, from 1; 0: none
    int loops, messages;
    char message[600];
};

static void *watch_alloc(const tg_env *env, size_t bytes)
{
    struct watch *w = env->user;
    if (++w->allocations == w->fail_at)
        return NULL;
    w->live++;
    size_t rounded = (bytes + 63) / 64 * 64;
    return aligned_alloc(64, rounded ? rounded : 64);
}

static void watch_free(const tg_env *env, void *memory)
{
    struct watch *w = env->user;
    w->live -= memory != NULL;
    free(memory);
}

static void watch_error(const tg_env *env, const char *message)
{
    struct watch *w = env->user;
    w->messages++;
    snprintf(w->message, sizeof w->message, "%s", message);
}

static int32_t watch_loop(const tg_env *env, int64_t n, tg_range *range, const tg_arg *args, int64_t bytes)
{
    struct watch *w = env->user;
    w->loops++;
    if (w->pool)
        return w->pool->parallel_for(w->pool, n, range, args, bytes);
    void *scratch = watch_alloc(env, (size_t)bytes);
    if (!scratch)
        return 1;
    int32_t status = range(args, 0, n, scratch);
    watch_free(env, scratch);
    return status;
}

static void watch_init(struct watch *w, const tg_env *pool)
{
    *w = (struct watch){.pool = pool};
    w->env = (tg_env){TG_ENV_VERSION, w, watch_loop, watch_alloc, watch_free, watch_error, NULL};
}

// ---- A model under test ----------------------------------------------------------------------------------------

struct fixture {
    struct loaded_model *loaded;
    const tg_model *code;
    struct watch w;
};

static int try_load(const char *host, struct loaded_model **out, struct diags *diags)
{
    char text[8192];
    snprintf(text, sizeof text, "%s%s", kernels, host);
    struct compile_options options = {.opt_level = 1};
    ck_assert(!compile_target("native", &options.target, diags));
    struct module *m = compile_read(text, strlen(text), "test.tg", 0, NULL, diags);
    int status = !m || graph_compile(m, &options, diags) || model_load(m, &options, out, diags);
    module_destroy(m);
    return status;
}

static void load(struct fixture *f, const char *host)
{
    struct diags diags;
    diag_init(&diags);
    if (try_load(host, &f->loaded, &diags)) {
        diag_print(&diags, stderr, false);
        ck_abort();
    }
    diag_finish(&diags);
    f->code = model_code(f->loaded);
    watch_init(&f->w, NULL);
}

static void unload(struct fixture *f)
{
    ck_assert_int_eq(f->w.live, 0);
    model_unload(f->loaded);
}

static float *ramp(int64_t n, float step)
{
    float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 127) / 64 * 64);
    for (int64_t i = 0; i < n; i++)
        x[i] = step * (float)(i % 1000);
    return x;
}

static tg_tensor vector(float *data, int64_t *shape)
{
    return (tg_tensor){data, {TG_DEVICE_CPU, 0}, 1, F32, shape, NULL, 0};
}

// o = 2 * (x + y) + 2 * x, by way of buffers that share memory.
static const char sums[] = "host @sums(%x \"in x\": view<Nxf32>, %y \"in y\": view<Nxf32>, %o \"out\": view<Nxf32>)\n"
                           "    outputs 1 {\n"
                           "  arena { yield 0 }\n"
                           "  %a = buffer : view<Nxf32>\n"
                           "  %b = buffer : view<Nxf32>\n"
                           "  %c = buffer : view<Nxf32>\n"
                           "  launch @add(%x, %y, %a, N = N)\n"
                           "  launch @twice(%a, %b, N = N)\n"
                           "  launch @twice(%x, %c, N = N)\n"
                           "  launch @add(%b, %c, %o, N = N)\n"
                           "}\n";

static void check_sums(const float *o, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_float_eq(o[i], 2 * (1.0f + 0.5f) * (float)(i % 1000) + 2 * (float)(i % 1000));
}

static const int64_t lengths[] = {0, 1, 63, 64, 65, 1000, 100000};
#define N_LENGTHS ((int)(sizeof lengths / sizeof *lengths))

START_TEST(any_size)
{
    struct fixture f;
    load(&f, sums);
    ck_assert_str_eq(f.code->name, "sums");
    ck_assert_int_eq(f.code->n_inputs, 2);
    ck_assert_int_eq(f.code->n_outputs, 1);
    ck_assert_int_eq(f.code->n_symbols, 1);
    ck_assert_str_eq(f.code->symbols[0], "N");
    ck_assert_str_eq(f.code->inputs[1].name, "in y");
    ck_assert_str_eq(f.code->outputs[0].name, "out");
    ck_assert_int_eq(f.code->inputs[0].dims[0], -1);
    tg_pool *pool;
    ck_assert(!tg_pool_create(2, &pool));
    // 0: no environment; 1: one that calls back here; 2: two threads; 3: one without services
    for (int i = 0; i < 4 * N_LENGTHS; i++) {
        int64_t n = lengths[i / 4], shape[1] = {n}, bytes = -1, known[1] = {-1}, *shapes[1] = {known};
        watch_init(&f.w, i % 4 == 2 ? tg_pool_env(pool) : NULL);
        tg_env bare = {.version = TG_ENV_VERSION};
        const tg_env *env = i % 4 == 0 ? NULL : i % 4 == 3 ? &bare : &f.w.env;
        float *x = ramp(n, 1), *y = ramp(n, 0.5f), *o = ramp(n, 7);
        tg_tensor in[2] = {vector(x, shape), vector(y, shape)}, out = vector(o, shape);
        ck_assert(!f.code->shapes(env, in, shapes, &bytes));
        ck_assert_int_eq(known[0], n);
        ck_assert_int_eq(bytes, 128 * ((4 * n + 63) / 64)); // a and c share
        ck_assert(!f.code->shapes(env, in, NULL, NULL));
        void *arena = aligned_alloc(64, (size_t)bytes + 64);
        memset(arena, 0xff, (size_t)bytes + 64);
        ck_assert(!f.code->run(env, in, &out, arena));
        check_sums(o, n);
        for (int k = 0; k < 64; k++) // nothing behind the arena is touched
            ck_assert_uint_eq(((unsigned char *)arena)[bytes + k], 0xff);
        // With an arena and an output of the run's own.
        int64_t given[1] = {-1};
        tg_tensor made = {.shape = given};
        ck_assert(!f.code->run(env, in, &made, NULL));
        ck_assert_int_eq(given[0], n);
        ck_assert_int_eq(made.ndim, 1);
        ck_assert_int_eq(made.dtype.code, TG_CODE_FLOAT);
        ck_assert_int_eq(made.dtype.bits, 32);
        ck_assert_int_eq(made.device.device_type, TG_DEVICE_CPU);
        check_sums(made.data, n);
        if (env == &f.w.env) {
            ck_assert_int_eq(f.w.live, 1);
            watch_free(env, made.data);
            ck_assert_int_eq(f.w.loops, n > 512 ? 8 : n > 64 ? 4 : 0); // one instance is no work to share
        } else {
            free(made.data);
        }
        free(x), free(y), free(o), free(arena);
    }
    tg_pool_destroy(pool);
    unload(&f);
}
END_TEST

// ---- Faults ----------------------------------------------------------------------------------------------------

static void refuse(struct fixture *f, const tg_tensor *in, tg_tensor *out, const char *want)
{
    int before = f->w.messages;
    ck_assert(f->code->run(&f->w.env, in, out, NULL));
    ck_assert_int_eq(f->w.messages, before + 1);
    ck_assert_str_eq(f->w.message, want);
    ck_assert_int_eq(f->w.live, 0);
    ck_assert(f->code->run(NULL, in, out, NULL)); // the same without anybody to tell
}

START_TEST(wrong_tensors)
{
    struct fixture f;
    load(&f, sums);
    float *x = ramp(200, 1), *y = ramp(200, 1), *o = ramp(200, 1);
    int64_t n[1] = {100}, m[1] = {99}, negative[1] = {-1}, huge[1] = {INT64_MAX / 2}, two[1] = {2};
    tg_tensor good[2] = {vector(x, n), vector(y, n)}, in[2], out = vector(o, n);
#define REFUSE(change, want)                                                                                           \
    do {                                                                                                               \
        memcpy(in, good, sizeof in);                                                                                   \
        out = vector(o, n);                                                                                            \
        change;                                                                                                        \
        refuse(&f, in, &out, want);                                                                                    \
    } while (0)
    REFUSE(in[1].shape = m, "input 'in y': size 0 is 99 where input 'in x' makes N 100");
    REFUSE(in[0].ndim = 2, "input 'in x' has 2 dimensions and must have 1");
    REFUSE(in[0].ndim = 0, "input 'in x' has 0 dimensions and must have 1");
    REFUSE(in[0].dtype.bits = 64,
           "input 'in x' has elements of code 2, 64 bits and 1 lanes and must have f32 (code 2, 32 bits, 1 lane)");
    REFUSE(in[0].device.device_type = TG_DEVICE_CUDA,
           "input 'in x' is on a device of type 2 and must be in the CPU's memory (type 1)");
    REFUSE(in[0].shape = NULL, "input 'in x' has no sizes");
    REFUSE(in[0].shape = negative, "input 'in x': size 0 is -1");
    REFUSE(in[0].shape = huge, "input 'in x' is too large to be addressed");
    REFUSE(in[0].data = NULL, "input 'in x' has no memory");
    REFUSE(in[0].byte_offset = 2, "input 'in x' is not aligned to its elements of 4 bytes");
    REFUSE(in[1].strides = two, "input 'in y': stride 0 is 2 and must be 1; tensors are taken in row-major order "
                                "without gaps");
    REFUSE(out.shape = m, "output 'out': size 0 is 99 and must be 100");
    REFUSE(out.ndim = 3, "output 'out' has 3 dimensions and must have 1");
    REFUSE(out.strides = two, "output 'out': stride 0 is 2 and must be 1; tensors are taken in row-major order without "
                              "gaps");
    REFUSE(out.data = x + 99, "output 'out' shares memory with 'in x'");
    REFUSE((out.data = NULL, out.shape = NULL), "output 'out' has no sizes");
    // What only looks wrong.
    int64_t one[1] = {1};
    memcpy(in, good, sizeof in);
    in[0].strides = one;
    out = vector(x + 100, n);
    ck_assert(!f.code->run(&f.w.env, in, &out, NULL));
    // An arena that is not aligned.
    ck_assert(f.code->run(&f.w.env, good, &out, (char *)y + 4));
    ck_assert_str_eq(f.w.message, "the arena is not aligned to 64 bytes");
    ck_assert(f.code->shapes(&f.w.env, (tg_tensor[2]){good[0], vector(NULL, m)}, NULL, NULL));
    ck_assert_str_eq(f.w.message, "input 'in y': size 0 is 99 where input 'in x' makes N 100");
    ck_assert(!f.code->shapes(&f.w.env, (tg_tensor[2]){vector(NULL, n), vector(NULL, n)}, NULL, NULL));
    free(x), free(y), free(o);
    unload(&f);
}
END_TEST

START_TEST(no_memory)
{
    struct fixture f;
    load(&f, sums);
    int64_t n[1] = {10000}, shape[1];
    float *x = ramp(n[0], 1), *y = ramp(n[0], 0.5f);
    tg_tensor in[2] = {vector(x, n), vector(y, n)};
    bool done = false;
    int failed = 0;
    for (int parallel = 0; parallel < 2; parallel++, done = false)
        for (int at = 1; !done; at++) {
            watch_init(&f.w, NULL);
            if (!parallel)
                f.w.env.parallel_for = NULL;
            f.w.fail_at = at;
            tg_tensor out = {.shape = shape};
            done = !f.code->run(&f.w.env, in, &out, NULL);
            ck_assert_int_eq(f.w.messages, !done);
            failed += !done;
            if (done) {
                check_sums(out.data, n[0]);
                watch_free(&f.w.env, out.data);
            } else {
                ck_assert_ptr_null(out.data);
                ck_assert_ptr_nonnull(strstr(f.w.message, "memory"));
            }
            ck_assert_int_eq(f.w.live, 0);
        }
    ck_assert_int_ge(failed, 6); // the output, the arena and scratch, twice
    free(x), free(y);
    unload(&f);
}
END_TEST

// ---- The other operations --------------------------------------------------------------------------------------

START_TEST(control_and_constants)
{
    // o = flag > 2 ? x + w : 3 * x, p = the last half of x + w, where w is constant.
    static const char text[] = "host @f(%x \"x\": view<(2*N)xf32>, %h \"h\": view<Nxf32>, %k \"k\": view<i32>,\n"
                               "        %o \"o\": view<(2*N)xf32>, %p \"p\": view<Nxf32>) outputs 2 {\n"
                               "  arena { yield 0 }\n"
                               "  %w = data [1.0, 2.0, 3.0, 4.0] : view<4xf32>\n"
                               "  %v = data [8.0, 16.0] : view<2xf32>\n"
                               "  %t = buffer : view<(2*N)xf32>\n"
                               "  %s = subview %t[N] : view<Nxf32>\n"
                               "  %flag = load %k[] : i32\n"
                               "  assert lt(%flag, 100), \"the flag is too \\\"high\\\": 100%\"\n"
                               "  %two = mul N, 2\n"
                               "  if gt(%flag, 2) {\n"
                               "    launch @add(%x, %w, %o, N = %two)\n"
                               "  } else {\n"
                               "    launch @scale(%x, 3.0, %o, N = %two)\n"
                               "  }\n"
                               "  launch @add(%x, %w, %t, N = %two)\n"
                               "  launch @add(%s, %v, %p, N = N) least 1\n"
                               "}\n";
    struct fixture f;
    load(&f, text);
    ck_assert(f.code->inputs[0].dims[0] == INT64_MIN && f.code->inputs[1].dims[0] == -1);
    float x[4] = {10, 20, 30, 40}, h[2] = {0}, o[4], p[2];
    int32_t k[1] = {3};
    int64_t four[1] = {4}, two[1] = {2};
    tg_tensor in[3] = {
        vector(x, four), vector(h, two), {k, {TG_DEVICE_CPU, 0}, 0, {TG_CODE_INT, 32, 1}, NULL, NULL, 0}};
    tg_tensor out[2] = {vector(o, four), vector(p, two)};
    for (k[0] = 1; k[0] < 5; k[0]++) {
        ck_assert(!f.code->run(&f.w.env, in, out, NULL));
        for (int i = 0; i < 4; i++)
            ck_assert_float_eq(o[i], k[0] > 2 ? x[i] + (float)(i + 1) : 3 * x[i]);
        ck_assert_float_eq(p[0], 30 + 3 + 8);
        ck_assert_float_eq(p[1], 40 + 4 + 16);
        ck_assert_int_eq(f.w.loops, k[0]); // of the launch that asks for it
    }
    k[0] = 100;
    refuse(&f, in, out, "the flag is too \"high\": 100%");
    k[0] = 1;
    in[0].shape = (int64_t[]){3};
    refuse(&f, in, out, "input 'x': size 0 is 3 and must be (2 * N), which is 4");
    unload(&f);
}
END_TEST

START_TEST(computed_sizes)
{
    // The output has 3 * N * M - 5 elements.
    static const char text[] = "host @f(%x \"x\": view<Nxf32>, %y \"y\": view<Mx0xf32>,\n"
                               "        %o \"o\": view<(3*N*M-5)xf32>) outputs 1 {\n"
                               "  arena { yield 0 }\n"
                               "  %b = buffer : view<(3*N*M-5)xf32>\n"
                               "  %n = sub mul(mul(N, M), 3), 5\n"
                               "  launch @scale(%b, 0.0, %b, N = 0)\n"
                               "  launch @scale(%o, 0.0, %o, N = %n)\n"
                               "}\n";
    struct fixture f;
    load(&f, text);
    float x[4] = {1, 2, 3, 4};
    int64_t n[1] = {2}, m[2] = {3, 0}, size, *shapes[1] = {&size}, bytes;
    tg_tensor in[2] = {vector(x, n), vector(NULL, m)};
    in[1].ndim = 2;
    ck_assert(!f.code->shapes(&f.w.env, in, shapes, &bytes));
    ck_assert_int_eq(size, 13);
    tg_tensor out = {.shape = &size};
    ck_assert(!f.code->run(&f.w.env, in, &out, NULL));
    watch_free(&f.w.env, out.data);
    out.data = NULL;
    m[0] = 0;
    refuse(&f, in, &out, "output 'o': size 0 is -5");
    // Sizes that no memory backs: the second input is empty.
    m[0] = INT64_MAX / 4;
    refuse(&f, in, &out, "the inputs' sizes are too large");
    m[0] = INT64_MAX / 16;
    refuse(&f, in, &out, "output 'o' is too large to be addressed");
    m[0] = INT64_MAX;
    refuse(&f, in, &out, "input 'y' is too large to be addressed");
    unload(&f);
}
END_TEST

static void *run_often(void *fixture)
{
    struct fixture *f = fixture;
    int64_t n[1] = {5000}, shape[1];
    float *x = ramp(n[0], 1), *y = ramp(n[0], 0.5f);
    tg_tensor in[2] = {vector(x, n), vector(y, n)};
    struct watch w;
    for (int i = 0; i < 50; i++) {
        watch_init(&w, f->w.pool);
        tg_tensor out = {.shape = shape};
        ck_assert(!f->code->run(&w.env, in, &out, NULL));
        check_sums(out.data, n[0]);
        watch_free(&w.env, out.data);
        ck_assert_int_eq(w.live, 0);
    }
    free(x), free(y);
    return NULL;
}

START_TEST(two_callers)
{
    struct fixture f;
    load(&f, sums);
    tg_pool *pool;
    ck_assert(!tg_pool_create(2, &pool));
    f.w.pool = tg_pool_env(pool);
    pthread_t other;
    ck_assert(!pthread_create(&other, NULL, run_often, &f));
    run_often(&f);
    pthread_join(other, NULL);
    tg_pool_destroy(pool);
    unload(&f);
}
END_TEST

START_TEST(no_outputs)
{
    struct fixture f;
    load(&f, "host @f(%x: view<Nxf32>) outputs 0 {\n  arena { yield 0 }\n}\n");
    float x[3] = {0};
    int64_t n[1] = {3};
    tg_tensor in = vector(x, n);
    ck_assert(!f.code->run(&f.w.env, &in, NULL, NULL));
    unload(&f);
}
END_TEST

// ---- The same code every time ----------------------------------------------------------------------------------

#define MOST_OBJECTS 64

struct objects {
    int n;
    struct driver_buffer of[MOST_OBJECTS];
};

// A chain of products, each of a size of its own: some make a unit alone, the sums share one.
static struct module *chain(struct diags *diags)
{
    char text[4096];
    int at = snprintf(text, sizeof text, "graph @f(%%x0: tensor<Nx32xf32>) {\n");
    for (int i = 0; i < 6; i++)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "  %%w%d = data [%d.5] : tensor<1xf32>\n  %%b%d = broadcast %%w%d : tensor<%dx%dxf32>\n"
                       "  %%y%d = einsum \"mk,kn->mn\" %%x%d, %%b%d\n  %%s%d = reduce add %%y%d, 1\n"
                       "  %%x%d = sub %%y%d, %%s%d\n",
                       i, i, i, i, 32 + 16 * i, 48 + 16 * i, i, i, i, i, i, i + 1, i, i);
    snprintf(text + at, sizeof text - (size_t)at, "  yield %%x6\n}\n");
    return compile_read(text, strlen(text), "test.tg", 0, NULL, diags);
}

static void make_objects(int n_threads, struct objects *out)
{
    struct diags diags;
    diag_init(&diags);
    struct compile_options options = {.opt_level = 2, .n_threads = n_threads};
    ck_assert(!compile_target("v3", &options.target, &diags));
    struct module *m = chain(&diags);
    ck_assert_msg(m && !graph_compile(m, &options, &diags), "%s", diag_string(&diags));
    struct weights weights = {.placed = {.arena = &m->arena}};
    struct units *u = units_create(m, &options);
    ck_assert_msg(u && !units_lower(u, &weights, &diags) && !units_wait(u, &diags), "%s", diag_string(&diags));
    out->n = units_count(u);
    ck_assert_int_le(out->n, MOST_OBJECTS);
    for (int i = 0; i < out->n; i++) {
        const struct driver_buffer *object = units_object(u, i);
        out->of[i] = (struct driver_buffer){malloc(object->size), object->size};
        memcpy(out->of[i].data, object->data, object->size);
    }
    units_destroy(u);
    module_destroy(m);
    diag_finish(&diags);
}

START_TEST(same_code)
{
    static const int threads[] = {1, 1, 2, 7, 0};
    struct objects first, other;
    make_objects(threads[0], &first);
    ck_assert_int_ge(first.n, 3); // or threads would have nothing to share
    for (size_t i = 1; i < sizeof threads / sizeof *threads; i++) {
        make_objects(threads[i], &other);
        ck_assert_int_eq(first.n, other.n);
        for (int o = 0; o < first.n; o++) {
            ck_assert_uint_eq(first.of[o].size, other.of[o].size);
            ck_assert_msg(!memcmp(first.of[o].data, other.of[o].data, other.of[o].size),
                          "object %d differs with %d threads", o, threads[i]);
            free(other.of[o].data);
        }
    }
    for (int o = 0; o < first.n; o++)
        free(first.of[o].data);
}
END_TEST

START_TEST(units_given_up)
{
    struct diags diags;
    diag_init(&diags);
    struct compile_options options = {.opt_level = 2, .n_threads = 3};
    ck_assert(!compile_target("v3", &options.target, &diags));
    struct module *m = chain(&diags);
    ck_assert(m && !graph_compile(m, &options, &diags));
    units_destroy(units_create(m, &options)); // before and
    struct units *u = units_create(m, &options);
    struct weights weights = {.placed = {.arena = &m->arena}};
    ck_assert(u && !units_lower(u, &weights, &diags));
    units_destroy(u); // in the middle of the work
    units_destroy(NULL);
    module_destroy(m);
    diag_finish(&diags);
}
END_TEST

START_TEST(cannot_be_loaded)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "there is no host function to run"},
        {"host @f(%x: view<Nxf32>, %o: view<Mxf32>) outputs 1 {\n  arena { yield 0 }\n}\n",
         "the size M is not a size of an input"},
        {"host @f(%x: view<N*Mxf32>) outputs 1 {\n  arena { yield 0 }\n}\n", ""},
        {"host @add__grid(%x: view<Nxf32>) outputs 0 {\n  arena { yield 0 }\n}\n"
         "host @g(%x: view<Nxf32>) outputs 0 {\n  arena { yield 0 }\n}\n",
         "both host functions"},
        {"kernel @run(%c: view<4xf32>) grid [1] {\n  store 1.0, %c[0]\n}\n"
         "host @f(%x: view<Nxf32>) outputs 0 {\n  arena { yield 0 }\n}\n",
         "name is taken"},
        {"host @f(%x: view<Nxf32>) outputs 0 {\n  arena { yield 0 }\n  %b = buffer : view<?xf32>\n"
         "  store 1.0, %b[0]\n}\n",
         "the size of view<?xf32> is not known"},
        {"host @f(%x: view<4xf32>) outputs 0 {\n  arena { yield 0 }\n"
         "  %b = buffer : view<4611686018427387904xf64>\n"
         "  store 1.0, %b[0]\n}\n",
         "too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct diags diags;
        diag_init(&diags);
        struct loaded_model *loaded = NULL;
        ck_assert(try_load(cases[i].text, &loaded, &diags));
        ck_assert_ptr_null(loaded);
        ck_assert_msg(diags.n_errors && strstr(diag_string(&diags), cases[i].want), "case %d: %s", (int)i,
                      diag_string(&diags));
        diag_finish(&diags);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("model");
    TCase *t = tcase_create("model");
    tcase_set_timeout(t, 240);
    tcase_add_test(t, any_size);
    tcase_add_test(t, wrong_tensors);
    tcase_add_test(t, no_memory);
    tcase_add_test(t, control_and_constants);
    tcase_add_test(t, computed_sizes);
    tcase_add_test(t, two_callers);
    tcase_add_test(t, no_outputs);
    tcase_add_test(t, same_code);
    tcase_add_test(t, units_given_up);
    tcase_add_test(t, cannot_be_loaded);
    suite_add_tcase(s, t);
    return suite_run(s, CK_FORK_GETENV);
}
