// Threads that run one model of a shared object at once, on batches of their own: each run must give the bits that it
// gave alone.
//
//     threads_main LIBRARY        a model like examples/digits
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/kernel.h>

#define THREADS 4
#define RUNS 50
#define PIXELS (28 * 28)

static const tg_model *model;

struct user {
    pthread_t thread;
    int64_t batch;
    float *image, *alone;
    int different; // runs
};

// NULL where a run fails.
static float *run(const struct user *u)
{
    int64_t shape[4] = {u->batch, 1, 28, 28}, sizes[2];
    tg_tensor in = {u->image, {TG_DEVICE_CPU, 0}, 4, {TG_CODE_FLOAT, 32, 1}, shape, NULL, 0}, out = {.shape = sizes};
    return model->run(NULL, &in, &out, NULL) ? NULL : out.data;
}

static void *use(void *user)
{
    struct user *u = user;
    for (int i = 0; i < RUNS; i++) {
        float *have = run(u);
        u->different += !have || memcmp(have, u->alone, sizeof(float) * 10 * (size_t)u->batch) != 0;
        free(have);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    model = library ? dlsym(library, "tegula_model") : NULL;
    if (!model || model->version != TG_MODEL_VERSION)
        return 1;
    struct user users[THREADS];
    for (int i = 0; i < THREADS; i++) {
        users[i] = (struct user){.batch = 1 + 3 * i};
        size_t n = PIXELS * (size_t)users[i].batch;
        users[i].image = malloc(sizeof(float) * n);
        if (!users[i].image)
            return 1;
        for (size_t j = 0; j < n; j++)
            users[i].image[j] = (float)((j * 37 + (size_t)i) % 101) / 100;
        users[i].alone = run(&users[i]);
        if (!users[i].alone)
            return 1;
    }
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&users[i].thread, NULL, use, &users[i]))
            return 1;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(users[i].thread, NULL);
        printf("batch of %d: %d of %d runs differ\n", (int)users[i].batch, users[i].different, RUNS);
        free(users[i].image);
        free(users[i].alone);
    }
    return dlclose(library) != 0;
}
