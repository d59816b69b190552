/* What this machine can do at best: f32 FMA peak, and read and copy bandwidth of L2, L3 and memory.
 *
 *     limits [THREADS]     all of them as JSON; rates are sums over THREADS concurrent threads (default 1)
 *
 * That is compiled with -DLIMITS_PROGRAM. As a shared object it exports limits_rate(), so that a limit can be measured
 * beside what is compared with it; `tegula run --profile` has that inside.
 * GFLOP/s count a multiply-add as two; GB/s are 10^9 bytes, a copy counts bytes read + bytes written (not the line that
 * a plain store fetches before it overwrites it). The program reports the best of several trials, because a limit is
 * what was possible, not what is usual. The widest instruction set is picked at run time, so plain -O2 builds all of
 * them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_THREADS = 64, MAX_TRIALS = 9, CHAIN_ROUNDS = 4096, ACCUMULATORS = 12 };
static const double trial_seconds = 0.02;
static const size_t copy_bytes = 128u << 20; /* of source, as adding vectors of 64 MB reads; less stays in part in L3 */
static const size_t memory_bytes = 512u << 20; /* past the L3 slice a guest can use; an eighth of a small memory */

/* One call of a kernel: `size` is bytes, or rounds of the multiply-add chains. */
typedef void kernel_fn(float *destination, const float *source, size_t size);

static volatile float sink; /* keeps results alive; the value is of no interest */

/* Hides a loop from the compiler's memcpy idiom recognition. */
#define KEEP_LOOP __asm__ volatile("" : : : "memory")

/* Twelve chains cover latency 4 x 2 units, and fit the 16 registers of SSE and AVX2. */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(i) v a##i = (v){0} + seed * (float)(i + 1);
#define MULTIPLY_ADD(i) a##i = a##i * scale + offset;
#define ACCUMULATE(i) total += a##i;

#define DEFINE_KERNELS(ISA, TARGET, WIDTH, STREAM, FENCE)                                                              \
    TARGET static void fma_##ISA(float *destination, const float *source, size_t size)                                 \
    {                                                                                                                  \
        typedef float v __attribute__((vector_size(WIDTH)));                                                           \
        (void)destination, (void)source;                                                                               \
        const float seed = 2.0f + sink; /* unknown, or a chain that starts at its fixed point folds away */            \
        const v scale = (v){0} + 0.999f, offset = (v){0} + 0.001f;                                                     \
        EACH(DECLARE)                                                                                                  \
        for (size_t round = 0; round < size; round++) {                                                                \
            EACH(MULTIPLY_ADD)                                                                                         \
        }                                                                                                              \
        v total = (v){0};                                                                                              \
        EACH(ACCUMULATE)                                                                                               \
        sink = total[0];                                                                                               \
    }                                                                                                                  \
    TARGET static void read_##ISA(float *destination, const float *source, size_t size)                                \
    {                                                                                                                  \
        typedef float v __attribute__((vector_size(WIDTH)));                                                           \
        (void)destination;                                                                                             \
        v a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0}, a4 = {0}, a5 = {0}, a6 = {0}, a7 = {0};                              \
        const v *end = (const v *)((const char *)source + size);                                                       \
        for (const v *p = (const v *)source; p < end; p += 8) {                                                        \
            a0 += p[0], a1 += p[1], a2 += p[2], a3 += p[3], a4 += p[4], a5 += p[5], a6 += p[6], a7 += p[7];            \
        }                                                                                                              \
        sink = (a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7)[0];                                                             \
    }                                                                                                                  \
    TARGET static void copy_##ISA(float *destination, const float *source, size_t size)                                \
    {                                                                                                                  \
        typedef float v __attribute__((vector_size(WIDTH)));                                                           \
        const v *p = (const v *)source, *end = (const v *)((const char *)source + size);                               \
        for (v *q = (v *)destination; p < end; p += 4, q += 4) {                                                       \
            v x0 = p[0], x1 = p[1], x2 = p[2], x3 = p[3];                                                              \
            q[0] = x0, q[1] = x1, q[2] = x2, q[3] = x3;                                                                \
            KEEP_LOOP;                                                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    TARGET static void stream_##ISA(float *destination, const float *source, size_t size)                              \
    {                                                                                                                  \
        typedef float v __attribute__((vector_size(WIDTH)));                                                           \
        const v *p = (const v *)source, *end = (const v *)((const char *)source + size);                               \
        for (v *q = (v *)destination; p < end; p += 4, q += 4) {                                                       \
            v x0 = p[0], x1 = p[1], x2 = p[2], x3 = p[3];                                                              \
            STREAM(q, x0), STREAM(q + 1, x1), STREAM(q + 2, x2), STREAM(q + 3, x3);                                    \
            KEEP_LOOP;                                                                                                 \
        }                                                                                                              \
        FENCE;                                                                                                         \
    }

struct kernels {
    const char *isa;
    unsigned width; /* of a vector, in bytes */
    kernel_fn *fma, *read, *copy, *stream;
};
#define KERNELS(ISA, WIDTH) ((struct kernels){#ISA, WIDTH, fma_##ISA, read_##ISA, copy_##ISA, stream_##ISA})

#if defined(__x86_64__)
#define STREAM_512(p, x) _mm512_stream_ps((float *)(p), (__m512)(x))
#define STREAM_256(p, x) _mm256_stream_ps((float *)(p), (__m256)(x))
#define STREAM_128(p, x) _mm_stream_ps((float *)(p), (__m128)(x))
DEFINE_KERNELS(avx512, __attribute__((target("avx512f"))), 64, STREAM_512, _mm_sfence())
DEFINE_KERNELS(avx2, __attribute__((target("avx2,fma"))), 32, STREAM_256, _mm_sfence())
DEFINE_KERNELS(sse, , 16, STREAM_128, _mm_sfence())
static struct kernels pick_kernels(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        return KERNELS(avx512, 64);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return KERNELS(avx2, 32);
    return KERNELS(sse, 16); /* a multiply and an add, two operations as well */
}
#else
#define STORE(p, x) (*(p) = (x))
DEFINE_KERNELS(vector128, , 16, STORE, (void)0)
static struct kernels pick_kernels(void)
{
    return KERNELS(vector128, 16);
}
#endif

static void libc_memcpy(float *destination, const float *source, size_t size)
{
    memcpy(destination, source, size);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Closed until all threads are there, which wait for each other from then on, or it is known that they cannot be. */
struct gate {
    pthread_mutex_t mutex;
    bool given_up;
};

struct worker {
    pthread_t thread;
    int index;
    struct gate *gate;
    pthread_barrier_t *barrier;
    kernel_fn *kernel;
    float *destination, *source;
    size_t size;
    double counted; /* flops or bytes of one call */
    int trials;
    double rates[MAX_TRIALS];
};

/* Keeps the calling thread on the index-th core it may use, or the scheduler may start two threads on one. */
static void stay_on_core(int index)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &allowed) || index-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void *work(void *argument)
{
    struct worker *w = argument;
    pthread_mutex_lock(&w->gate->mutex);
    bool given_up = w->gate->given_up;
    pthread_mutex_unlock(&w->gate->mutex);
    if (given_up)
        return NULL;
    stay_on_core(w->index);
    w->kernel(w->destination, w->source, w->size); /* faults pages in, raises the clock */
    for (int trial = 0; trial < w->trials; trial++) {
        pthread_barrier_wait(w->barrier);
        long calls = 0;
        double start = seconds(), passed;
        do {
            w->kernel(w->destination, w->source, w->size);
            calls++;
            passed = seconds() - start;
        } while (passed < trial_seconds);
        w->rates[trial] = (double)calls * w->counted / passed * 1e-9;
    }
    return NULL;
}

/* Best sum of the threads' rates, in 10^9 per second; -1 without the threads. Each thread works on its own `size` bytes
 * of the two buffers. */
static double measure(const struct worker *what, int threads, int trials)
{
    static struct worker workers[MAX_THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    struct gate gate = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    int begun = 0;
    pthread_mutex_lock(&gate.mutex);
    while (begun < threads && !gate.given_up) {
        struct worker *w = &workers[begun];
        *w = *what;
        w->index = begun, w->gate = &gate, w->barrier = &barrier, w->trials = trials;
        if (w->source)
            w->source += (size_t)begun * w->size / sizeof(float);
        if (w->destination)
            w->destination += (size_t)begun * w->size / sizeof(float);
        gate.given_up = pthread_create(&w->thread, NULL, work, w) != 0;
        begun += !gate.given_up;
    }
    pthread_mutex_unlock(&gate.mutex);
    for (int i = 0; i < begun; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&barrier);
    double best = gate.given_up ? -1 : 0;
    for (int trial = 0; trial < trials && !gate.given_up; trial++) {
        double sum = 0;
        for (int i = 0; i < threads; i++)
            sum += workers[i].rates[trial];
        if (sum > best)
            best = sum;
    }
    return best;
}

struct buffer {
    float *data;
    size_t bytes;
};

/* At least `bytes` of zeros in huge pages, or TLB misses would be part of the figure; kept for the next call. NULL
 * without memory. */
static float *reserve(struct buffer *b, size_t bytes)
{
    const size_t page = 2u << 20, rounded = (bytes + page - 1) / page * page;
    if (b->bytes < rounded) {
        free(b->data);
        b->data = aligned_alloc(page, rounded), b->bytes = b->data ? rounded : 0;
        if (!b->data)
            return NULL;
        madvise(b->data, rounded, MADV_HUGEPAGE);
        memset(b->data, 0, rounded);
    }
    return b->data;
}

static size_t cache_size(int name, size_t otherwise)
{
    long size = sysconf(name);
    return size > 0 ? (size_t)size : otherwise;
}
static size_t l2_size(void)
{
    return cache_size(_SC_LEVEL2_CACHE_SIZE, 1u << 20);
}
static size_t l3_size(void)
{
    return cache_size(_SC_LEVEL3_CACHE_SIZE, 16 * l2_size());
}
static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t memory_size(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? smaller(memory_bytes, (size_t)pages / 8 * (size_t)page) : memory_bytes;
}

/* GFLOP/s of "fma", else GB/s, best of `trials` (9 at most); -1 for an unknown name, and without memory or threads, of
 * which there are 64 at most. Not for several threads at once. */
double limits_rate(const char *name, int threads, int trials);
double limits_rate(const char *name, int threads, int trials)
{
    if (threads > MAX_THREADS)
        return -1;
    static struct buffer source, destination;
    const struct kernels k = pick_kernels();
    const size_t l2 = l2_size() / 2,
                 l3 = smaller(8 * l2_size(), l3_size() / 2) / (size_t)threads; /* half: nothing is evicted */
    const size_t memory = memory_size() / (size_t)threads, copied = copy_bytes / (size_t)threads;
    const struct {
        const char *name;
        kernel_fn *kernel;
        size_t size;
        double counted; /* per byte of size, or per round */
    } limits[] = {
        {"fma", k.fma, CHAIN_ROUNDS, 2.0 * ACCUMULATORS * (double)k.width / sizeof(float)},
        {"l2_read", k.read, l2, 1},
        {"l2_copy", k.copy, l2 / 2, 2},
        {"l3_read", k.read, l3, 1},
        {"l3_copy", k.copy, l3 / 2, 2},
        {"memory_read", k.read, memory, 1},
        {"copy_plain", k.copy, copied, 2},
        {"copy_nontemporal", k.stream, copied, 2},
        {"memcpy", libc_memcpy, copied, 2},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (strcmp(name, limits[i].name) != 0)
            continue;
        size_t size = limits[i].size / 4096 * 4096;
        struct worker what = {.kernel = limits[i].kernel, .size = size, .counted = limits[i].counted * (double)size};
        if (what.kernel != k.fma)
            what.source = reserve(&source, (size_t)threads * size);
        if (what.kernel != k.fma && what.kernel != k.read)
            what.destination = reserve(&destination, (size_t)threads * size);
        if (what.kernel != k.fma && (!what.source || (what.kernel != k.read && !what.destination)))
            return -1;
        return measure(&what, threads, trials < MAX_TRIALS ? trials : MAX_TRIALS);
    }
    return -1;
}

#ifdef LIMITS_PROGRAM
int main(int argc, char **argv)
{
    static const char *const names[] = {"fma",         "l2_read",    "l2_copy",          "l3_read", "l3_copy",
                                        "memory_read", "copy_plain", "copy_nontemporal", "memcpy"};
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > MAX_THREADS)
        return fprintf(stderr, "limits: 1 to %d threads\n", MAX_THREADS), 2;
    printf("{\"isa\": \"%s\", \"threads\": %d, \"l2_bytes\": %zu, \"l3_bytes\": %zu", pick_kernels().isa, threads,
           l2_size(), l3_size());
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        printf(", \"%s\": %.1f", names[i], limits_rate(names[i], threads, MAX_TRIALS));
    }
    puts("}");
    return 0;
}
#endif
