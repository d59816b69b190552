#include "tests/unit/kernel_code.h"

#include <sys/mman.h>

#include <elf.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/lower.h"
#include "ir/interp.h"
#include "tests/unit/suite.h"

static const char *const levels[] = {LEAST_LEVEL, "x86-64-v3", "x86-64-v4"};
#define N_LEVELS 3
#define PAGE 4096

// ---- Data ------------------------------------------------------------------------------------------------------

void fill_special(enum dtype t, char *p, int64_t n)
{
    static const double floats[] = {0,       -0.0,         INFINITY,      -INFINITY,    NAN,          1,
                                    -1,      0.5,          1.5,           2.5,          -0.5,         -2.5,
                                    3.25,    1e-3,         -7e4,          65504,        65520,        448,
                                    464,     480,          57344,         61440,        1e-7,         6e-8,
                                    3e-8,    1e-38,        1e-40,         3e38,         3.4e38,       1e300,
                                    -1e-310, 2147483647.0, -2147483648.0, 4294967295.0, 9.3e18,       -9.3e18,
                                    1.9e19,  127.5,        255.5,         0.001953125,  0.0009765625, 0.015625};
    static const int64_t ints[] = {0,         1,          -1,        2,         -2,       3,     5,     7,
                                   8,         15,         16,        31,        32,       33,    63,    64,
                                   127,       128,        255,       256,       32767,    32768, 65535, INT32_MAX,
                                   INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, 16777217, -100,  100};
    for (int64_t i = 0; i < n; i++, p += dtype_bytes(t)) {
        union scalar x;
        uint64_t bits = (uint64_t)random32() << 32 | random32();
        unsigned pick = random32() % 4;
        if (dtype_is_float(t) && pick < 2)
            x.f = dtype_round(t, floats[random32() % (sizeof floats / sizeof *floats)]);
        else if (dtype_is_float(t) && pick == 2)
            x.f = dtype_round(t, ((int)(random32() % 2001) - 1000) / 64.0);
        else if (!dtype_is_float(t) && pick < 3)
            x.i = dtype_wrap(t, ints[random32() % (sizeof ints / sizeof *ints)]);
        else
            x = dtype_from_bits(t, t == DTYPE_I1 ? bits & 1 : bits & (UINT64_MAX >> (64 - dtype_info[t].bits)));
        if (t == DTYPE_I1)
            x.i &= 1;
        dtype_store(t, p, x);
    }
}

// ---- One kernel ------------------------------------------------------------------------------------------------

struct buffer {
    char *map, *data;
    int64_t bytes, mapped;
};

// Memory with a forbidden page behind it, or before it.
static struct buffer buffer_create(int64_t bytes, bool guard_before)
{
    struct buffer b = {.bytes = bytes};
    int64_t pages = (bytes + PAGE - 1) / PAGE;
    b.mapped = (pages + 1) * PAGE;
    b.map = mmap(NULL, (size_t)b.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(b.map != MAP_FAILED);
    ck_assert(!mprotect(b.map + (guard_before ? 0 : pages * PAGE), PAGE, PROT_NONE));
    b.data = guard_before ? b.map + PAGE : b.map + pages * PAGE - bytes;
    return b;
}

static void check_symbols(const struct driver_buffer *object)
{
    static const char *const allowed[] = {"memset", "memcpy", "memmove", "aligned_alloc", "free"};
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)object->data;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(object->data + h->e_shoff);
    for (int s = 0; s < h->e_shnum; s++) {
        if (sections[s].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbol = (const Elf64_Sym *)(object->data + sections[s].sh_offset);
        const char *names = object->data + sections[sections[s].sh_link].sh_offset;
        for (uint64_t i = 1; i < sections[s].sh_size / sizeof *symbol; i++) {
            bool known = symbol[i].st_shndx != SHN_UNDEF;
            for (size_t a = 0; a < sizeof allowed / sizeof *allowed; a++)
                known |= !strcmp(names + symbol[i].st_name, allowed[a]);
            ck_assert_msg(known, "the object needs %s", names + symbol[i].st_name);
        }
    }
}

struct kernel_code kernel_code_make(const char *level, int opt_level, struct function *k, struct diags *diags)
{
    struct kernel_code code = {0};
    char *error = NULL;
    ck_assert(!target_parse(level, &code.target, &error));
    ck_assert(!driver_create(&code.target, opt_level, &code.driver, &error));
    LLVMModuleRef module = driver_new_module(code.driver, "test", &error);
    ck_assert_msg(!lower_kernel(k, false, &code.target, driver_context(code.driver), module, diags), "%s",
                  diag_string(diags));
    ck_assert_msg(!driver_verify(code.driver, module, &error), "%s", error);
    ck_assert_msg(!driver_optimize(code.driver, module, NULL, &error), "%s", error);
    ck_assert_msg(!driver_emit(code.driver, module, DRIVER_OBJECT, &code.object, &error), "%s", error);
    check_symbols(&code.object);
    return code;
}

const tg_kernel *kernel_code_load(const struct kernel_code *code, struct jit *jit)
{
    void *kernel;
    char *error = NULL;
    ck_assert_msg(!jit_add_object(jit, &code->object, &error), "%s", error);
    ck_assert_msg(!jit_lookup(jit, "k__kernel", &kernel, &error), "%s", error);
    return kernel;
}

void kernel_code_finish(struct kernel_code *code)
{
    driver_buffer_finish(&code->object);
    driver_destroy(code->driver);
}

static void compare(const struct run *r, const struct type *t, const char *have, const char *want, int64_t bytes,
                    const char *level, int param, bool last)
{
    for (int64_t i = 0; i < bytes / dtype_bytes(t->dtype); i++) {
        union scalar x = dtype_load(t->dtype, have + i * dtype_bytes(t->dtype)),
                     y = dtype_load(t->dtype, want + i * dtype_bytes(t->dtype));
        double tolerance = r->row_tolerance ? r->row_tolerance(i, level) : r->tolerance;
        const char *row = r->row && last ? r->row(i) : "";
        if (!dtype_is_float(t->dtype))
            ck_assert_msg(x.i == y.i, "%s: parameter %d [%lld] %s is %lld, not %lld", level, param, (long long)i, row,
                          (long long)x.i, (long long)y.i);
        else if (isnan(y.f))
            ck_assert_msg(isnan(x.f), "%s: parameter %d [%lld] %s is %.9g, not NaN", level, param, (long long)i, row,
                          x.f);
        else
            ck_assert_msg((x.f == y.f && !signbit(x.f) == !signbit(y.f)) || (tolerance && x.f == y.f) ||
                              fabs(x.f - y.f) <= tolerance * fmax(1, fabs(y.f)),
                          "%s: parameter %d [%lld] %s is %.9g, not %.9g", level, param, (long long)i, row, x.f, y.f);
    }
}

static void run_code(const struct run *r, struct function *k, const char *level, const struct kernel_code *code,
                     struct buffer *want, bool before)
{
    struct jit *jit;
    struct buffer have[16];
    tg_arg args[24];
    int n = 0, scalar = 0;
    char *error = NULL;
    ck_assert_msg(!jit_create(&jit, &error), "%s", error);
    const tg_kernel *kernel = kernel_code_load(code, jit);
    random_begin(1);
    for (int i = 0; i < k->n_params; i++) {
        const struct type *t = k->params[i]->type;
        if (t->kind == TYPE_SCALAR) {
            args[n].integer = 0;
            dtype_store(t->dtype, &args[n++], r->scalars[scalar++]);
            continue;
        }
        have[i] = buffer_create(want[i].bytes, before);
        r->fill(t->dtype, have[i].data, want[i].bytes / dtype_bytes(t->dtype));
        args[n++].pointer = have[i].data;
    }
    for (int i = 0; i < k->n_symbols; i++)
        if (k->symbols[i])
            args[n++].integer = r->symbols[i];
    ck_assert_int_eq(kernel->n_args, n);
    int64_t scratch = kernel->scratch(args), total = kernel->grid(args);
    void *memory = scratch ? aligned_alloc(64, (size_t)scratch) : NULL;
    int64_t half = total / 2; // in two parts
    ck_assert_int_eq(kernel->range(args, half, total, memory), 0);
    ck_assert_int_eq(kernel->range(args, 0, half, memory), 0);
    free(memory);
    for (int i = 0; i < k->n_params; i++) {
        if (k->params[i]->type->kind == TYPE_SCALAR)
            continue;
        compare(r, k->params[i]->type, have[i].data, want[i].data, want[i].bytes, level, i, i == k->n_params - 1);
        munmap(have[i].map, (size_t)have[i].mapped);
    }
    jit_destroy(jit);
}

// The code is made for every level, and run where the machine has the level.
static void check_level(const struct run *r, struct function *k, const char *level, struct buffer *want,
                        struct diags *diags, bool before)
{
    struct kernel_code code = kernel_code_make(level, before ? 1 : 2, k, diags);
    if (!r->machine_lacks_levels && target_runs_here(&code.target))
        run_code(r, k, level, &code, want, before);
    kernel_code_finish(&code);
}

void check_run(const struct run *r)
{
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(r->text, strlen(r->text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s\n%s", diag_string(&diags), r->text);
    struct function *k = m->first_function;
    struct interp_arg args[16] = {0};
    struct buffer want[16];
    int scalar = 0;
    random_begin(1);
    for (int i = 0; i < k->n_params; i++) {
        const struct type *t = k->params[i]->type;
        if (t->kind == TYPE_SCALAR) {
            args[i].scalar = r->scalars[scalar++];
            continue;
        }
        ck_assert(!interp_view_fill(&args[i].view, t, r->symbols));
        int64_t bytes = dtype_bytes(t->dtype);
        for (int d = 0; d < t->rank; d++) // from the largest stride on: the views here do not overlap
            bytes = bytes > args[i].view.sizes[d] * args[i].view.strides[d] * dtype_bytes(t->dtype)
                        ? bytes
                        : args[i].view.sizes[d] * args[i].view.strides[d] * dtype_bytes(t->dtype);
        want[i] = buffer_create(bytes, false);
        r->fill(t->dtype, want[i].data, bytes / dtype_bytes(t->dtype));
        args[i].view.data = want[i].data;
        args[i].view.bytes = bytes;
    }
    ck_assert_msg(!interp_run(k, args, r->symbols, 0, &diags), "%s\n%s", diag_string(&diags), r->text);
    for (int i = 0; i < 2 * N_LEVELS; i += r->once ? 2 : 1)
        check_level(r, k, levels[i / 2], want, &diags, i % 2);
    for (int i = 0; i < k->n_params; i++)
        if (k->params[i]->type->kind == TYPE_VIEW)
            munmap(want[i].map, (size_t)want[i].mapped);
    module_destroy(m);
    diag_finish(&diags);
}

const char *with(char *room, size_t size, const char *text, const char *word, const char *by)
{
    char *to = room;
    while (*text) {
        bool found = !strncmp(text, word, strlen(word));
        ck_assert((size_t)(to - room) + strlen(by) + 2 < size);
        if (found) {
            to = stpcpy(to, by);
            text += strlen(word);
        } else {
            *to++ = *text++;
        }
    }
    *to = 0;
    return room;
}
