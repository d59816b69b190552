#include "tools/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/file.h"
#include "codegen/link.h"
#include "passes/schedule.h"

bool command_is_model(const char *path)
{
    return command_ends_in(path, ".onnx");
}

bool command_ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = ending ? strlen(ending) : 0;
    return m && n > m && !strcmp(path + n - m, ending);
}

// ---- Reading ---------------------------------------------------------------------------------------------------

// Returns 0; else a message has been reported.
static int read_file(const char *path, struct driver_buffer *text, struct diags *diags)
{
    char *message = NULL;
    if (!file_read(path, text, &message))
        return 0;
    diag_error(diags, (struct loc){0}, "%s", message ? message : "out of memory");
    free(message);
    return 1;
}

// How messages call a file.
static const char *shown(const char *path)
{
    return strcmp(path, "-") ? path : "<stdin>";
}

int command_compile_options(const struct shared_options *shared, struct compile_options *options, struct diags *diags)
{
    *options = (struct compile_options){.opt_level = (int)shared->opt_level, .pipeline = shared->pipeline};
    if (compile_target(shared->target, &options->target, diags))
        return 1;
    if (!shared->schedule)
        return 0;
    struct driver_buffer text = {0};
    if (read_file(shared->schedule, &text, diags))
        return 1;
    options->pipeline.schedules = schedules_read(&diags->arena, text.data, text.size, shown(shared->schedule), diags);
    driver_buffer_finish(&text);
    return !options->pipeline.schedules;
}

// The text of -D NAME=VALUE; NULL after complaining.
static struct define *read_defines(const struct command *c, struct arena *a, const struct words *words)
{
    struct define *defines = ARENA_ARRAY(a, struct define, words->n + 1);
    for (int i = 0; i < words->n; i++) {
        char name[128];
        if (!option_split(words->word[i], name, sizeof name, &defines[i].value) || !defines[i].value) {
            options_fail(c, "-D wants NAME=VALUE, not '%s'", words->word[i]);
            return NULL;
        }
        defines[i].name = arena_strdup(a, name);
    }
    return defines;
}

const struct import_dim *command_dims(const struct command *c, struct arena *a, const struct words *words)
{
    struct import_dim *dims = ARENA_ARRAY(a, struct import_dim, words->n + 1);
    for (int i = 0; i < words->n; i++) {
        char name[128];
        const char *value;
        if (!option_split(words->word[i], name, sizeof name, &value) || !value || !option_int(value, &dims[i].value)) {
            options_fail(c, "--dim wants NAME=SIZE, not '%s'", words->word[i]);
            return NULL;
        }
        dims[i].name = arena_strdup(a, name);
        for (int j = 0; j < i; j++)
            if (!strcmp(dims[j].name, name)) {
                options_fail(c, "--dim gives '%s' twice", name);
                return NULL;
            }
    }
    return dims;
}

static struct module *read_text(const char *path, int n_defines, const struct define *defines, struct diags *diags)
{
    struct driver_buffer text = {0};
    if (read_file(path, &text, diags))
        return NULL;
    struct module *m = compile_read(text.data, text.size, shown(path), n_defines, defines, diags);
    driver_buffer_finish(&text);
    return m;
}

static struct module *import(struct command_source *source, const char *path, const struct import_options *options,
                             struct diags *diags)
{
    source->model = model_read_file(path, diags);
    struct module *m = source->model ? import_model(source->model, options, diags) : NULL;
    if (m && !verify_module(m, diags)) {
        module_destroy(m);
        m = NULL;
    }
    return m;
}

int command_open(const struct command *c, const char *path, const struct command_given *given,
                 struct command_source *source, struct diags *diags)
{
    static const struct words none;
    const struct words *definitions = given->definitions ? given->definitions : &none;
    const struct words *sizes = given->sizes ? given->sizes : &none;
    *source = (struct command_source){0};
    arena_init(&source->arena);
    const struct define *defines = read_defines(c, &source->arena, definitions);
    const struct import_dim *dims = command_dims(c, &source->arena, sizes);
    if (!defines || !dims)
        return EXIT_USAGE;
    if (sizes->n && !command_is_model(path))
        return options_fail(c, "--dim is for ONNX models");
    struct import_options options = {sizes->n, dims, given->n_inputs, given->inputs};
    source->module = command_is_model(path) ? import(source, path, &options, diags)
                                            : read_text(path, definitions->n, defines, diags);
    return source->module ? EXIT_OK : EXIT_ERROR;
}

void command_close(struct command_source *source)
{
    module_destroy(source->module);
    model_destroy(source->model);
    arena_finish(&source->arena);
}

// ---- Writing ---------------------------------------------------------------------------------------------------

int command_report(struct diags *diags, char *message)
{
    diag_error(diags, (struct loc){0}, "%s", message ? message : "out of memory");
    free(message);
    return EXIT_ERROR;
}

int command_write(const char *path, const void *data, size_t size, struct diags *diags)
{
    char *message = NULL;
    if (path && strcmp(path, "-")) {
        if (!file_write(path, data, size, &message))
            return EXIT_OK;
        return command_report(diags, message);
    }
    if (fwrite(data, 1, size, stdout) == size && !fflush(stdout))
        return EXIT_OK;
    diag_error(diags, (struct loc){0}, "cannot write to standard output: %s", strerror(errno));
    return EXIT_ERROR;
}

int command_finish(const struct command *c, struct diags *diags, int status)
{
    fflush(stdout);
    diag_print(diags, stderr, options_color(c));
    if (diags->n_errors && status == EXIT_OK)
        status = EXIT_ERROR;
    diag_finish(diags);
    return status;
}
