// The `tegula` command.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/file.h"
#include "codegen/link.h"
#include "tools/command.h"

#ifndef TEGULA_VERSION
#define TEGULA_VERSION "unknown"
#endif

static const struct {
    const char *name;
    command_function *run;
    const char *summary;
} commands[] = {
    {"run", command_run, "compile a model and run it"},
    {"kernel", command_kernel, "compile kernels of the tile language"},
    {"opt", command_opt, "run passes over kernels and print them"},
    {"check", command_check, "run a kernel or a model on random data at several stages and compare"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

int command_defines(const struct command *c, struct arena *a, const struct words *words, struct define *defines)
{
    for (int i = 0; i < words->n; i++) {
        char name[128];
        if (!option_split(words->word[i], name, sizeof name, &defines[i].value) || !defines[i].value) {
            options_fail(c, "-D wants NAME=VALUE, not '%s'", words->word[i]);
            return -1;
        }
        defines[i].name = arena_strdup(a, name);
    }
    return words->n;
}

struct module *command_read(const char *path, int n_defines, const struct define *defines, struct diags *diags)
{
    struct driver_buffer text = {0};
    char *message = NULL;
    if (file_read(path, &text, &message)) {
        diag_error(diags, (struct loc){0}, "%s", message ? message : "out of memory");
        free(message);
        return NULL;
    }
    const char *shown = strcmp(path, "-") ? path : "<stdin>";
    struct module *m = compile_read(text.data, text.size, shown, n_defines, defines, diags);
    driver_buffer_finish(&text);
    return m;
}

bool command_is_model(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".onnx");
}

int command_dims(const struct command *c, struct arena *a, const struct words *words, struct import_dim *dims)
{
    for (int i = 0; i < words->n; i++) {
        char name[128];
        const char *value;
        if (!option_split(words->word[i], name, sizeof name, &value) || !value || !option_int(value, &dims[i].value)) {
            options_fail(c, "--dim wants NAME=SIZE, not '%s'", words->word[i]);
            return -1;
        }
        dims[i].name = arena_strdup(a, name);
    }
    return words->n;
}

struct module *command_import(const char *path, const struct import_options *options, struct model **model,
                              struct diags *diags)
{
    *model = model_read_file(path, diags);
    struct module *m = *model ? import_model(*model, options, diags) : NULL;
    if (m && !verify_module(m, diags)) {
        module_destroy(m);
        m = NULL;
    }
    return m;
}

int command_write(const char *path, const void *data, size_t size, struct diags *diags)
{
    char *message = NULL;
    if (path && strcmp(path, "-")) {
        if (!link_write_file(path, data, size, &message))
            return EXIT_OK;
        diag_error(diags, (struct loc){0}, "%s", message ? message : "out of memory");
        free(message);
        return EXIT_ERROR;
    }
    if (fwrite(data, 1, size, stdout) == size && !fflush(stdout))
        return EXIT_OK;
    diag_error(diags, (struct loc){0}, "cannot write to standard output: %s", strerror(errno));
    return EXIT_ERROR;
}

int command_finish(struct diags *diags, int status)
{
    fflush(stdout);
    diag_print(diags, stderr);
    if (diags->n_errors && status == EXIT_OK)
        status = EXIT_ERROR;
    diag_finish(diags);
    return status;
}

static void print_usage(FILE *out)
{
    fprintf(out, "usage: tegula COMMAND ...\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n  --version  print the version\n  tegula COMMAND --help describes a command.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("tegula %s\n", TEGULA_VERSION);
        return EXIT_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "tegula: unknown command '%s'\n", argv[1]);
    print_usage(stderr);
    return EXIT_USAGE;
}
