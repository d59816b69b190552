#include "codegen/header.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/lower_internal.h"
#include "ir/lex.h"

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

static bool is_keyword(struct arena *a, const char *name)
{
    static const char others[] =
        " and catch class delete env explicit export friend mutable namespace new not operator "
        "or private protected public template this throw try typeid typename using virtual "
        "xor char8_t char16_t char32_t wchar_t NULL EOF NAN INFINITY errno stdin stdout stderr ";
    bool reserved = *name == '_' && (isupper((unsigned char)name[1]) || name[1] == '_');
    size_t n = strlen(name);
    const char *end = n > 4 ? name + n - 4 : "";
    bool limit =
        (!strncmp(name, "INT", 3) || !strncmp(name, "UINT", 4)) && (!strcmp(end, "_MAX") || !strcmp(end, "_MIN"));
    return reserved || limit || lower_is_c_word(a, name) || strstr(others, arena_printf(a, " %s ", name)) != NULL;
}

// Whether the C library, or its part for mathematics, has a function of the name.
static bool is_in_c_library(const char *name)
{
    static const char *const files[] = {"libc.so.6", "libm.so.6"};
    bool found = false;
    for (size_t i = 0; i < sizeof files / sizeof *files && !found; i++) {
        void *library = dlopen(files[i], RTLD_LAZY | RTLD_LOCAL);
        found = library && dlsym(library, name);
        if (library)
            dlclose(library);
    }
    return found;
}

const char *header_objection(struct arena *a, const char *name)
{
    return is_keyword(a, name)     ? "a word of C or C++"
           : !strcmp(name, "main") ? "where programs begin"
           : is_in_c_library(name) ? "a function of the C library"
                                   : NULL;
}

// Parameter i's name in C: sizes may be called as a parameter is, and either as a keyword.
static const char *name_of(struct arena *a, const struct function *k, int i)
{
    const char *name = lower_arg(k, i)->name;
    if (!name)
        return arena_printf(a, "arg%d", i);
    bool taken = is_keyword(a, name);
    for (int j = 0; j < i; j++)
        taken |= lower_arg(k, j)->name && !strcmp(lower_arg(k, j)->name, name);
    while (taken) {
        name = arena_printf(a, "%s_%d", name, i);
        taken = false;
        for (int j = 0; j < lower_n_args(k); j++)
            taken |= lower_arg(k, j)->name && !strcmp(lower_arg(k, j)->name, name);
    }
    return name;
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

static void put_kernel(FILE *f, struct arena *a, const struct function *k)
{
    put_comment(f, a, k);
    put_function(f, a, k, false);
    put_function(f, a, k, true);
    fprintf(f, "extern const struct tg_kernel %s__kernel;\n", k->name);
}

// ---- Models ----------------------------------------------------------------------------------------------------

// A name of the model as C: what is left of it that C can have, and nobody else is called.
static const char **model_names(struct arena *a, const struct function *h)
{
    int n = h->n_params;
    const char **names = ARENA_ARRAY(a, const char *, n + 1);
    for (int i = 0; i < n; i++) {
        bool input = i < h->n_inputs;
        const char **all = input ? h->input_names : h->output_names,
                   *name = all ? all[input ? i : i - h->n_inputs] : h->params[i]->name;
        char *c = arena_printf(a, "%s", name && *name ? name : input ? "input" : "output");
        lex_make_identifier(c);
        bool taken = isdigit((unsigned char)*c) || is_keyword(a, c);
        for (int s = 0; s < h->module->n_symbols; s++)
            taken |= !strcmp(h->module->symbols[s], c);
        for (int j = 0; j < i; j++)
            taken |= !strcmp(names[j], c);
        names[i] = taken ? arena_printf(a, "%s%d_%s", input ? "input" : "output", input ? i : i - h->n_inputs, c) : c;
    }
    return names;
}

// A name out of the model within quotes, on the same line.
static void put_quoted(FILE *f, const char *name)
{
    fputc('\'', f);
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        fprintf(f, *c < ' ' || *c > '~' || *c == '\\' ? "\\x%02x" : "%c", *c);
    fputc('\'', f);
}

static void put_port(FILE *f, const struct function *h, int i, const char *c_name)
{
    bool input = i < h->n_inputs;
    const char **all = input ? h->input_names : h->output_names, *name = all ? all[input ? i : i - h->n_inputs] : NULL;
    const struct type *t = h->params[i]->type;
    fprintf(f, "//   %s: %s ", c_name, input ? "input" : "output");
    put_quoted(f, name ? name : c_name);
    fputs(", ", f);
    put_sizes(f, h, t->dims, t->rank, " x ");
    fprintf(f, "%s%s%s, row-major, aligned to %lld byte%s\n", t->rank ? " of " : "", dtype_info[t->dtype].name,
            how_kept(t->dtype), (long long)dtype_bytes(t->dtype), dtype_bytes(t->dtype) == 1 ? "" : "s");
}

static void put_entry(FILE *f, const struct function *h, const char *const *names, bool with_env, int n_sizes,
                      const char *const *sizes)
{
    fprintf(f, "int32_t %s%s(%s", h->name, with_env ? "_env" : "", with_env ? "const struct tg_env *env" : "");
    bool any = with_env;
    for (int i = 0; i < h->n_params; i++, any = true)
        fprintf(f, "%s%s%s *%s", any ? ", " : "", i < h->n_inputs ? "const " : "", c_type(h->params[i]->type->dtype),
                names[i]);
    for (int i = 0; i < n_sizes; i++, any = true)
        fprintf(f, "%sint64_t %s", any ? ", " : "", sizes[i]);
    fputs(any ? ");\n" : "void);\n", f);
}

static void put_weights(FILE *f, const char *file)
{
    if (!file) {
        fputs("weights is NULL.\n", f);
        return;
    }
    fputs("weights is the path of the file that holds the\n// model's constants; NULL, as for the first call of the "
          "others: ",
          f);
    put_quoted(f, file);
    fputs(" in the folder\n// of the shared object or program that this code has become part of. It must stay as it is "
          "while the\n"
          "// model is in use; a file with another name may take its place.\n",
          f);
}

static void put_model(FILE *f, struct arena *a, const struct function *h, const struct header_about *about)
{
    int n = h->module->n_symbols, *ids = ARENA_ARRAY(a, int, 2 * n + 1);
    const char **names = model_names(a, h), **sizes = ARENA_ARRAY(a, const char *, n + 1);
    int n_sizes = lower_model_sizes(h, ids, ids + n);
    for (int i = 0; i < n_sizes; i++)
        sizes[i] = is_keyword(a, h->module->symbols[ids[i]]) ? arena_printf(a, "size_%s", h->module->symbols[ids[i]])
                                                             : h->module->symbols[ids[i]];
    fprintf(f, "// %s, made from ", h->name);
    put_quoted(f, about->source);
    fprintf(f, " for %s\n", about->targets);
    for (int i = 0; i < h->n_params; i++)
        put_port(f, h, i, names[i]);
    for (int i = 0; i < n_sizes; i++)
        fprintf(f, "//   %s: a size\n", sizes[i]);
    fputs(
        "// Outputs share no memory with anything else. Returns 0; another number when a size does not fit or memory\n"
        "// ran out, which env->error is told of.\n",
        f);
    put_entry(f, h, names, false, n_sizes, sizes);
    put_entry(f, h, names, true, n_sizes, sizes);
    fputs("// Gets ready to run, which the first call of the others does otherwise: fails on a machine that can run "
          "none of\n"
          "// the targets. *target, if not NULL, is set to the index of the one that runs, the last that can; the "
          "variable\n"
          "// TEGULA_TARGET in the environment may name another. ",
          f);
    put_weights(f, about->weights);
    fprintf(f, "int32_t %s_load(const struct tg_env *env, const char *weights, int32_t *target);\n", h->name);
    fprintf(f, "extern const struct tg_model %s__model;\n", h->name);
}

// ---- Files -----------------------------------------------------------------------------------------------------

static void put_guard(FILE *f, const struct module *m, enum function_kind kind)
{
    fputs(kind == FUNCTION_KERNEL ? "TEGULA_KERNELS" : "TEGULA_MODEL", f);
    for (const struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != kind)
            continue;
        fputc('_', f);
        fputs(k->name, f); // Net and net may be in one program
    }
    fputs("_H\n", f);
}

static void put_header(FILE *f, const struct module *m, enum function_kind kind, const struct header_about *about)
{
    struct arena a;
    arena_init(&a);
    fprintf(f,
            "// Made by tegula; do not edit. NAME runs a %s on the calling thread; NAME_env by the environment's\n"
            "// parallel_for (tegula/kernel.h), or as NAME does when env is NULL; NAME__%s describes it.\n#ifndef ",
            kind == FUNCTION_KERNEL ? "kernel" : "model", kind == FUNCTION_KERNEL ? "kernel" : "model");
    put_guard(f, m, kind);
    fputs("#define ", f);
    put_guard(f, m, kind);
    fprintf(f, "\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\nstruct tg_env;\nstruct %s;\n",
            kind == FUNCTION_KERNEL ? "tg_kernel" : "tg_model");
    for (const struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != kind)
            continue;
        fputs("\n", f);
        if (kind == FUNCTION_KERNEL)
            put_kernel(f, &a, k);
        else
            put_model(f, &a, k, about);
    }
    fputs("\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n", f);
    arena_finish(&a);
}

static int print(const struct module *m, enum function_kind kind, const struct header_about *about,
                 struct driver_buffer *out, struct diags *diags)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    bool failed = !f;
    if (f) {
        put_header(f, m, kind, about);
        failed = ferror(f);
        failed |= fclose(f) != 0;
    }
    if (failed || !text) {
        free(text);
        diag_error(diags, (struct loc){0}, "out of memory");
        return 1;
    }
    *out = (struct driver_buffer){text, size};
    return 0;
}

int header_print(struct module *m, struct driver_buffer *out, struct diags *diags)
{
    int errors = diags->n_errors;
    for (const struct function *k = m->first_function; k; k = k->next)
        if (k->kind == FUNCTION_KERNEL && strcmp(k->name, "env") && is_keyword(&m->arena, k->name))
            diag_error(diags, k->loc, "'%s' is a word of C++, which headers are for too; rename the kernel", k->name);
    if (diags->n_errors != errors)
        return 1;
    return print(m, FUNCTION_KERNEL, NULL, out, diags);
}

int header_print_model(struct module *m, const struct header_about *about, struct driver_buffer *out,
                       struct diags *diags)
{
    return print(m, FUNCTION_HOST, about, out, diags);
}
