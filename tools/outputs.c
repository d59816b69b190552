#include "tools/outputs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command.h"

// Where writing to path would have its effect: the file's folder without links, and its name. NULL: nowhere, or out of
// memory.
static char *place_of(const char *path)
{
    char *file = file_resolve(path), *slash = file ? strrchr(file, '/') : NULL, *place = NULL;
    if (slash)
        *slash = 0;
    char *folder = file ? realpath(!slash ? "." : slash == file ? "/" : file, NULL) : NULL;
    if (folder && asprintf(&place, "%s/%s", folder, slash ? slash + 1 : file) < 0)
        place = NULL;
    free(folder);
    free(file);
    return place;
}

static bool are_one(const char *a, const char *b)
{
    if (!strcmp(a, "-") || !strcmp(b, "-"))
        return !strcmp(a, b);
    if (file_is_special(a)) // /dev/null takes everything
        return false;
    char *place = place_of(a), *other = place_of(b);
    bool one = place && other && !strcmp(place, other);
    free(place);
    free(other);
    return one;
}

int outputs_differ(const struct command *c, int n, const struct output_name *names)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i && names[i].path; j++) {
            if (!names[j].path || (names[i].is_read && !strcmp(names[i].path, "-")) ||
                !are_one(names[i].path, names[j].path))
                continue;
            if (names[i].is_read)
                return options_fail(c, "%s would overwrite '%s', which is read", names[j].option, names[i].path);
            return options_fail(c, "%s and %s both name %s", names[j].option, names[i].option,
                                strcmp(names[i].path, "-") ? names[i].path : "standard output");
        }
    return -1;
}

int outputs_add(struct outputs *o, const char *path, const void *data, size_t size, struct diags *diags)
{
    char *message = NULL;
    if (!path || !strcmp(path, "-")) {
        o->printed[o->n_printed].data = data;
        o->printed[o->n_printed++].size = size;
        return EXIT_OK;
    }
    return file_prepare(&o->files[o->n_files++], path, data, size, &message) ? command_report(diags, message) : EXIT_OK;
}

static int print(const void *data, size_t size, struct diags *diags)
{
    if (fwrite(data, 1, size, stdout) == size && !fflush(stdout))
        return EXIT_OK;
    diag_error(diags, (struct loc){0}, "cannot write to standard output: %s", strerror(errno));
    return EXIT_ERROR;
}

int outputs_commit(struct outputs *o, struct diags *diags)
{
    char *message = NULL;
    int status = EXIT_OK;
    for (int i = 0; i < o->n_printed && status == EXIT_OK; i++)
        status = print(o->printed[i].data, o->printed[i].size, diags);
    for (int i = 0; i < o->n_files && status == EXIT_OK; i++)
        if (file_commit(&o->files[i], &message))
            status = command_report(diags, message);
    outputs_discard(o);
    return status;
}

void outputs_discard(struct outputs *o)
{
    for (int i = 0; i < o->n_files; i++)
        file_discard(&o->files[i]);
    *o = (struct outputs){0};
}
