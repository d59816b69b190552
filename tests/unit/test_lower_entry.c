// The functions that a compiled kernel exports, its header, and what lowering refuses.
#include <stdlib.h>
#include <string.h>

#include "codegen/header.h"
#include "codegen/lower.h"
#include "tests/unit/kernel_code.h"
#include "tests/unit/suite.h"

struct calls {
    int n;
    int64_t total, scratch;
};

static int32_t in_two_parts(const tg_env *env, int64_t n, tg_range *range, const tg_arg *args, int64_t scratch)
{
    struct calls *calls = env->user;
    *calls = (struct calls){calls->n + 1, n, scratch};
    void *memory = scratch ? aligned_alloc(64, (size_t)scratch) : NULL;
    int32_t status = range(args, n / 3, n, memory);
    status |= range(args, 0, n / 3, memory);
    free(memory);
    return status;
}

static void *no_large_memory(size_t alignment, size_t size)
{
    return size > 1 << 30 ? NULL : aligned_alloc(alignment, size);
}

START_TEST(test_launchers)
{
    // y[i] = x[i] * s through scratch of n floats, 8 elements an instance; a flag and a byte to pass as well.
    static const char text[] =
        "kernel @k(%x: view<Nxf32>, %s: f32, %up: i8, %on: i1, %y: view<Nxf32>, %n: index)\n"
        "    grid [2, ceildiv(N, 16), 1] {\n"
        "  %p = program_id 0\n  %q = program_id 1\n  %m = mul %q, 2\n  %r = add %m, %p\n"
        "  %i = mul %r, 8\n  %t = scratch %n : view<?xf32>\n  %v = load %x[%i] : tile<8xf32, v0x8>\n"
        "  %w = mul %v, %s\n  store %w, %t[3]\n  %z = load %t[3] : tile<8xf32, v0x8>\n"
        "  %o = select %on, %z, 0.0\n  %c = cast f32 %up\n  %a = add %o, %c\n  store %a, %y[%i]\n}\n";
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(text, strlen(text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s", diag_string(&diags));
    struct jit *jit;
    char *error = NULL;
    void *(*allocate)(size_t, size_t) = no_large_memory;
    void *address;
    memcpy(&address, &allocate, sizeof address);
    ck_assert(!jit_create(&jit, &error) && !jit_define(jit, "aligned_alloc", address, &error));
    struct kernel_code code = kernel_code_make(LEAST_LEVEL, 2, m->first_function, &diags);
    const tg_kernel *kernel = kernel_code_load(&code, jit);
    ck_assert_str_eq(kernel->name, "k");
    float x[40], y[41];
    void *launch, *launch_env;
    ck_assert(!jit_lookup(jit, "k", &launch, &error) && !jit_lookup(jit, "k_env", &launch_env, &error));
    int (*k)(const float *, float, int8_t, uint8_t, float *, int64_t, int64_t);
    int (*k_env)(const tg_env *, const float *, float, int8_t, uint8_t, float *, int64_t, int64_t);
    memcpy(&k, &launch, sizeof k);
    memcpy(&k_env, &launch_env, sizeof k_env);
    struct calls calls = {0};
    tg_env env = {.version = TG_ENV_VERSION, .user = &calls, .parallel_for = in_two_parts};
    for (int way = 0; way < 4; way++) {
        int64_t n = way == 1 ? 100000 : 20; // of scratch: on the stack or not
        for (int i = 0; i < 41; i++) {
            x[i % 40] = (float)(i % 40);
            y[i] = -9;
        }
        int status = way < 2    ? k(x, 0.5f, -3, 1, y, n, 37)
                     : way == 2 ? k_env(NULL, x, 0.5f, -3, 1, y, n, 37)
                                : k_env(&env, x, 0.5f, -3, 1, y, n, 37);
        ck_assert_int_eq(status, 0);
        for (int i = 0; i < 41; i++)
            ck_assert_float_eq(y[i], i < 37 ? (float)i * 0.5f - 3 : -9);
    }
    ck_assert_int_eq(calls.n, 1);
    ck_assert_int_eq(calls.total, 6);
    ck_assert_int_eq(calls.scratch, 128);
    ck_assert_int_eq(k(x, 1, 1, 1, y, -1, 0), 0); // nothing to do
    ck_assert_int_eq(k(x, 1, 1, 1, y, INT64_MAX / 8, 37), 1);
    jit_destroy(jit);
    kernel_code_finish(&code);
    struct driver_buffer header;
    ck_assert(!header_print(m, &header, &diags));
    ck_assert_ptr_nonnull(strstr(header.data,
                                 "int32_t k(const float *x, float s, int8_t up, uint8_t on, float *y, int64_t n, "
                                 "int64_t N);\n"));
    ck_assert_ptr_nonnull(strstr(header.data, "//   y: N of f32, row-major; written\n"));
    driver_buffer_finish(&header);
    module_destroy(m);
    diag_finish(&diags);
}
END_TEST

// Bytes that do not fit an int64_t must not come out as a few, or as none.
START_TEST(test_scratch_overflow)
{
    static const char text[] = "kernel @k(%y: view<8xf32>, %n: index, %m: index) grid [1] {\n"
                               "  %a = scratch : view<16xf32>\n  %s = scratch %n, %m : view<?x?xf32>\n"
                               "  %v = constant 1.0 : tile<8xf32, v0x8>\n  store %v, %a[0]\n"
                               "  %u = constant 2.0 : tile<1x8xf32, v1x8>\n  store %u, %s[0, 0]\n"
                               "  %w = load %a[0] : tile<8xf32, v0x8>\n  store %w, %y[0]\n}\n";
    static const int64_t sizes[][3] = {{INT64_C(1) << 62, 1, 1},   {INT64_C(1) << 31, INT64_C(1) << 31, 1},
                                       {INT64_MAX / 4, 1, 1},      {INT64_C(1) << 32, (INT64_C(1) << 32) + 1, 1},
                                       {INT64_C(1) << 62, 0, 0},   {INT64_MAX, INT64_MAX, 1},
                                       {0, INT64_C(1) << 62, 0},   {3, 7, 0},
                                       {-(INT64_C(1) << 62), 1, 0}};
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(text, strlen(text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s", diag_string(&diags));
    char *error = NULL;
    void *(*allocate)(size_t, size_t) = no_large_memory;
    void *address, *launch;
    memcpy(&address, &allocate, sizeof address);
    for (int opt = 0; opt < 3; opt += 2) {
        struct jit *jit;
        ck_assert(!jit_create(&jit, &error) && !jit_define(jit, "aligned_alloc", address, &error));
        struct kernel_code code = kernel_code_make(LEAST_LEVEL, opt, m->first_function, &diags);
        kernel_code_load(&code, jit);
        ck_assert(!jit_lookup(jit, "k", &launch, &error));
        int (*k)(float *, int64_t, int64_t);
        memcpy(&k, &launch, sizeof k);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            float y[8] = {0};
            ck_assert_int_eq(k(y, sizes[i][0], sizes[i][1]), (int)sizes[i][2]);
            ck_assert_float_eq(y[7], sizes[i][2] ? 0 : 1);
        }
        jit_destroy(jit);
        kernel_code_finish(&code);
    }
    module_destroy(m);
    diag_finish(&diags);
}
END_TEST

static void check_refused(const char *text, const char *why)
{
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(text, strlen(text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s", diag_string(&diags));
    struct driver *d;
    struct target_desc target;
    ck_assert(!target_parse(LEAST_LEVEL, &target, NULL) && !driver_create(&target, 2, &d, NULL));
    ck_assert(
        lower_kernel(m->first_function, false, &target, driver_context(d), driver_new_module(d, "test", NULL), &diags));
    ck_assert_msg(strstr(diag_string(&diags), why), "%s", diag_string(&diags));
    ck_assert_int_eq(diags.n_errors, 1);
    driver_destroy(d);
    module_destroy(m);
    diag_finish(&diags);
}

START_TEST(test_refused)
{
    check_refused("kernel @k(%x: view<8xf32>) grid [1] {\n  %v = load %x[0] : tile<8xf32, v0x8>\n  %w = exp %v\n"
                  "  store %w, %x[0]\n}\n",
                  "was not expanded");
    check_refused("kernel @k(%x: view<8xf32>) grid [1] {\n  %v = load %x[0] : tile<8xf32>\n  store %v, %x[0]\n}\n",
                  "no register layout");
    check_refused("kernel @k(%x: view<8xf32>) grid [1] {\n  %p = program_id 0\n  %s = scratch %p : view<?xf32>\n"
                  "  %v = load %x[0] : tile<8xf32, v0x8>\n  store %v, %s[0]\n}\n",
                  "not computed from");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_entry");
    TCase *entries = tcase_create("entry points");
    tcase_add_test(entries, test_launchers);
    tcase_add_test(entries, test_scratch_overflow);
    tcase_add_test(entries, test_refused);
    suite_add_tcase(s, entries);
    return suite_run(s, CK_FORK_GETENV);
}
