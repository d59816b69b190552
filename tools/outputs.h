// What a command writes, to files and to standard output: all of it, or nothing that would be left of a failure. Files
// are written beside their places first, then what is to be printed is printed, and then the files appear.
#ifndef TEGULA_TOOLS_OUTPUTS_H
#define TEGULA_TOOLS_OUTPUTS_H

#include <stddef.h>

#include "codegen/file.h"
#include "ir/diag.h"
#include "tools/options.h"

#define OUTPUTS_MOST 2

struct outputs { // all zeros: none
    struct file_pending files[OUTPUTS_MOST];
    struct {
        const void *data;
        size_t size;
    } printed[OUTPUTS_MOST];
    int n_files, n_printed;
};

// What a command is to write and the option that says so; the last may be a file that it reads. Complains if two of
// them are one file, or standard output, and returns an exit status; -1: all are different. Names that are NULL are
// none.
struct output_name {
    const char *option, *path;
    bool is_read;
};
int outputs_differ(const struct command *c, int n, const struct output_name *names);

// Adds a file, or text for standard output ("-" or NULL), which must last until the commit. Returns an exit status
// after reporting.
int outputs_add(struct outputs *o, const char *path, const void *data, size_t size, struct diags *diags);
int outputs_commit(struct outputs *o, struct diags *diags);
void outputs_discard(struct outputs *o); // what has not been committed

#endif
