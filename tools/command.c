#include "tools/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

int command_compile_options(const struct command *c, const struct shared_options *shared,
                            struct compile_options *options, struct diags *diags)
{
    if (strchr(shared->target, ','))
        return options_fail(c, "--target takes one name here, not '%s'", shared->target);
    *options = (struct compile_options){.opt_level = (int)shared->opt_level, .pipeline = shared->pipeline};
    if (compile_target(shared->target, &options->target, diags))
        return EXIT_ERROR;
    if (!shared->schedule)
        return EXIT_OK;
    struct driver_buffer text = {0};
    if (read_file(shared->schedule, &text, diags))
        return EXIT_ERROR;
    options->pipeline.schedules = schedules_read(&diags->arena, text.data, text.size, shown(shared->schedule), diags);
    driver_buffer_finish(&text);
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

// Decides on the content, which is read as a whole if it cannot be read twice. Returns EXIT_OK, or another status after
// complaining.
static int examine(const char *path, struct command_source *source, bool *text, struct diags *diags)
{
    struct stat st;
    bool named = strcmp(path, "-");
    if (named && stat(path, &st)) {
        diag_error(diags, (struct loc){.file = path}, "cannot be opened: %s", strerror(errno));
        return EXIT_ERROR;
    }
    if (named && S_ISDIR(st.st_mode)) {
        diag_error(diags, (struct loc){.file = path}, "is a folder, not a file");
        return EXIT_ERROR;
    }
    FILE *in = named && S_ISREG(st.st_mode) ? fopen(path, "rb") : NULL;
    if (!in && read_file(path, &source->bytes, diags)) // that it cannot be opened, too
        return EXIT_ERROR;
    char start[START];
    size_t n = in ? fread(start, 1, sizeof start, in) : 0;
    *text = in ? is_text(start, n) : is_text(source->bytes.data, source->bytes.size);
    if (in)
        fclose(in);
    return EXIT_OK;
}

// A text is read as a whole; a model's bytes only if they cannot be read twice.
static int read_source(struct command_source *source, bool text, struct diags *diags)
{
    struct driver_buffer *bytes = &source->bytes;
    if (text)
        return !bytes->data && read_file(source->path, bytes, diags) ? EXIT_ERROR : EXIT_OK;
    source->model = bytes->data ? model_read_memory(bytes->data, bytes->size, shown(source->path), NULL, diags)
                                : model_read_file(source->path, diags);
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

int command_open(const struct command *c, const char *path, const struct command_given *given,
                 struct command_source *source, struct diags *diags)
{
    static const struct words none;
    const struct words *definitions = given->definitions ? given->definitions : &none;
    const struct words *sizes = given->sizes ? given->sizes : &none;
    bool text;
    *source = (struct command_source){.path = path};
    arena_init(&source->arena);
    source->defines = read_defines(c, &source->arena, definitions);
    const struct import_dim *dims = command_dims(c, &source->arena, sizes);
    if (!source->defines || !dims)
        return EXIT_USAGE;
    if (examine(path, source, &text, diags))
        return EXIT_ERROR;
    if (!text && given->definitions_are_sizes) {
        sizes = definitions;
        definitions = &none;
        dims = command_dims(c, &source->arena, sizes);
        if (!dims)
            return EXIT_USAGE;
    }
    if (sizes->n && text)
        return options_fail(c, "--dim is for ONNX models");
    if (definitions->n && !text)
        return options_fail(c, "-D is for text of functions; --dim gives the sizes of a model");
    source->n_defines = definitions->n;
    source->options = (struct import_options){sizes->n, dims, given->n_inputs, given->inputs};
    if (read_source(source, text, diags) == EXIT_OK)
        source->module = command_make_module(source, diags);
    return source->module ? EXIT_OK : EXIT_ERROR;
}

int command_open_model(const char *path, struct command_source *source, struct diags *diags)
{
    bool text;
    *source = (struct command_source){.path = path};
    arena_init(&source->arena);
    if (examine(path, source, &text, diags))
        return EXIT_ERROR;
    if (!text)
        return read_source(source, false, diags);
    diag_error(diags, (struct loc){.file = shown(path)}, "is text, not an ONNX model");
    return EXIT_ERROR;
}

void command_close(struct command_source *source)
{
    module_destroy(source->module);
    model_destroy(source->model);
    driver_buffer_finish(&source->bytes);
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
