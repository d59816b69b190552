// The constants of a model as bytes in files.
#ifndef TEGULA_CODEGEN_WEIGHTS_H
#define TEGULA_CODEGEN_WEIGHTS_H

#include <stdio.h>

#include "codegen/file.h"
#include "codegen/lower.h"
#include "runtime/loader.h"

// A file that grows by the constants of one target after the other, so that memory need not hold those of all. What is
// all zeros may be discarded.
struct weights_file {
    struct file_pending pending;
    FILE *f;           // NULL: it is closed
    int64_t start;     // of the constants
    int n;             // pieces that are in it
    uint64_t identity; // of those
    void *map;         // of what is in it; NULL: nothing
    size_t map_bytes;
};

// Begins a file (file.h) with the constants from `start` on. Returns 0; else *error receives a message that the caller
// frees.
int weights_begin(struct weights_file *file, const char *path, int64_t start, char **error);
// Writes the pieces that are not there yet. All pieces are in the file then, which is mapped until the next call that
// is given it: what held them before is not needed any more. Returns like weights_begin.
int weights_add(struct weights_file *file, struct weights *w, char **error);
// Goes behind the constants. A failure is found by weights_close.
void weights_go_to_end(const struct weights_file *file, const struct weights *w);
// Ends the file at its position, ready for file_commit. Returns like weights_begin.
int weights_close(struct weights_file *file, char **error);
void weights_discard(struct weights_file *file);

// The file that runtime/loader.h describes: where its constants begin, how long it is, and its end, which stores a
// number that tells these constants from others in *identity.
#define WEIGHTS_FILE_START ((int64_t)sizeof(struct loader_file))
int64_t weights_file_bytes(const struct weights *w);
int weights_end_file(struct weights_file *file, const struct weights *w, uint64_t *identity, char **error);

#endif
