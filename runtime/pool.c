// A fork-join team of threads.
//
// A loop is published by writing `job` and then `call`, one word that holds a number counted up with each loop and how
// many workers may still join. A worker that sees a new number joins by counting that down, runs chunks until none is
// left, and checks out. The caller runs chunks too, then closes the loop and waits for those that have joined, so a job
// is never changed under a worker, and a worker that the system has not got round to running holds nobody up. Chunks
// are handed out first come first served, which evens out unequal instances and unequal cores; a kernel's instances do
// not depend on how they are grouped.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <tegula/runtime.h>

#include "runtime/cpus.h"
#include "runtime/memory.h"

#define CHUNKS_PER_THREAD 4
#define SPIN_NANOSECONDS 1000000
#define SLOT_BITS 16
#define LINE 64

struct scratch {
    void *memory;
    size_t bytes;
};

struct worker {
    tg_pool *pool;
    pthread_t thread;
    struct scratch scratch;
};

struct job {
    tg_range *range;
    const tg_arg *args;
    int64_t n, chunk;
    bool scratch; // is wanted
};

struct tg_pool {
    tg_env env;
    int n_workers, n_cpus; // workers: without the caller
    struct worker *workers;
    struct scratch caller_scratch;
    atomic_flag busy;
    struct job job;
    _Alignas(LINE) _Atomic uint64_t call; // number << SLOT_BITS | workers that may join
    atomic_int awake;                     // depth of begin/end
    atomic_bool quit;
    _Alignas(LINE) _Atomic int64_t next; // the first instance not handed out
    _Alignas(LINE) atomic_int left;      // workers that have joined and checked out
    atomic_int status;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// ---- Work ------------------------------------------------------------------------------------------------------

static bool reserve(struct scratch *s, size_t bytes)
{
    if (bytes <= s->bytes)
        return true;
    memory_free(s->memory);
    s->memory = memory_alloc(bytes);
    s->bytes = s->memory ? bytes : 0;
    return s->memory != NULL;
}

static void run_chunks(tg_pool *p, const struct scratch *scratch)
{
    const struct job *j = &p->job;
    while (!atomic_load_explicit(&p->status, memory_order_relaxed)) {
        int64_t begin = atomic_fetch_add_explicit(&p->next, j->chunk, memory_order_relaxed);
        if (begin >= j->n)
            return;
        int64_t end = j->n - begin < j->chunk ? j->n : begin + j->chunk;
        int status = j->range(j->args, begin, end, j->scratch ? scratch->memory : NULL), none = 0;
        if (status)
            atomic_compare_exchange_strong(&p->status, &none, status);
    }
}

static uint64_t number_of(uint64_t call)
{
    return call >> SLOT_BITS;
}

// Waits for a number other than `seen`; looks for it as long as the pool is awake, then sleeps.
static uint64_t next_call(tg_pool *p, uint64_t seen)
{
    uint64_t call;
    int64_t start = 0;
    for (int i = 1; atomic_load_explicit(&p->awake, memory_order_relaxed) > 0; i++) {
        call = atomic_load_explicit(&p->call, memory_order_acquire);
        if (number_of(call) != seen)
            return call;
        if (i % 64 == 0) {
            int64_t t = now();
            if (!start)
                start = t;
            if (t - start > SPIN_NANOSECONDS)
                break;
        }
        pause_cpu();
    }
    pthread_mutex_lock(&p->mutex);
    while (number_of(call = atomic_load_explicit(&p->call, memory_order_acquire)) == seen)
        pthread_cond_wait(&p->work, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return call;
}

static bool take_slot(tg_pool *p, uint64_t call)
{
    uint64_t number = number_of(call);
    while (number_of(call) == number && call != number << SLOT_BITS)
        if (atomic_compare_exchange_weak_explicit(&p->call, &call, call - 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return true;
    return false;
}

static void *work(void *data)
{
    struct worker *w = data;
    tg_pool *p = w->pool;
    uint64_t seen = 0;
    for (;;) {
        uint64_t call = next_call(p, seen);
        if (atomic_load(&p->quit))
            return NULL;
        seen = number_of(call);
        if (!take_slot(p, call))
            continue;
        run_chunks(p, &w->scratch);
        atomic_fetch_add_explicit(&p->left, 1, memory_order_release);
        // The caller may be asleep, and sees the count under the mutex.
        pthread_mutex_lock(&p->mutex);
        pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->mutex);
    }
}

static void publish(tg_pool *p, int slots)
{
    pthread_mutex_lock(&p->mutex);
    uint64_t number = number_of(atomic_load_explicit(&p->call, memory_order_relaxed));
    atomic_store_explicit(&p->call, (number + 1) << SLOT_BITS | (uint64_t)slots, memory_order_release);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

// Lets no more workers in, and waits for those that are.
static void join(tg_pool *p, int slots)
{
    uint64_t unused = ((uint64_t)1 << SLOT_BITS) - 1;
    int joined = slots - (int)(atomic_fetch_and_explicit(&p->call, ~unused, memory_order_acq_rel) & unused);
    int64_t start = 0;
    for (int i = 1; p->n_workers < p->n_cpus; i++) {
        if (atomic_load_explicit(&p->left, memory_order_acquire) == joined)
            return;
        if (i % 64 == 0) {
            int64_t t = now();
            if (!start)
                start = t;
            if (t - start > SPIN_NANOSECONDS)
                break;
        }
        pause_cpu();
    }
    pthread_mutex_lock(&p->mutex);
    while (atomic_load_explicit(&p->left, memory_order_acquire) != joined)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

static int32_t run_alone(int64_t n, tg_range *range, const tg_arg *args, int64_t scratch_bytes)
{
    struct scratch scratch = {0};
    if (!reserve(&scratch, (size_t)scratch_bytes))
        return 1;
    int32_t status = range(args, 0, n, scratch.memory);
    memory_free(scratch.memory);
    return status;
}

static int32_t parallel_for(const tg_env *env, int64_t n, tg_range *range, const tg_arg *args, int64_t scratch_bytes)
{
    tg_pool *p = env->user;
    if (n <= 0)
        return 0;
    if (scratch_bytes < 0)
        return 1;
    if (atomic_flag_test_and_set_explicit(&p->busy, memory_order_acquire))
        return run_alone(n, range, args, scratch_bytes);
    // All scratch is had before anything runs: without memory nothing has been computed.
    int32_t status = !reserve(&p->caller_scratch, (size_t)scratch_bytes);
    int slots = n - 1 < p->n_workers ? (int)(n - 1) : p->n_workers;
    for (int i = 0; i < p->n_workers && slots; i++) // any of them may join
        if (!reserve(&p->workers[i].scratch, (size_t)scratch_bytes))
            slots = 0;
    if (!status) {
        int64_t chunks = slots ? (int64_t)(slots + 1) * CHUNKS_PER_THREAD : 1;
        p->job = (struct job){range, args, n, n / chunks + (n % chunks != 0), scratch_bytes > 0};
        atomic_store_explicit(&p->next, 0, memory_order_relaxed);
        atomic_store_explicit(&p->status, 0, memory_order_relaxed);
        atomic_store_explicit(&p->left, 0, memory_order_relaxed);
        if (slots)
            publish(p, slots);
        run_chunks(p, &p->caller_scratch);
        if (slots)
            join(p, slots);
        status = atomic_load_explicit(&p->status, memory_order_relaxed);
    }
    atomic_flag_clear_explicit(&p->busy, memory_order_release);
    return status;
}

// ---- The environment -------------------------------------------------------------------------------------------

static void *env_alloc(const tg_env *env, size_t bytes)
{
    (void)env;
    return memory_alloc(bytes);
}

static void env_free(const tg_env *env, void *memory)
{
    (void)env;
    memory_free(memory);
}

static void env_error(const tg_env *env, const char *message)
{
    (void)env;
    fprintf(stderr, "tegula: error: %s\n", message);
}

// ---- Life ------------------------------------------------------------------------------------------------------

int tg_pool_create(int n_threads, tg_pool **out)
{
    tg_pool *p = memory_alloc(sizeof *p);
    if (!p)
        return 1;
    int n_cpus = cpus_count();
    n_threads = n_threads < 1 ? n_cpus : n_threads > CPUS_MOST ? CPUS_MOST : n_threads;
    *p = (tg_pool){.n_cpus = n_cpus, .busy = ATOMIC_FLAG_INIT};
    p->env = (tg_env){TG_ENV_VERSION, p, parallel_for, env_alloc, env_free, env_error, NULL};
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    if (!p->workers) {
        memory_free(p);
        return 1;
    }
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 0; i < n_threads - 1; i++) {
        struct worker *w = &p->workers[i];
        w->pool = p;
        if (pthread_create(&w->thread, NULL, work, w))
            break;
        p->n_workers++;
    }
    *out = p;
    return 0;
}

void tg_pool_destroy(tg_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->quit, true);
    publish(p, 0);
    for (int i = 0; i < p->n_workers; i++) {
        pthread_join(p->workers[i].thread, NULL);
        memory_free(p->workers[i].scratch.memory);
    }
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->mutex);
    memory_free(p->caller_scratch.memory);
    free(p->workers);
    memory_free(p);
}

int tg_pool_threads(const tg_pool *p)
{
    return p->n_workers + 1;
}

const tg_env *tg_pool_env(const tg_pool *p)
{
    return &p->env;
}

// With fewer CPUs than threads, looking would keep those from running that have work.
void tg_pool_begin(tg_pool *p)
{
    if (p->n_workers < p->n_cpus)
        atomic_fetch_add_explicit(&p->awake, 1, memory_order_relaxed);
}

void tg_pool_end(tg_pool *p)
{
    if (p->n_workers < p->n_cpus)
        atomic_fetch_sub_explicit(&p->awake, 1, memory_order_relaxed);
}
