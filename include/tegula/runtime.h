// Threads and memory for compiled kernels: an environment (tg_env, see kernel.h) that is ready to use. Link
// libtegula_runtime.
//
//     tg_pool *pool;
//     if (tg_pool_create(0, &pool))
//         return 1;
//     matmul_env(tg_pool_env(pool), a, b, bias, c, m, k, n);
//     tg_pool_destroy(pool);
#ifndef TEGULA_RUNTIME_H
#define TEGULA_RUNTIME_H

#include <tegula/kernel.h>

// What the shared libraries export.
#ifndef TG_API
#if defined(__GNUC__)
#define TG_API __attribute__((visibility("default")))
#else
#define TG_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

// A team of threads. It may be used by several threads: while it works for one of them, the others' loops run on the
// calling thread alone.
typedef struct tg_pool tg_pool;

// Creates a pool of n_threads threads, the caller of a loop being one of them; 0: as many as this process has CPUs.
// Where the system grants fewer threads the pool is smaller. Returns 0 and stores the pool, which the caller destroys,
// in *out; 1 without memory, and *out is untouched.
TG_API int tg_pool_create(int n_threads, tg_pool **out);

// Ends the threads and frees the pool; no loop may be running. pool may be NULL.
TG_API void tg_pool_destroy(tg_pool *pool);

// The number of threads, the caller of a loop included.
TG_API int tg_pool_threads(const tg_pool *pool);

// An environment whose parallel_for runs on the pool. It belongs to the pool and lives as long.
TG_API const tg_env *tg_pool_env(const tg_pool *pool);

// Between begin and end, idle threads wait for the next loop by looking for it, for up to a millisecond, before they
// sleep: brackets around loops that follow each other closely, such as the kernels of one inference. Outside of them
// idle threads sleep at once. Pairs may nest and be on several threads.
TG_API void tg_pool_begin(tg_pool *pool);
TG_API void tg_pool_end(tg_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
