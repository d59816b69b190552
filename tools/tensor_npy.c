// numpy's .npy: a magic number, a version, the length of the header, the header, the data.
//
// The header is the text of a Python dictionary:  {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
// The versions differ in the width of the length (1.0: two bytes; later: four) and in the characters that names of
// struct members may have, which do not matter here. Source: numpy.lib.format.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tensor_file.h"

#define MAGIC "\x93NUMPY"
#define HEADER_MULTIPLE 64 // of the start of the data
#define MOST_HEADER 512    // that we write: 8 dimensions of 20 bytes each

static const struct npy_type {
    char code[3]; // kind and bytes, as in a dtype's str
    enum dtype dtype;
    bool exact; // or its bits; only written
} types[] = {
    {"f8", DTYPE_F64, true},   {"f4", DTYPE_F32, true},     {"f2", DTYPE_F16, true},     {"i8", DTYPE_I64, true},
    {"i4", DTYPE_I32, true},   {"i2", DTYPE_I16, true},     {"i1", DTYPE_I8, true},      {"u8", DTYPE_U64, true},
    {"u4", DTYPE_U32, true},   {"u2", DTYPE_U16, true},     {"u1", DTYPE_U8, true},      {"b1", DTYPE_I1, true},
    {"u2", DTYPE_BF16, false}, {"u1", DTYPE_F8E4M3, false}, {"u1", DTYPE_F8E5M2, false}, {"i8", DTYPE_INDEX, true},
};

#define N_TYPES (sizeof types / sizeof *types)

// ---- The header ----

struct header {
    const struct tensor_input *in;
    const uint8_t *start, *at, *end;
    bool fortran, has_type, has_order, has_shape;
};

static bool damaged(const struct header *h, const char *wanted)
{
    return tensor_fail(h->in, "the .npy header is damaged: %s should be at its byte %td; save the array again", wanted,
                       h->at - h->start);
}

static void skip_space(struct header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t' || *h->at == '\r'))
        h->at++;
}

// Skips space and then the text, if it is there.
static bool accept(struct header *h, const char *text)
{
    size_t n = strlen(text);
    skip_space(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, text, n))
        return false;
    h->at += n;
    return true;
}

// A string without escapes; *s is in the header.
static bool parse_string(struct header *h, const uint8_t **s, size_t *length)
{
    skip_space(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"'))
        return damaged(h, "a string");
    uint8_t quote = *h->at++;
    *s = h->at;
    while (h->at < h->end && *h->at != quote && *h->at != '\\')
        h->at++;
    if (h->at == h->end || *h->at == '\\')
        return damaged(h, "the end of a string");
    *length = (size_t)(h->at++ - *s);
    return true;
}

static bool is_digit(const struct header *h)
{
    return h->at < h->end && *h->at >= '0' && *h->at <= '9';
}

static bool parse_size(struct header *h, int64_t *value)
{
    int64_t v = 0;
    skip_space(h);
    if (!is_digit(h))
        return damaged(h, "a size, 0 or more,");
    for (; is_digit(h); h->at++)
        if (__builtin_mul_overflow(v, INT64_C(10), &v) || __builtin_add_overflow(v, *h->at - '0', &v))
            return tensor_fail(h->in, "a size in its shape does not fit 64 bits");
    if (h->at < h->end && *h->at == 'L') // Python 2
        h->at++;
    *value = v;
    return true;
}

// A tuple: (), (3,), (3, 4).
static bool parse_shape(struct header *h, struct tensor_file *t)
{
    bool comma = true;
    if (!accept(h, "("))
        return damaged(h, "a shape like (2, 3)");
    while (!accept(h, ")")) {
        int64_t size = 0;
        if (!comma)
            return damaged(h, "',' or ')'");
        if (!parse_size(h, &size))
            return false;
        if (t->rank == TENSOR_FILE_MOST_DIMS)
            return tensor_fail(h->in, "it has more than %d dimensions; reshape the array", TENSOR_FILE_MOST_DIMS);
        t->dims[t->rank++] = size;
        comma = accept(h, ",");
    }
    return t->rank != 1 || comma ? true : damaged(h, "a tuple, (3,) and not (3),");
}

static bool parse_type(struct header *h, struct tensor_file *t, bool *big_endian)
{
    const uint8_t *s;
    size_t n;
    skip_space(h);
    if (h->at < h->end && *h->at == '[')
        return tensor_fail(h->in, "it is an array of structs; save each member as an array of its own");
    if (!parse_string(h, &s, &n))
        return false;
    for (size_t i = 0; n == 3 && i < N_TYPES; i++) {
        if (!types[i].exact || memcmp(s + 1, types[i].code, 2))
            continue;
        if (*s == '<' || *s == '>' || (*s == '|' && types[i].code[1] == '1')) {
            t->dtype = types[i].dtype;
            *big_endian = *s == '>';
            return true;
        }
    }
    return tensor_fail(h->in,
                       "numpy's element type %s is not supported; convert the array with astype, or give a .pb file "
                       "(for bfloat16 and float8)",
                       tensor_quote(h->in, s, n));
}

static bool parse_item(struct header *h, struct tensor_file *t, bool *big_endian)
{
    const uint8_t *key;
    size_t n;
    bool *seen;
    if (!parse_string(h, &key, &n))
        return false;
    if (n == 5 && !memcmp(key, "descr", n))
        seen = &h->has_type;
    else if (n == 13 && !memcmp(key, "fortran_order", n))
        seen = &h->has_order;
    else if (n == 5 && !memcmp(key, "shape", n))
        seen = &h->has_shape;
    else
        return tensor_fail(h->in, "the .npy header has the unknown key %s", tensor_quote(h->in, key, n));
    if (*seen)
        return tensor_fail(h->in, "the .npy header has the key %s twice", tensor_quote(h->in, key, n));
    *seen = true;
    if (!accept(h, ":"))
        return damaged(h, "':'");
    if (seen == &h->has_type)
        return parse_type(h, t, big_endian);
    if (seen == &h->has_shape)
        return parse_shape(h, t);
    h->fortran = accept(h, "True");
    return h->fortran || accept(h, "False") ? true : damaged(h, "True or False");
}

static bool parse_header(struct header *h, struct tensor_file *t, bool *big_endian)
{
    bool comma = true;
    if (!accept(h, "{"))
        return damaged(h, "'{'");
    while (!accept(h, "}")) {
        if (!comma)
            return damaged(h, "',' or '}'");
        if (!parse_item(h, t, big_endian))
            return false;
        comma = accept(h, ",");
    }
    skip_space(h);
    if (h->at != h->end)
        return damaged(h, "the end");
    if (!h->has_type || !h->has_order || !h->has_shape)
        return tensor_fail(h->in, "the .npy header lacks '%s'; save the array again",
                           !h->has_type    ? "descr"
                           : !h->has_order ? "fortran_order"
                                           : "shape");
    return true;
}

// ---- The data ----

static void swap_bytes(struct tensor_file *t)
{
    uint8_t *p = t->data;
    int64_t width = dtype_bytes(t->dtype);
    for (int64_t i = 0; i < t->bytes; i += width)
        for (int64_t k = 0; k < width / 2; k++) {
            uint8_t byte = p[i + k];
            p[i + k] = p[i + width - 1 - k];
            p[i + width - 1 - k] = byte;
        }
}

// From column-major to row-major.
static void transpose(const struct tensor_input *in, struct tensor_file *t)
{
    int64_t index[TENSOR_FILE_MOST_DIMS] = {0}, strides[TENSOR_FILE_MOST_DIMS], width = dtype_bytes(t->dtype);
    if (t->rank < 2 || !t->bytes)
        return;
    const uint8_t *from = t->data;
    uint8_t *to = tensor_alloc(in, t->bytes);
    t->data = to;
    strides[0] = width;
    for (int d = 1; d < t->rank; d++)
        strides[d] = strides[d - 1] * t->dims[d - 1];
    for (int64_t done = 0; done < t->bytes; done += width) {
        memcpy(to + done, from, (size_t)width);
        for (int d = t->rank - 1; d >= 0; d--) {
            from += strides[d];
            if (++index[d] < t->dims[d])
                break;
            from -= strides[d] * t->dims[d];
            index[d] = 0;
        }
    }
}

bool tensor_is_npy(const uint8_t *bytes, size_t size)
{
    return size >= sizeof MAGIC - 1 && !memcmp(bytes, MAGIC, sizeof MAGIC - 1);
}

bool tensor_npy_read(const struct tensor_input *in, struct tensor_file *t)
{
    size_t at = sizeof MAGIC - 1 + 2, wide, length = 0;
    uint8_t version = in->size >= at ? in->bytes[at - 2] : 0, minor = in->size >= at ? in->bytes[at - 1] : 0;
    if (in->size >= at && (version < 1 || version > 3 || minor))
        return tensor_fail(in, "version %d.%d of the .npy format is not known (1.0, 2.0 and 3.0 are)", version, minor);
    wide = version == 1 ? 2 : 4;
    if (in->size < at + wide)
        return tensor_fail(in, "the file is cut short within the .npy header");
    for (size_t i = 0; i < wide; i++)
        length |= (size_t)in->bytes[at + i] << 8 * i;
    at += wide;
    if (length > in->size - at)
        return tensor_fail(in, "the .npy header has %zu bytes, but the file ends after %zu of them", length,
                           in->size - at);

    struct header h = {.in = in, .start = in->bytes + at, .at = in->bytes + at, .end = in->bytes + at + length};
    bool big_endian = false;
    if (!parse_header(&h, t, &big_endian) || !tensor_size(in, t))
        return false;
    at += length;
    if ((uint64_t)t->bytes != in->size - at)
        return tensor_fail(in, "the shape %s of %s needs %" PRId64 " bytes of data, the file has %zu; %s",
                           tensor_shape_text(in, t), dtype_info[t->dtype].name, t->bytes, in->size - at,
                           (uint64_t)t->bytes > in->size - at ? "it was cut short" : "save one array for each file");
    tensor_use(in, t, at);
    if (big_endian)
        swap_bytes(t);
    if (h.fortran)
        transpose(in, t);
    uint8_t *boolean = t->dtype == DTYPE_I1 ? t->data : NULL;
    for (int64_t i = 0; boolean && i < t->bytes; i++)
        boolean[i] = boolean[i] != 0;
    return true;
}

// ---- Writing ----

static const struct npy_type *find(enum dtype t)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].dtype == t)
            return &types[i];
    return NULL;
}

bool tensor_npy_has(enum dtype t, bool *exact)
{
    const struct npy_type *type = find(t);
    *exact = type && type->exact;
    return type;
}

uint8_t *tensor_npy_encode(const struct tensor_file *t, size_t *size)
{
    const struct npy_type *type = find(t->dtype);
    char text[MOST_HEADER];
    size_t bytes = (size_t)t->bytes;
    int n = snprintf(text, sizeof text, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                     type->code[1] == '1' ? '|' : '<', type->code);
    for (int i = 0; i < t->rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%" PRId64 "%s", i ? " " : "", t->dims[i],
                      i + 1 < t->rank || t->rank == 1 ? "," : "");
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");

    size_t start = sizeof MAGIC - 1 + 4;
    size_t all = (start + (size_t)n + 1 + HEADER_MULTIPLE - 1) / HEADER_MULTIPLE * HEADER_MULTIPLE;
    uint8_t *out = malloc(all + bytes);
    if (!out)
        return NULL;
    memset(out, ' ', all);
    memcpy(out, MAGIC "\x01\x00", sizeof MAGIC - 1 + 2);
    out[start - 2] = (uint8_t)(all - start);
    out[start - 1] = (uint8_t)((all - start) >> 8);
    memcpy(out + start, text, (size_t)n);
    out[all - 1] = '\n';
    if (bytes)
        memcpy(out + all, t->data, bytes);
    *size = all + bytes;
    return out;
}
