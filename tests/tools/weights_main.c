// A model whose weights are in a file: beside the program, or at the path that is given.
#include <stdio.h>
#include <string.h>

#include <tegula/kernel.h>

#include "first.h"

static void print_error(const tg_env *env, const char *message)
{
    (void)env;
    printf("error: %s\n", message);
}

// Whether the file is mapped so that processes share its pages, which nobody can write to.
static int is_shared(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    int found = 0;
    while (maps && fgets(line, sizeof line, maps))
        found |= strstr(line, name) && strstr(line, " r--s ");
    return found;
}

int main(int argc, char **argv)
{
    const tg_env env = {.version = TG_ENV_VERSION, .error = print_error};
    int32_t target = -1;
    float x[3] = {1, 2, 3}, y[2];
    if (argc > 1 && (!first_load(&env, "/nonexistent/weights", &target) || target != -1 ||
                     first_load(&env, argv[1], &target) || target < 0 || target >= first__model.n_targets))
        return 1;
    if (first_env(&env, x, y, 1) || y[0] != 22 || y[1] != 28 || first(x, y, 1))
        return 1;
    return !is_shared(argc > 1 ? argv[1] : "/first.weights");
}
