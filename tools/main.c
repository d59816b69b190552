// The `tegula` command.
#include <stdio.h>
#include <string.h>

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
    {"compile", command_compile, "compile a model to an object or a shared object"},
    {"info", command_info, "tell what a model is made of, and what is not supported"},
    {"kernel", command_kernel, "compile kernels of the tile language"},
    {"opt", command_opt, "run passes over kernels and print them"},
    {"diff", command_diff, "run a model and the interpreter, and name the first node at which they differ"},
    {"check", command_check, "run a kernel or a model on random data at several stages and compare"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

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
