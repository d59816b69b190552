#include "codegen/header.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/lower_internal.h"

static const char *c_type(enum dtype t)
{
    static const char *const names[DTYPE_COUNT] = {
        [DTYPE_F64] = "double",     [DTYPE_F32] = "float",      [DTYPE_F16] = "uint16_t", [DTYPE_BF16] = "uint16_t",
        [DTYPE_F8E4M3] = "uint8_t", [DTYPE_F8E5M2] = "uint8_t", [DTYPE_I64] = "int64_t",  [DTYPE_I32] = "int32_t",
        [DTYPE_I16] = "int16_t",    [DTYPE_I8] = "int8_t",      [DTYPE_U64] = "uint64_t", [DTYPE_U32] = "uint32_t",
        [DTYPE_U16] = "uint16_t",   [DTYPE_U8] = "uint8_t",     [DTYPE_I1] = "uint8_t",   [DTYPE_INDEX] = "int64_t",
    };
    return names[t];
}

static const char *how_kept(enum dtype t)
{
    return lower_is_narrow(t) ? ", kept as bits" : t == DTYPE_I1 ? ", a byte each: 0 or 1" : "";
}

// Parameter i's name in C: sizes may be called as a parameter is, and either as a keyword.
static const char *name_of(struct arena *a, const struct function *k, int i)
{
    static const char keywords[] =
        " alignas alignof and asm auto bool break case catch char class const continue default delete do double else "
        "enum env explicit export extern false float for friend goto if inline int long mutable namespace new not "
        "nullptr operator or private protected public register restrict return short signed sizeof static struct "
        "switch template this throw true try typedef typeid typename union unsigned using virtual void volatile "
        "while xor ";
    const char *name = lower_arg(k, i)->name;
    if (!name)
        return arena_printf(a, "arg%d", i);
    bool taken = strstr(keywords, arena_printf(a, " %s ", name)) != NULL;
    for (int j = 0; j < i; j++)
        taken |= lower_arg(k, j)->name && !strcmp(lower_arg(k, j)->name, name);
    return taken ? arena_printf(a, "%s_%d", name, i) : name;
}

static void put_sizes(FILE *f, const struct function *k, const dim *dims, int n, const char *between)
{
    for (int d = 0; d < n; d++) {
        fputs(d ? between : "", f);
        if (dim_is_symbol(dims[d]))
            fputs(k->module->symbols[dim_symbol_id(dims[d])], f);
        else if (dims[d] == DIM_UNKNOWN)
            fputs("?", f);
        else
            fprintf(f, "%lld", (long long)dims[d]);
    }
}

static void put_comment(FILE *f, struct arena *a, const struct function *k)
{
    fprintf(f, "// %s\n", k->name);
    bool fixed = true;
    for (int i = 0; i < lower_n_args(k); i++) {
        const struct value *v = lower_arg(k, i);
        const struct type *t = v->type;
        fprintf(f, "//   %s: ", name_of(a, k, i));
        if (v->symbol >= 0) {
            fprintf(f, "a size\n");
            fixed = false;
        } else if (t->kind != TYPE_VIEW) {
            fprintf(f, "%s%s\n", dtype_info[t->dtype].name, how_kept(t->dtype));
        } else {
            put_sizes(f, k, t->dims, t->rank, " x ");
            fprintf(f, "%s%s%s, ", t->rank ? " of " : "", dtype_info[t->dtype].name, how_kept(t->dtype));
            if (t->strided) {
                fputs("strides ", f);
                put_sizes(f, k, t->strides, t->rank, ", ");
                fputs(" in elements", f);
            } else {
                fputs("row-major", f);
            }
            fputs(block_writes(k->body, v) ? "; written\n" : "\n", f);
        }
    }
    fprintf(f, "// %sBuffers that are written must not overlap others. Returns 0, or 1 when memory ran out.\n",
            fixed ? "All sizes are fixed. " : "");
}

static void put_function(FILE *f, struct arena *a, const struct function *k, bool with_env)
{
    fprintf(f, "int32_t %s%s(%s", k->name, with_env ? "_env" : "", with_env ? "const struct tg_env *env" : "");
    int n = lower_n_args(k);
    for (int i = 0; i < n; i++) {
        const struct value *v = lower_arg(k, i);
        bool view = v->type->kind == TYPE_VIEW;
        fprintf(f, "%s%s%s%s%s", i || with_env ? ", " : "", view && !block_writes(k->body, v) ? "const " : "",
                c_type(v->type->dtype), view ? " *" : " ", name_of(a, k, i));
    }
    fputs(n || with_env ? ");\n" : "void);\n", f);
}

int header_print(struct module *m, struct driver_buffer *out, struct diags *diags)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) {
        diag_error(diags, (struct loc){0}, "out of memory");
        return 1;
    }
    struct arena a;
    arena_init(&a);
    fputs("// Made by tegula; do not edit. NAME runs a kernel on the calling thread; NAME_env by the environment's\n"
          "// parallel_for (tegula/kernel.h), or as NAME does when env is NULL; NAME__kernel describes it.\n"
          "#ifndef TEGULA_KERNELS",
          f);
    for (const struct function *k = m->first_function; k; k = k->next) {
        fputc('_', f);
        for (const char *c = k->name; *c; c++)
            fputc(toupper((unsigned char)*c), f);
    }
    fputs("_H\n#define TEGULA_KERNELS", f);
    for (const struct function *k = m->first_function; k; k = k->next) {
        fputc('_', f);
        for (const char *c = k->name; *c; c++)
            fputc(toupper((unsigned char)*c), f);
    }
    fputs("_H\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n"
          "struct tg_env;\nstruct tg_kernel;\n",
          f);
    for (const struct function *k = m->first_function; k; k = k->next) {
        fputs("\n", f);
        put_comment(f, &a, k);
        put_function(f, &a, k, false);
        put_function(f, &a, k, true);
        fprintf(f, "extern const struct tg_kernel %s__kernel;\n", k->name);
    }
    fputs("\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n", f);
    arena_finish(&a);
    bool failed = ferror(f);
    if (fclose(f) || failed || !text) {
        free(text);
        diag_error(diags, (struct loc){0}, "out of memory");
        return 1;
    }
    *out = (struct driver_buffer){text, size};
    return 0;
}
