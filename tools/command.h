// The subcommands of `tegula`, and what they share.
#ifndef TEGULA_TOOLS_COMMAND_H
#define TEGULA_TOOLS_COMMAND_H

#include "codegen/compile.h"
#include "frontend/import.h"
#include "tools/options.h"

// Each runs with the words behind its name and returns the exit status.
typedef int command_function(int argc, char *const *argv);
command_function command_opt, command_kernel, command_compile, command_check, command_info, command_run, command_diff;

// What the options mean for the compiler, for one target; what is read for that lives as long as the diagnostics.
// Returns EXIT_OK, or another status after complaining.
int command_compile_options(const struct command *c, const struct shared_options *shared,
                            struct compile_options *options, struct diags *diags);

// A name with something before the ending, which may be NULL.
bool command_ends_in(const char *path, const char *ending);

// Reports a message of the code generator (NULL: out of memory), which is freed. Returns EXIT_ERROR.
int command_report(struct diags *diags, char *message);

// A file that was read.
struct command_source {
    struct module *module; // verified
    struct model *model;   // holds the bytes of the module's constants; NULL: text
    struct file_bytes bytes;
    bool text; // functions; else a model
    const char *path;
    int n_defines;
    const struct define *defines;  // of text
    struct import_options options; // of a model
    struct arena arena;            // names that were given
};

// What the command line says of a file.
struct command_given {
    const struct words *definitions; // of text: values of compile-time parameters (-D); NULL: none
    const struct words *sizes;       // of a model: sizes that are to be compiled in (--dim); NULL: none
    bool definitions_are_sizes;      // of a model: -D stands for --dim
    int n_inputs;
    const char *const *inputs; // of a model: that are inputs even if they have a default
};

// Reads a file of functions, or a model, as its content says: its name does not matter. Returns EXIT_OK, or another
// status after complaining. The source is to be closed in any case.
int command_open(const struct command *c, const char *path, const struct command_given *given,
                 struct command_source *source, struct diags *diags);
// The same in two steps: the bytes, and what the command line says of them; then what they mean.
int command_begin(const struct command *c, const char *path, const struct command_given *given,
                  struct command_source *source, struct diags *diags);
int command_read(struct command_source *source, struct diags *diags);
// The same for a command that takes models alone; the module is not made.
int command_open_model(const char *path, struct command_source *source, struct diags *diags);
void command_close(struct command_source *source);

// Makes the module of an open source once more. It belongs to the caller, and must not outlive the source. NULL after
// reporting.
struct module *command_make_module(const struct command_source *source, struct diags *diags);

// The values of --dim NAME=SIZE, in the arena; NULL after complaining.
const struct import_dim *command_dims(const struct command *c, struct arena *a, const struct words *words);

// Writes to the path, or to standard output for "-" or NULL. Returns the exit status.
int command_write(const char *path, const void *data, size_t size, struct diags *diags);

// Prints the diagnostics, releases them, and returns the exit status.
int command_finish(const struct command *c, struct diags *diags, int status);

#endif
