// What is told of launches: calls around them, in order and with the memory that they have, and where they come from.
#include <pthread.h>
#include <string.h>

#include "codegen/launches.h"
#include "codegen/model.h"
#include "ir/dims.h"
#include "passes/origin.h"
#include "tests/unit/suite.h"

// A product with its epilogue in one launch, a reduction in another, in a loop; the line of each operation is known.
static const char text[] = "graph @g(%x \"x\": tensor<Nx64xf32>, %w \"w\": tensor<64x32xf32>) -> (\"z\", \"s\") {\n"
                           "  %y = einsum \"nk,kc->nc\" %x, %w\n"
                           "  %z = mul %y, 2.0\n"
                           "  %zero = constant 0.0 : tensor<1x32xf32>\n"
                           "  %s = for %i = 0 to 3 step 1 with (%a = %zero) {\n"
                           "    %r = reduce add %z, 0\n"
                           "    %n = add %a, %r\n"
                           "    yield %n\n"
                           "  }\n"
                           "  yield %z, %s\n"
                           "}\n";

#define N 5
#define MOST 64

struct told {
    tg_env env; // first
    int n, launch[MOST], ended[MOST];
    int n_launches;
    const struct op *const *launches;
    float first; // of what the first launch has written
};

static void note(const tg_env *env, int32_t launch, int32_t ended, const tg_arg *args)
{
    struct told *t = (struct told *)(void *)env;
    if (t->n == MOST)
        return;
    t->launch[t->n] = launch;
    t->ended[t->n++] = ended;
    const struct origin *o = t->launches[launch]->loc.origin;
    if (ended && launch == 0)
        t->first = *(const float *)args[o->results[0].param].pointer;
}

struct fixture {
    struct diags diags;
    struct module *m;
    struct loaded_model *loaded;
    struct told told;
};

static void load(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    diag_init(&f->diags);
    struct compile_options options = {.opt_level = 1};
    ck_assert(!compile_target("native", &options.target, &f->diags));
    f->m = compile_read(text, strlen(text), "g.graph", 0, NULL, &f->diags);
    if (!f->m || graph_compile(f->m, &options, &f->diags) || model_load(f->m, &options, &f->loaded, &f->diags)) {
        diag_print(&f->diags, stderr, false);
        ck_abort();
    }
    const struct function *host = f->m->first_function;
    while (host->kind != FUNCTION_HOST)
        host = host->next;
    f->told.env = (tg_env){.version = TG_ENV_VERSION, .on_launch = note};
    f->told.n_launches = launches_of(host, &f->m->arena, &f->told.launches);
}

static void unload(struct fixture *f)
{
    model_unload(f->loaded);
    module_destroy(f->m);
    diag_finish(&f->diags);
}

static void run(struct fixture *f, const tg_env *env)
{
    float x[N * 64], w[64 * 32], z[N * 32], s[32];
    for (int i = 0; i < N * 64; i++)
        x[i] = 1;
    for (int i = 0; i < 64 * 32; i++)
        w[i] = 0.5f;
    int64_t xs[] = {N, 64}, ws[] = {64, 32}, zs[] = {N, 32}, ss[] = {1, 32};
    tg_data_type f32 = {TG_CODE_FLOAT, 32, 1};
    tg_tensor in[] = {{x, {TG_DEVICE_CPU, 0}, 2, f32, xs, NULL, 0}, {w, {TG_DEVICE_CPU, 0}, 2, f32, ws, NULL, 0}};
    tg_tensor out[] = {{z, {TG_DEVICE_CPU, 0}, 2, f32, zs, NULL, 0}, {s, {TG_DEVICE_CPU, 0}, 2, f32, ss, NULL, 0}};
    ck_assert_int_eq(model_code(f->loaded)->run(env, in, out, NULL), 0);
    ck_assert_float_eq(z[N * 32 - 1], 64);
    ck_assert_float_eq(s[31], 3 * N * 64);
}

START_TEST(told)
{
    struct fixture f;
    load(&f);
    run(&f, &f.told.env);
    const struct told *t = &f.told;
    ck_assert_int_eq(t->launch[0], 0);
    ck_assert_float_eq(t->first, 64);
    int times[MOST] = {0};
    for (int i = 0; i < t->n; i += 2) { // each ends before the next begins
        ck_assert_int_eq(t->launch[i], t->launch[i + 1]);
        ck_assert(!t->ended[i] && t->ended[i + 1]);
        times[t->launch[i]]++;
    }
    int in_loop = 0;
    for (int i = 0; i < t->n_launches; i++) {
        const struct op *const op = t->launches[i];
        in_loop += op->block->parent && times[i] == 3;
        ck_assert(op->block->parent || times[i] == 1);
    }
    ck_assert_int_ge(in_loop, 1);
    run(&f, &f.told.env); // the same again
    ck_assert_int_eq(t->launch[t->n / 2], 0);
    unload(&f);
}
END_TEST

START_TEST(not_told)
{
    struct fixture f;
    load(&f);
    run(&f, NULL);
    f.told.env.on_launch = NULL;
    run(&f, &f.told.env);
    ck_assert_int_eq(f.told.n, 0);
    unload(&f);
}
END_TEST

// Threads that run the same code are told of their own launches.
#define THREADS 3

struct runner {
    struct fixture *f;
    struct told told;
};

static void *run_alone(void *runner)
{
    struct runner *r = runner;
    run(r->f, &r->told.env);
    return NULL;
}

START_TEST(told_on_threads)
{
    struct fixture f;
    load(&f);
    struct runner runners[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        runners[i] = (struct runner){&f, f.told};
        if (i == 0)
            runners[i].told.env.on_launch = NULL;
        ck_assert(!pthread_create(&threads[i], NULL, run_alone, &runners[i]));
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    run(&f, &f.told.env);
    ck_assert_int_gt(f.told.n, 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(runners[i].told.n, i ? f.told.n : 0);
    unload(&f);
}
END_TEST

START_TEST(origins)
{
    struct fixture f;
    load(&f);
    const struct op *first = f.told.launches[0];
    struct loc *nodes;
    ck_assert_int_eq(origin_nodes(first, &f.m->arena, &nodes), 2);
    ck_assert_int_eq(nodes[0].line, 2);
    ck_assert_int_eq(nodes[1].line, 3);
    const struct origin *o = first->loc.origin;
    ck_assert_int_eq(o->n_results, 1);
    ck_assert_ptr_eq(o->results[0].value, o->ops[1]->results[0]);

    int64_t *symbols = ARENA_ARRAY(&f.m->arena, int64_t, f.m->n_symbols);
    symbols[module_symbol(f.m, "N", 1)] = N;
    struct origin_work work = origin_work(first, f.m);
    int64_t flops, bytes;
    ck_assert(dims_eval(f.m, work.flops, symbols, &flops));
    ck_assert_int_eq(flops, 2 * N * 64 * 32 + N * 32);
    ck_assert(dims_eval(f.m, work.bytes, symbols, &bytes));
    ck_assert_int_eq(bytes, 4 * (N * 64 + 64 * 32) + 4 * N * 32);
    struct op unknown = *first;
    unknown.loc.origin = NULL;
    work = origin_work(&unknown, f.m);
    ck_assert(work.flops == DIM_UNKNOWN && work.bytes == DIM_UNKNOWN);
    ck_assert_int_eq(origin_nodes(&unknown, &f.m->arena, &nodes), 1);
    unload(&f);
}
END_TEST

// What the code tells of its launches is what the module has.
START_TEST(told_by_code)
{
    struct fixture f;
    load(&f);
    const struct launch *list;
    int n = launches_read(model_code(f.loaded)->launches[0], &f.m->arena, &list);
    ck_assert_int_eq(n, f.told.n_launches);
    ck_assert_str_eq(list[0].kernel, "k0_einsum_mul");
    ck_assert_str_eq(list[0].flops, "(4128 * N)");
    ck_assert_str_eq(list[0].bytes, "(384 * N + 8192)");
    ck_assert_int_eq(list[0].n_nodes, 2);
    ck_assert_str_eq(list[0].nodes[0].operator, "einsum");
    ck_assert_str_eq(list[0].nodes[1].operator, "mul");
    ck_assert_str_eq(list[0].nodes[1].name, ":3");
    for (int i = 0; i < n; i++) {
        struct loc *nodes;
        ck_assert_int_eq(list[i].n_nodes, origin_nodes(f.told.launches[i], &f.m->arena, &nodes));
        ck_assert_int_ge(list[i].n_nodes, 1);
    }
    unload(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("launch");
    TCase *t = tcase_create("launch");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, told);
    tcase_add_test(t, not_told);
    tcase_add_test(t, told_on_threads);
    tcase_add_test(t, origins);
    tcase_add_test(t, told_by_code);
    suite_add_tcase(s, t);
    return suite_run(s, CK_FORK_GETENV);
}
