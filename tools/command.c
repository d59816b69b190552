#include "tools/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/file.h"
#include "codegen/link.h"
#include "passes/schedule.h"
#include "tools/outputs.h"

bool command_ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = ending ? strlen(ending) : 0;
    return m && n > m && !strcmp(path + n - m, ending);
}

// ---- Reading ---------------------------------------------------------------------------------------------------

// How messages call a file.
static const char *shown(const char *path)
{
    return strcmp(path, "-") ? path : "<stdin>";
}

static int open_bytes(const char *path, struct file_bytes *out, struct diags *diags)
{
    int status =
        strcmp(path, "-") ? bytes_open(path, out, diags) : bytes_open_fd(STDIN_FILENO, shown(path), out, diags);
    return status ? EXIT_ERROR : EXIT_OK;
}

int command_compile_options(const struct command *c, const struct shared_options *shared,
                            struct compile_options *options, struct diags *diags)
{
    if (strchr(shared->target, ','))
        return options_fail(c, "--target takes one name here, not '%s'", shared->target);
    const char *steps = shared->pipeline.bisect;
    int64_t number;
    if (steps && (!option_int(steps, &number) || number < 0))
        return options_fail(c, "--bisect wants a number of steps, not '%s'", steps);
    *options = (struct compile_options){.opt_level = (int)shared->opt_level, .pipeline = shared->pipeline};
    if (compile_target(shared->target, &options->target, diags))
        return EXIT_ERROR;
    if (!shared->schedule)
        return EXIT_OK;
    struct file_bytes text = {0};
    if (open_bytes(shared->schedule, &text, diags) != EXIT_OK)
        return EXIT_ERROR;
    options->pipeline.schedules = schedules_read(&diags->arena, text.data, text.size, shown(shared->schedule), diags);
    bytes_close(&text);
    return options->pipeline.schedules ? EXIT_OK : EXIT_ERROR;
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
        for (int j = 0; j < i; j++)
            if (!strcmp(defines[j].name, name)) {
                options_fail(c, "-D gives '%s' twice", name);
                return NULL;
            }
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

// ---- What a file holds -----------------------------------------------------------------------------------------

#define START 4096 // bytes that decide it

// The functions of a text stand behind blanks and comments.
static bool begins_as_functions(const char *s, const char *end)
{
    static const char *const words[] = {"kernel", "graph", "host"};
    while (s < end && (isspace((unsigned char)*s) || (*s == '/' && s + 1 < end && s[1] == '/')))
        if (*s == '/')
            while (s < end && *s != '\n')
                s++;
        else
            s++;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(end - s) > n && !memcmp(s, words[i], n) && (isspace((unsigned char)s[n]) || s[n] == '@'))
            return true;
    }
    return s == end; // comments alone, as far as has been read
}

// Text of functions, if faulty. A model is what no text can be; what a model's reader knows by name is left to it.
static bool is_text(const char *bytes, size_t size)
{
    size = size < START ? size : START;
    if (size && begins_as_functions(bytes, bytes + size))
        return true;
    bool text = size && !model_other_format(bytes, size);
    for (size_t i = 0; i < size; i++)
        text &= (unsigned char)bytes[i] >= ' ' || isspace((unsigned char)bytes[i]);
    return text;
}

// The bytes, and what they are. Returns EXIT_OK, or another status after complaining.
static int examine(struct command_source *source, struct diags *diags)
{
    int status = open_bytes(source->path, &source->bytes, diags);
    source->text = status == EXIT_OK && is_text(source->bytes.data, source->bytes.size);
    return status;
}

static int read_model(struct command_source *source, struct diags *diags)
{
    const struct file_bytes *bytes = &source->bytes;
    source->model = strcmp(source->path, "-")
                        ? model_read_bytes(bytes, source->path, diags)
                        : model_read_memory(bytes->data, bytes->size, shown(source->path), NULL, diags);
    return source->model ? EXIT_OK : EXIT_ERROR;
}

struct module *command_make_module(const struct command_source *source, struct diags *diags)
{
    if (!source->model)
        return compile_read(source->bytes.data, source->bytes.size, shown(source->path), source->n_defines,
                            source->defines, diags);
    struct module *m = import_model(source->model, &source->options, diags);
    if (m && !verify_module(m, diags)) {
        module_destroy(m);
        m = NULL;
    }
    return m;
}

int command_begin(const struct command *c, const char *path, const struct command_given *given,
                  struct command_source *source, struct diags *diags)
{
    static const struct words none;
    const struct words *definitions = given->definitions ? given->definitions : &none;
    const struct words *sizes = given->sizes ? given->sizes : &none;
    *source = (struct command_source){.path = path};
    arena_init(&source->arena);
    source->defines = read_defines(c, &source->arena, definitions);
    const struct import_dim *dims = command_dims(c, &source->arena, sizes);
    if (!source->defines || !dims)
        return EXIT_USAGE;
    if (examine(source, diags) != EXIT_OK)
        return EXIT_ERROR;
    if (!source->text && given->definitions_are_sizes) {
        sizes = definitions;
        definitions = &none;
        dims = command_dims(c, &source->arena, sizes);
        if (!dims)
            return EXIT_USAGE;
    }
    if (sizes->n && source->text)
        return options_fail(c, "--dim is for ONNX models");
    if (definitions->n && !source->text)
        return options_fail(c, "-D is for text of functions; --dim gives the sizes of a model");
    source->n_defines = definitions->n;
    source->options = (struct import_options){sizes->n, dims, given->n_inputs, given->inputs};
    return EXIT_OK;
}

int command_read(struct command_source *source, struct diags *diags)
{
    if (!source->text && read_model(source, diags) != EXIT_OK)
        return EXIT_ERROR;
    source->module = command_make_module(source, diags);
    return source->module ? EXIT_OK : EXIT_ERROR;
}

int command_open(const struct command *c, const char *path, const struct command_given *given,
                 struct command_source *source, struct diags *diags)
{
    int status = command_begin(c, path, given, source, diags);
    return status == EXIT_OK ? command_read(source, diags) : status;
}

int command_open_model(const char *path, struct command_source *source, struct diags *diags)
{
    *source = (struct command_source){.path = path};
    arena_init(&source->arena);
    if (examine(source, diags) != EXIT_OK)
        return EXIT_ERROR;
    if (!source->text)
        return read_model(source, diags);
    diag_error(diags, (struct loc){.file = shown(path)}, "is text, not an ONNX model");
    return EXIT_ERROR;
}

void command_close(struct command_source *source)
{
    module_destroy(source->module);
    model_destroy(source->model);
    bytes_close(&source->bytes);
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
    struct outputs one = {0};
    int status = outputs_add(&one, path, data, size, diags);
    return status == EXIT_OK ? outputs_commit(&one, diags) : status;
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
