// The `tegula` command.
#include <stdio.h>
#include <string.h>

#include "tools/command.h"
#include "tools/nearest.h"
#include "tools/streams.h"

#ifndef TEGULA_VERSION
#define TEGULA_VERSION "unknown"
#endif

static const struct {
    const char *name;
    command_function *run;
    const char *summary;
} commands[] = {
    {"run", command_run, "compile a model and run it"},
    {"compile", command_compile, "compile a model to an object, a shared object or an executable"},
    {"info", command_info, "tell what a model is made of, and what is not supported"},
    {"kernel", command_kernel, "compile kernels of the tile language"},
    {"opt", command_opt, "run passes over kernels and print them"},
    {"diff", command_diff, "run a model and the interpreter, and name the nodes at which they part"},
    {"check", command_check, "run a kernel or a model on random data at several stages and compare"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out)
{
    fprintf(out, "usage: tegula COMMAND ...\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n  --version  print the version\n"
                 "  tegula COMMAND --help, or tegula help COMMAND, describes a command.\n");
}

static command_function *find_command(const char *name)
{
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i].name;
        if (!strcmp(name, names[i]))
            return commands[i].run;
    }
    const char *meant = nearest_name(name, strlen(name), N_COMMANDS, names);
    fprintf(stderr, "tegula: unknown command '%s'%s%s%s\ntegula: see tegula --help\n", name,
            meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
    return NULL;
}

// Describes commands in the words of `option`: --help, or --help=man for the man page.
static int describe(command_function *run, char *option)
{
    return run(1, &option);
}

static int describe_all(char *option)
{
    int status = EXIT_OK;
    for (size_t i = 0; i < N_COMMANDS && status == EXIT_OK; i++)
        status = describe(commands[i].run, option);
    return status;
}

static int obey(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    bool help = !strcmp(argv[1], "help");
    if ((help && argc == 2) || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_usage(stdout);
        return EXIT_OK;
    }
    if (!strcmp(argv[1], "--help=man"))
        return describe_all(argv[1]);
    if (!strcmp(argv[1], "--version")) {
        printf("tegula %s\n", TEGULA_VERSION);
        return EXIT_OK;
    }
    command_function *run = find_command(argv[help ? 2 : 1]);
    if (!run)
        return EXIT_USAGE;
    return help ? describe(run, "--help") : run(argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    streams_begin();
    return streams_end("tegula", obey(argc, argv));
}
