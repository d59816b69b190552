// Writes whole files. A file appears under its name complete or not at all; what was there before survives a
// failure.
//
// In all functions `error` may be NULL; on failure *error receives a message that the caller frees, and outputs are
// untouched.
#ifndef TEGULA_CODEGEN_FILE_H
#define TEGULA_CODEGEN_FILE_H

#include <stdbool.h>
#include <stdio.h>

// Writes a file: to a temporary name beside it, then renamed. Follows a symbolic link; what is no regular file
// (/dev/null, a pipe) is written to directly.
int file_write(const char *path, const void *data, size_t size, char **error);

// The same in two steps, for a file that is only to appear together with another: what fails has written nothing, and
// what is no regular file is written to at once. Whatever was prepared is to be committed or discarded; a file that is
// all zeros may be discarded.
struct file_pending {
    char *final, *temporary;
};
int file_prepare(struct file_pending *f, const char *path, const void *data, size_t size, char **error);
int file_begin(struct file_pending *f, const char *path, FILE **out, char **error); // to be written by the caller,
int file_end(struct file_pending *f, FILE *out, char **error);                      // and then closed, prepared
int file_commit(struct file_pending *f, char **error);
void file_discard(struct file_pending *f);

// Whether it is there and no regular file: a device or a pipe, which must not be replaced by a file.
bool file_is_special(const char *path);

// A folder that goes away again, like the files in it, even if a signal ends the program (temporary.h). The template is
// as of mkdtemp, the names in the folder are to be freed; NULL: out of memory. Making one returns 0, or -1 with errno
// set.
int file_make_folder(char *template);
char *file_name_in(const char *folder, const char *name);
void file_remove_folder(const char *folder); // with all that is in it

// The file that writing to path would change: a symbolic link's target, or path. To be freed; NULL: out of memory.
char *file_resolve(const char *path);

#endif
