// The subcommands of `tegula`, and what they share.
#ifndef TEGULA_TOOLS_COMMAND_H
#define TEGULA_TOOLS_COMMAND_H

#include "codegen/compile.h"
#include "frontend/import.h"
#include "tools/options.h"

// Each runs with the words behind its name and returns the exit status.
typedef int command_function(int argc, char *const *argv);
command_function command_opt, command_kernel, command_check, command_run;

// Reads the definitions -D NAME=VALUE into at most OPTIONS_MOST_WORDS entries; their text lives in the arena. Returns
// the number, or -1 after complaining.
int command_defines(const struct command *c, struct arena *a, const struct words *words, struct define *defines);

// Reads and verifies the file of kernels. NULL after reporting errors.
struct module *command_read(const char *path, int n_defines, const struct define *defines, struct diags *diags);

// The file is an ONNX model, by its name.
bool command_is_model(const char *path);
// Reads the sizes --dim NAME=SIZE into at most OPTIONS_MOST_WORDS entries. Returns the number, or -1 after complaining.
int command_dims(const struct command *c, struct arena *a, const struct words *words, struct import_dim *dims);
// Reads a model, imports it and verifies what it became. NULL after reporting errors. The model, which the caller
// destroys after the module in any case, is in *model.
struct module *command_import(const char *path, const struct import_options *options, struct model **model,
                              struct diags *diags);

// Writes to the path, or to standard output for "-" or NULL. Returns the exit status.
int command_write(const char *path, const void *data, size_t size, struct diags *diags);

// Prints the diagnostics, releases them, and returns the exit status.
int command_finish(struct diags *diags, int status);

#endif
