// The thread pool: every instance runs once, whatever the number of threads, and failures come back.
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/runtime.h>

#include "runtime/memory.h"
#include "tests/unit/suite.h"

static int32_t count(const tg_arg *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    atomic_int *seen = args[0].pointer;
    for (int64_t i = begin; i < end; i++)
        atomic_fetch_add(&seen[i], 1);
    return 0;
}

static void check_counts(tg_pool *pool, int64_t n)
{
    atomic_int *seen = calloc((size_t)n + 1, sizeof *seen);
    const tg_env *env = tg_pool_env(pool);
    tg_arg args[1] = {{.pointer = seen}};
    ck_assert_int_eq(env->parallel_for(env, n, count, args, 0), 0);
    for (int64_t i = 0; i < n; i++)
        ck_assert_int_eq(seen[i], 1);
    ck_assert_int_eq(seen[n], 0);
    free(seen);
}

START_TEST(every_instance_once)
{
    for (int threads = 1; threads <= 9; threads++) {
        tg_pool *pool;
        ck_assert_int_eq(tg_pool_create(threads, &pool), 0);
        ck_assert_int_le(tg_pool_threads(pool), threads);
        for (int64_t n = 0; n < 40; n++)
            check_counts(pool, n);
        check_counts(pool, 100003);
        tg_pool_destroy(pool);
    }
}
END_TEST

START_TEST(spinning_and_sleeping)
{
    tg_pool *pool;
    ck_assert_int_eq(tg_pool_create(0, &pool), 0);
    for (int round = 0; round < 20; round++) {
        tg_pool_begin(pool);
        tg_pool_begin(pool);
        for (int i = 0; i < 50; i++)
            check_counts(pool, 64);
        tg_pool_end(pool);
        check_counts(pool, 64);
        tg_pool_end(pool);
        check_counts(pool, 64);
    }
    tg_pool_destroy(pool);
}
END_TEST

// Each call owns its scratch while it runs.
static int32_t use_scratch(const tg_arg *args, int64_t begin, int64_t end, void *scratch)
{
    size_t bytes = (size_t)args[0].integer;
    if ((uintptr_t)scratch % MEMORY_ALIGNMENT)
        return 7;
    memset(scratch, (int)begin & 255, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (((unsigned char *)scratch)[i] != (begin & 255))
            return 8;
    (void)end;
    return 0;
}

START_TEST(scratch_of_each_thread)
{
    tg_pool *pool;
    ck_assert_int_eq(tg_pool_create(4, &pool), 0);
    const tg_env *env = tg_pool_env(pool);
    for (int64_t bytes = 1; bytes < 100000; bytes *= 7) {
        tg_arg args[1] = {{.integer = bytes}};
        ck_assert_int_eq(env->parallel_for(env, 1, use_scratch, args, bytes), 0);
        ck_assert_int_eq(env->parallel_for(env, 200, use_scratch, args, bytes), 0);
    }
    tg_pool_destroy(pool);
}
END_TEST

static int32_t fail_at(const tg_arg *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    return args[0].integer >= begin && args[0].integer < end ? 5 : 0;
}

START_TEST(status_comes_back)
{
    tg_pool *pool;
    ck_assert_int_eq(tg_pool_create(3, &pool), 0);
    const tg_env *env = tg_pool_env(pool);
    for (int64_t i = 0; i < 100; i += 9) {
        tg_arg args[1] = {{.integer = i}};
        ck_assert_int_eq(env->parallel_for(env, 100, fail_at, args, 0), 5);
        check_counts(pool, 100);
    }
    // More scratch than there is memory.
    tg_arg args[1] = {{.integer = 1}};
    ck_assert_int_eq(env->parallel_for(env, 100, use_scratch, args, INT64_MAX / 2), 1);
    ck_assert_int_eq(env->parallel_for(env, 1, use_scratch, args, INT64_MAX / 2), 1);
    check_counts(pool, 100);
    tg_pool_destroy(pool);
}
END_TEST

// A loop inside a loop runs on its caller.
static int32_t nested(const tg_arg *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const tg_env *env = args[1].pointer;
    for (int64_t i = begin; i < end; i++)
        if (env->parallel_for(env, 10, count, args, 0))
            return 1;
    return 0;
}

START_TEST(loops_may_nest)
{
    tg_pool *pool;
    ck_assert_int_eq(tg_pool_create(4, &pool), 0);
    const tg_env *env = tg_pool_env(pool);
    atomic_int seen[10] = {0};
    tg_arg args[2] = {{.pointer = seen}, {.pointer = (void *)env}};
    ck_assert_int_eq(env->parallel_for(env, 30, nested, args, 0), 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(seen[i], 30);
    tg_pool_destroy(pool);
}
END_TEST

static void *caller(void *pool)
{
    for (int i = 0; i < 200; i++)
        check_counts(pool, 50);
    return NULL;
}

START_TEST(several_callers)
{
    tg_pool *pool;
    pthread_t threads[4];
    ck_assert_int_eq(tg_pool_create(3, &pool), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, caller, pool), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    tg_pool_destroy(pool);
    tg_pool_destroy(NULL);
}
END_TEST

START_TEST(environment_memory)
{
    tg_pool *pool;
    ck_assert_int_eq(tg_pool_create(1, &pool), 0);
    const tg_env *env = tg_pool_env(pool);
    ck_assert_int_eq(env->version, TG_ENV_VERSION);
    for (size_t n = 0; n < 300; n += 13) {
        void *p = env->alloc(env, n);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        memset(p, 1, n);
        env->free(env, p);
    }
    ck_assert_ptr_null(env->alloc(env, SIZE_MAX));
    env->free(env, NULL);
    tg_pool_destroy(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *tests = tcase_create("pool");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_instance_once);
    tcase_add_test(tests, spinning_and_sleeping);
    tcase_add_test(tests, scratch_of_each_thread);
    tcase_add_test(tests, status_comes_back);
    tcase_add_test(tests, loops_may_nest);
    tcase_add_test(tests, several_callers);
    tcase_add_test(tests, environment_memory);
    suite_add_tcase(suite, tests);
    return suite_run(suite, CK_NOFORK);
}
