#include "codegen/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/error.h"

#define MOST_BYTES ((size_t)1 << 30)

int file_read(const char *path, struct driver_buffer *out, char **error)
{
    FILE *in = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!in)
        return error_set(error, "cannot open %s: %s", path, strerror(errno));
    char *data = NULL;
    size_t size = 0, room = 0;
    const char *fault = NULL;
    while (!fault) {
        if (size + 1 >= room) {
            room = room * 2 + 4096;
            char *grown = room <= MOST_BYTES ? realloc(data, room) : NULL;
            if (!grown) {
                fault = room <= MOST_BYTES ? "out of memory" : "the file is too large";
                break;
            }
            data = grown;
        }
        size_t n = fread(data + size, 1, room - size - 1, in);
        size += n;
        if (!n)
            break;
    }
    if (!fault && ferror(in))
        fault = strerror(errno);
    if (in != stdin)
        fclose(in);
    if (fault) {
        error_set(error, "cannot read %s: %s", path, fault);
        free(data);
        return -1;
    }
    data[size] = 0;
    *out = (struct driver_buffer){data, size};
    return 0;
}
