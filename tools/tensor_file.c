// Tensor files: which format, the bytes in and out.
#include "tools/tensor_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codegen/file.h"

#define LONGEST_QUOTE 80
#define MOST_PB_BYTES ((size_t)INT32_MAX) // what protobuf readers take

// ---- For both formats ----

bool tensor_fail(const struct tensor_input *in, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    diag_error(in->diags, (struct loc){.file = in->path}, "%s", arena_vprintf(&in->diags->arena, format, args));
    va_end(args);
    return false;
}

const char *tensor_quote(const struct tensor_input *in, const void *text, size_t length)
{
    const unsigned char *s = text;
    char quote[4 * LONGEST_QUOTE + 1];
    size_t used = 0, n = length < LONGEST_QUOTE ? length : LONGEST_QUOTE;
    for (size_t i = 0; i < n; i++) {
        if (s[i] >= 0x20 && s[i] < 0x7f)
            quote[used++] = (char)s[i];
        else
            used += (size_t)sprintf(quote + used, "\\x%02x", s[i]);
    }
    quote[used] = '\0';
    return arena_printf(&in->diags->arena, "'%s%s'", quote, n < length ? "..." : "");
}

const char *tensor_shape_text(const struct tensor_input *in, const struct tensor_file *t)
{
    const char *text = t->rank ? "" : "scalar";
    for (int i = 0; i < t->rank; i++)
        text = arena_printf(&in->diags->arena, "%s%s%" PRId64, text, i ? "x" : "", t->dims[i]);
    return text;
}

bool tensor_size(const struct tensor_input *in, struct tensor_file *t)
{
    int64_t n = dtype_bytes(t->dtype);
    bool empty = false, overflow = false;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] < 0)
            return tensor_fail(in, "dimension %d is negative: %" PRId64, i, t->dims[i]);
        empty |= !t->dims[i];
        if (t->dims[i]) // so that strides fit as well
            overflow |= __builtin_mul_overflow(n, t->dims[i], &n);
    }
    if (overflow)
        return tensor_fail(in, "its shape %s is too large for any file", tensor_shape_text(in, t));
    t->bytes = empty ? 0 : n;
    return true;
}

static uint8_t *align(uint8_t *p)
{
    return p + (-(uintptr_t)p & (TENSOR_FILE_ALIGNMENT - 1));
}

void *tensor_alloc(const struct tensor_input *in, int64_t bytes)
{
    return align(arena_alloc(in->arena, (size_t)bytes + TENSOR_FILE_ALIGNMENT));
}

void tensor_use(const struct tensor_input *in, struct tensor_file *t, size_t at)
{
    uint8_t *data = in->bytes + at, *place = align(in->bytes);
    if (align(data) == data) {
        t->data = data;
        return;
    }
    if (place > data) // what comes before is too short
        place = tensor_alloc(in, t->bytes);
    memmove(place, data, (size_t)t->bytes);
    t->data = place;
}

// ---- Reading ----

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static const struct {
    const char *start, *what;
} other_formats[] = {
    {"PK\x03\x04", "an archive of several arrays (.npz); unzip it and give one of the .npy files in it"},
    {"version https://git-lfs", "a git-lfs pointer, not the tensor itself; run 'git lfs pull'"},
    {"\x80\x02", "a Python pickle; save the array with numpy.save"},
    {"\x80\x03", "a Python pickle; save the array with numpy.save"},
    {"\x80\x04", "a Python pickle; save the array with numpy.save"},
    {"\x80\x05", "a Python pickle; save the array with numpy.save"},
};

static bool decode(const struct tensor_input *in, struct tensor_file *out)
{
    for (size_t i = 0; i < sizeof other_formats / sizeof *other_formats; i++) {
        size_t n = strlen(other_formats[i].start);
        if (in->size >= n && !memcmp(in->bytes, other_formats[i].start, n))
            return tensor_fail(in, "this is %s", other_formats[i].what);
    }
    if (!in->size)
        return tensor_fail(in, "the file is empty; it should hold a tensor, as .npy or .pb");
    if (tensor_is_npy(in->bytes, in->size))
        return tensor_npy_read(in, out);
    if (ends_with(in->path, ".npy"))
        return tensor_fail(in, "this is no .npy file: it does not start as one; save the array with numpy.save");
    return tensor_pb_read(in, out);
}

int tensor_file_decode(const char *path, uint8_t *bytes, size_t size, struct arena *a, struct tensor_file *out,
                       struct diags *diags)
{
    struct tensor_input in = {path, bytes, size, a, diags};
    struct tensor_file t = {0};
    if (!decode(&in, &t))
        return 1;
    *out = t;
    return 0;
}

// Fills in->bytes. Returns an error number, or -1 if the file has become shorter. Allocates nothing, since running out
// of memory would leave the file open.
static int read_bytes(const struct tensor_input *in)
{
    int fd = open(in->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), error = fd < 0 ? errno : 0;
    for (size_t done = 0; !error && done < in->size;) {
        ssize_t n = read(fd, in->bytes + done, in->size - done);
        if (n > 0)
            done += (size_t)n;
        else if (!n || errno != EINTR)
            error = n ? errno : -1;
    }
    if (fd >= 0)
        close(fd);
    return error;
}

static bool read_file(struct tensor_input *in)
{
    struct stat st;
    if (stat(in->path, &st))
        return tensor_fail(in, "cannot open: %s", strerror(errno));
    if (!S_ISREG(st.st_mode)) // a device may have no end
        return tensor_fail(in, "this is %s; give a file that holds one tensor, .npy or .pb",
                           S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
    in->size = (size_t)st.st_size;
    in->bytes = tensor_alloc(in, st.st_size);
    int error = read_bytes(in);
    if (error < 0)
        return tensor_fail(in, "the file became shorter while it was being read; try again");
    return error ? tensor_fail(in, "cannot read: %s", strerror(error)) : true;
}

int tensor_file_read(const char *path, struct arena *a, struct tensor_file *out, struct diags *diags)
{
    struct tensor_input in = {.path = path, .arena = a, .diags = diags};
    return read_file(&in) ? tensor_file_decode(path, in.bytes, in.size, a, out, diags) : 1;
}

// ---- Writing ----

// AUTO made definite; AUTO after a diagnostic if the type cannot be written.
static enum tensor_format choose(const char *path, const struct tensor_file *t, enum tensor_format format,
                                 struct diags *diags)
{
    struct loc loc = {.file = path};
    const char *type = dtype_info[t->dtype].name;
    bool exact = true;
    if (format == TENSOR_FORMAT_AUTO)
        format = ends_with(path, ".npy")  ? TENSOR_FORMAT_NPY
                 : ends_with(path, ".pb") ? TENSOR_FORMAT_PB
                                          : TENSOR_FORMAT_AUTO;
    if (format == TENSOR_FORMAT_AUTO) {
        diag_error(diags, loc, "which format? Let the name end in .npy or .pb, or say it");
    } else if (format == TENSOR_FORMAT_PB ? !tensor_pb_has(t->dtype) : !tensor_npy_has(t->dtype, &exact)) {
        diag_error(diags, loc, "elements of type %s cannot be written as %s", type,
                   format == TENSOR_FORMAT_PB ? ".pb" : ".npy; write .pb");
        return TENSOR_FORMAT_AUTO;
    } else if (!exact) {
        diag_note(diags, loc, "numpy has no %s: written as the bits, in u%d; a .pb file keeps the type", type,
                  (int)dtype_bytes(t->dtype));
    }
    return format;
}

uint8_t *tensor_file_encode(const char *path, const struct tensor_file *t, enum tensor_format format, size_t *size,
                            struct diags *diags)
{
    format = choose(path, t, format, diags);
    if (format == TENSOR_FORMAT_AUTO)
        return NULL;
    uint8_t *bytes = format == TENSOR_FORMAT_PB ? tensor_pb_encode(t, size) : tensor_npy_encode(t, size);
    if (!bytes) {
        diag_error(diags, (struct loc){.file = path}, "cannot write: out of memory");
    } else if (format == TENSOR_FORMAT_PB && *size > MOST_PB_BYTES) {
        diag_error(diags, (struct loc){.file = path}, "a .pb file holds at most 2 GiB; write .npy");
        free(bytes);
        return NULL;
    }
    return bytes;
}

int tensor_file_write(const char *path, const struct tensor_file *t, enum tensor_format format, struct diags *diags)
{
    size_t size;
    char *message = NULL;
    uint8_t *bytes = tensor_file_encode(path, t, format, &size, diags);
    if (!bytes)
        return 1;
    int status = file_write(path, bytes, size, &message);
    free(bytes);
    if (!status)
        return 0;
    diag_error(diags, (struct loc){0}, "%s", message ? message : "out of memory"); // it begins with the path
    free(message);
    return 1;
}
