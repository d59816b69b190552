// Command lines, from a table: `--x v`, `--x=v`, `-x v` and `-xv`.
#ifndef TEGULA_TOOLS_OPTIONS_H
#define TEGULA_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "passes/pass.h"

enum { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_USAGE = 2 };

#define OPTIONS_MOST_WORDS 256

// Words that may be given more than once, in order.
struct words {
    int n;
    const char *word[OPTIONS_MOST_WORDS];
};

enum option_kind {
    OPTION_FLAG,   // bool: takes no value
    OPTION_STRING, // const char *
    OPTION_CHOICE, // const char *: one of those that `argument` lists, as in `a|b|c`
    OPTION_INT,    // int64_t
    OPTION_NUMBER, // double
    OPTION_WORDS   // struct words
};

struct option {
    const char *name; // without the dashes; NULL: only a letter
    char letter;      // 0: only a name
    enum option_kind kind;
    void *value;          // holds the default, which the help shows of strings (NULL: none) and whole numbers
    const char *argument; // how the help calls the value
    const char *help;     // ends with the default in brackets where the value does not tell it
    int64_t least, most;  // of a whole number; both 0: any
};

// Options that several commands take, in sets that a command picks; --color is in none, for all take it. An option is a
// row in options.c.
enum {
    SHARED_TARGET = 1 << 0,   // --target
    SHARED_OPTIMIZE = 1 << 1, // -O
    SHARED_PASSES = 1 << 2,   // which ones run
    SHARED_TRACE = 1 << 3,    // what passes print
    SHARED_DEFINE = 1 << 4,   // -D
    SHARED_DIM = 1 << 5,      // --dim
    SHARED_THREADS = 1 << 6,  // --threads
    SHARED_SEED = 1 << 7,     // --seed
    SHARED_SCHEDULE = 1 << 8  // --schedule
};

// Their values. A command fills in its defaults before it parses.
struct shared_options {
    const char *target, *schedule, *color;
    int64_t opt_level, threads, seed;
    struct words definitions, dims;
    struct pipeline_options pipeline;
};

struct command {
    bool program; // a program of its own, called `name`; else `tegula name`
    const char *name, *summary;
    const char *files; // how the help calls the other words: "FILE"; NULL if there are none
    int least_files, most_files;
    int n_options; // of its own
    const struct option *options;
    unsigned shared_sets;
    struct shared_options *shared;
};

// Reads the words behind a command's name, at most OPTIONS_MOST_WORDS of them as files. Returns -1 when the command is
// to run; else the exit status: --help (or --help=man, for the man page) has been printed, or a complaint.
int options_parse(const struct command *c, int argc, char *const *argv, struct words *files);

// Complains about the usage of a command on stderr, and returns EXIT_USAGE.
int options_fail(const struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Whether diagnostics on stderr are to have colours.
bool options_color(const struct command *c);

// Splits `NAME=VALUE`; *value is NULL without '='. The name is a copy in the caller's memory.
bool option_split(const char *word, char *name, size_t size, const char **value);
// A whole number, nothing behind it.
bool option_int(const char *text, int64_t *x);
bool option_number(const char *text, double *x);

#endif
