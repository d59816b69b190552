// Runs the model of run.host from an object file, with nothing but the C library.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/kernel.h>

extern const tg_model net__model;

static void print_error(const tg_env *env, const char *message)
{
    (void)env;
    printf("error: %s\n", message);
}

int main(void)
{
    const tg_model *m = &net__model;
    printf("%s: %d inputs, %d outputs, size %s\n", m->name, m->n_inputs, m->n_outputs, m->symbols[0]);
    float x[3] = {1, 2, 3};
    int64_t shape[1] = {3}, wrong[2] = {3, 1}, sizes[2];
    tg_tensor in = {x, {TG_DEVICE_CPU, 0}, 1, {TG_CODE_FLOAT, 32, 1}, shape, NULL, 0};
    tg_tensor out[2] = {{.shape = sizes}, {.shape = sizes + 1}};
    if (m->run(NULL, &in, out, NULL))
        return 1;
    const float *o = out[0].data;
    printf("%s[%d] = %g %g %g, %g\n", m->outputs[0].name, (int)sizes[0], o[0], o[1], o[2], *(float *)out[1].data);
    free(out[0].data);
    free(out[1].data);
    tg_env env = {.version = TG_ENV_VERSION, .error = print_error};
    in.ndim = 2;
    in.shape = wrong;
    out[0].data = out[1].data = NULL;
    return !m->run(&env, &in, out, NULL);
}
