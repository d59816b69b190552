#include "ir/table.h"
#include "tests/unit/suite.h"

#define N 1000

static struct arena a;

static void setup(void)
{
    arena_init(&a);
}

static void teardown(void)
{
    arena_finish(&a);
}

START_TEST(finds_what_was_set)
{
    struct table t = {.arena = &a};
    int values[N];
    ck_assert_ptr_null(table_get(&t, 0));
    for (int i = 0; i < N; i++)
        table_set(&t, (uint64_t)i * 64, &values[i]);
    for (int i = 0; i < N; i++) {
        ck_assert_ptr_eq(table_get(&t, (uint64_t)i * 64), &values[i]);
        ck_assert_ptr_null(table_get(&t, (uint64_t)i * 64 + 1));
    }
}
END_TEST

START_TEST(replaces)
{
    struct table t = {.arena = &a};
    int first, second;
    table_set(&t, 7, &first);
    table_set(&t, 7, &second);
    ck_assert_ptr_eq(table_get(&t, 7), &second);
    ck_assert_uint_eq(t.n, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("table");
    TCase *c = tcase_create("table");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, finds_what_was_set);
    tcase_add_test(c, replaces);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
