// Two models in one program: the first by its C function, on a batch of two; the second by its description.
#include <stdio.h>
#include <stdlib.h>

#include <tegula/kernel.h>

#include "first.h"
#include "second.h"

static void print_error(const tg_env *env, const char *message)
{
    (void)env;
    printf("error: %s\n", message);
}

int main(void)
{
    float x[6] = {1, 2, 3, 4, 5, 6}, y[4], z[4];
    if (first(x, y, 2))
        return 1;
    printf("first: %g %g %g %g\n", y[0], y[1], y[2], y[3]);
    const tg_env env = {.version = TG_ENV_VERSION, .error = print_error};
    if (first_env(&env, x, z, 2) || !first_env(&env, x, NULL, 2) || first_env(&env, NULL, NULL, 0) ||
        !first_env(&env, x, z, -1))
        return 1;
    int64_t shape[2] = {1, 3}, sizes[2];
    tg_tensor in = {x, {TG_DEVICE_CPU, 0}, 2, {TG_CODE_FLOAT, 32, 1}, shape, NULL, 0}, out = {.shape = sizes};
    if (second__model.version != TG_MODEL_VERSION || second__model.run(NULL, &in, &out, NULL))
        return 1;
    const float *o = out.data;
    printf("%s: %g %g\n", second__model.name, o[0], o[1]);
    free(out.data);
    return 0;
}
