// A block of GPU threads on a CPU: what lower_nvptx's emulated code calls (codegen/nvptx_hardware.c). Each thread is a
// coroutine that runs until it must wait for others: at a barrier for its block, at a shuffle, ldmatrix or mma for its
// warp. So a missing barrier shows as a wrong result in one of the two orders in which threads are run, and threads
// that wait for each other in vain are found. ldmatrix and mma follow the PTX ISA's text, not the compiler's layouts.
#ifndef TEGULA_TESTS_GPU_EMULATOR_H
#define TEGULA_TESTS_GPU_EMULATOR_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <check.h>

#include "ir/dtype.h"

#define EMU_THREADS 1024
#define EMU_STACK (512 * 1024)
#define EMU_SHARED (232 * 1024)

struct emu_group { // of threads that wait for each other
    int size, arrived, round;
};

static struct emu {
    ucontext_t scheduler, context[EMU_THREADS];
    bool done[EMU_THREADS];
    int n_threads, thread;
    int64_t progress;
    struct emu_group block, warp[EMU_THREADS / 32];
    struct {
        int32_t x[32][4];
        int32_t b[32][2];
        float c[32][4];
        const char *row[32];
    } slot[EMU_THREADS / 32];
    int32_t program[3], programs[3];
    char *shared, *stacks;
    void (*run)(void);
} emu;

static void emu_wait(struct emu_group *g)
{
    emu.progress++;
    if (++g->arrived == g->size) {
        g->arrived = 0;
        g->round++;
        return;
    }
    int round = g->round, me = emu.thread;
    while (g->round == round)
        swapcontext(&emu.context[me], &emu.scheduler);
}

static int32_t emu_thread(void)
{
    return emu.thread;
}

static int32_t emu_program(int32_t d)
{
    return emu.program[d];
}

static int32_t emu_programs(int32_t d)
{
    return emu.programs[d];
}

static char *emu_shared(void)
{
    return emu.shared;
}

static void emu_barrier(void)
{
    emu_wait(&emu.block);
}

static int32_t emu_shuffle_from(int32_t x, int32_t lane)
{
    int me = emu.thread, w = me / 32;
    emu.slot[w].x[me % 32][0] = x;
    emu_wait(&emu.warp[w]);
    int32_t y = emu.slot[w].x[lane & 31][0];
    emu_wait(&emu.warp[w]);
    return y;
}

static int32_t emu_shuffle_xor(int32_t x, int32_t mask)
{
    return emu_shuffle_from(x, (emu.thread & 31) ^ mask);
}

// PTX ISA, ldmatrix: lanes 8 i to 8 i + 7 give the rows of matrix i; lane t receives elements 2 (t % 4) and the next of
// row t / 4, or with .trans of column t / 4.
static void emu_ldmatrix(const char *row, int32_t matrices, int32_t transposed, int32_t *x)
{
    int me = emu.thread, w = me / 32, t = me % 32;
    ck_assert((uintptr_t)row % 16 == 0);
    emu.slot[w].row[t] = row;
    emu_wait(&emu.warp[w]);
    for (int i = 0; i < matrices; i++) {
        uint16_t e[2];
        for (int j = 0; j < 2; j++) {
            int r = transposed ? 2 * (t % 4) + j : t / 4, c = transposed ? t / 4 : 2 * (t % 4) + j;
            memcpy(&e[j], emu.slot[w].row[8 * i + r] + 2 * c, 2);
        }
        x[i] = (int32_t)((uint32_t)e[1] << 16 | e[0]);
    }
    emu_wait(&emu.warp[w]);
}

static double emu_half(enum dtype t, int32_t word, int which)
{
    return dtype_from_bits(t, (uint32_t)word >> (16 * which) & 0xFFFF).f;
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
static void emu_mma(int32_t bf16, const int32_t a[4], const int32_t b[2], float c[4])
{
    int me = emu.thread, w = me / 32, lane = me % 32, group = lane >> 2, in_group = lane % 4;
    enum dtype t = bf16 ? DTYPE_BF16 : DTYPE_F16;
    memcpy(emu.slot[w].x[lane], a, sizeof emu.slot[w].x[lane]);
    memcpy(emu.slot[w].b[lane], b, sizeof emu.slot[w].b[lane]);
    emu_wait(&emu.warp[w]);
    for (int i = 0; i < 4; i++) {
        int row = i < 2 ? group : group + 8, column = in_group * 2 + (i & 1);
        double sum = c[i];
        for (int k = 0; k < 16; k++) {
            // a_i: row groupID for i in 0, 1, 4, 5, else groupID + 8; column 2 threadID + (i & 1), + 8 from i = 4 on
            int ia = (row >= 8 ? 2 : 0) + (k >= 8 ? 4 : 0) + (k & 1), la = row % 8 * 4 + k % 8 / 2;
            // b_i: row 2 threadID + (i & 1), + 8 from i = 2 on; column groupID
            int ib = (k >= 8 ? 2 : 0) + (k & 1), lb = column * 4 + k % 8 / 2;
            sum += emu_half(t, emu.slot[w].x[la][ia / 2], ia % 2) * emu_half(t, emu.slot[w].b[lb][ib / 2], ib % 2);
        }
        c[i] = (float)sum;
    }
    emu_wait(&emu.warp[w]);
}

static void emu_start(void)
{
    emu.run();
    emu.progress++;
    emu.done[emu.thread] = true;
    swapcontext(&emu.context[emu.thread], &emu.scheduler);
}

// Lets a warp run as far as it can without the others, who are then as far behind as can be. Returns how many of its
// threads have not ended.
static int emu_run_warp(int warp)
{
    int left = 32;
    for (int64_t before = -1; before != emu.progress && left;) {
        before = emu.progress;
        left = 0;
        for (int i = 32 * warp; i < 32 * warp + 32; i++) {
            emu.thread = i;
            if (emu.done[i])
                continue;
            swapcontext(&emu.scheduler, &emu.context[i]);
            left += !emu.done[i];
        }
    }
    return left;
}

// Runs every block of a grid, one after another. run() calls the kernel.
static void emu_launch(int n_threads, const int64_t grid[3], bool backwards, void (*run)(void))
{
    int no_access = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (!emu.stacks)
        emu.stacks = mmap(NULL, (size_t)EMU_STACK * EMU_THREADS, PROT_READ | PROT_WRITE, no_access, -1, 0);
    if (!emu.shared)
        emu.shared = aligned_alloc(1024, EMU_SHARED);
    ck_assert(emu.stacks != MAP_FAILED && emu.shared && n_threads <= EMU_THREADS);
    emu.n_threads = n_threads;
    emu.run = run;
    for (int d = 0; d < 3; d++)
        emu.programs[d] = (int32_t)grid[d];
    for (int64_t p = 0; p < grid[0] * grid[1] * grid[2]; p++) {
        emu.program[0] = (int32_t)(p % grid[0]);
        emu.program[1] = (int32_t)(p / grid[0] % grid[1]);
        emu.program[2] = (int32_t)(p / grid[0] / grid[1]);
        memset(emu.shared, 0xFF, EMU_SHARED); // NaN
        emu.block = (struct emu_group){.size = n_threads};
        for (int w = 0; w < n_threads / 32; w++)
            emu.warp[w] = (struct emu_group){.size = 32};
        for (int i = 0; i < n_threads; i++) {
            emu.done[i] = false;
            getcontext(&emu.context[i]);
            emu.context[i].uc_stack.ss_sp = emu.stacks + (size_t)i * EMU_STACK;
            emu.context[i].uc_stack.ss_size = EMU_STACK;
            makecontext(&emu.context[i], emu_start, 0);
        }
        for (int left = n_threads; left;) {
            int64_t before = emu.progress;
            left = 0;
            for (int w = 0; w < n_threads / 32; w++)
                left += emu_run_warp(backwards ? n_threads / 32 - 1 - w : w);
            ck_assert_msg(!left || emu.progress > before, "%d threads wait for others in vain", left);
        }
    }
}

#endif
