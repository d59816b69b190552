// The names are in a list that only grows: a signal may come while another thread changes it, and its handler may
// neither lock nor allocate. Hence a library, which may run for months, notes nothing.
#include "codegen/temporary.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct temporary {
    struct temporary *next;
    atomic_bool there;
    char path[];
};

static _Atomic(struct temporary *) temporaries;
static atomic_bool noting;

int temporary_note(const char *path)
{
    if (!atomic_load(&noting))
        return 0;
    size_t size = strlen(path) + 1;
    struct temporary *t = malloc(sizeof *t + size);
    if (!t)
        return -1;
    memcpy(t->path, path, size);
    atomic_init(&t->there, true);
    t->next = atomic_load(&temporaries);
    while (!atomic_compare_exchange_weak(&temporaries, &t->next, t))
        ;
    return 0;
}

void temporary_forget(const char *path)
{
    for (struct temporary *t = atomic_load(&temporaries); t; t = t->next)
        if (!strcmp(t->path, path))
            atomic_store(&t->there, false);
}

static void remove_all(int number)
{
    // In a second round folders are empty.
    for (int round = 0; round < 2; round++)
        for (struct temporary *t = atomic_load(&temporaries); t; t = t->next)
            if (atomic_load(&t->there) && unlink(t->path))
                rmdir(t->path);
    raise(number); // as before (SA_RESETHAND), once this handler is done
}

void temporary_remove_on_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    atomic_store(&noting, true);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = remove_all, .sa_flags = SA_RESETHAND}, before;
        sigfillset(&action.sa_mask);
        // A shell has its background jobs ignore some.
        if (!sigaction(numbers[i], NULL, &before) && before.sa_handler == SIG_DFL)
            sigaction(numbers[i], &action, NULL);
    }
}
