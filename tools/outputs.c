#include "tools/outputs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/command.h"

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
