// What the mains of test programs share.
#ifndef TEGULA_TESTS_UNIT_SUITE_H
#define TEGULA_TESTS_UNIT_SUITE_H

#include <check.h>

// Runs the suite and returns the exit status. CK_NOFORK: threads and what they leave behind are in this process.
static inline int suite_run(Suite *suite, enum fork_status forks)
{
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, forks);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#endif
