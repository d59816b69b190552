// Tensor data in one form, wherever the file keeps it.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "frontend/external.h"
#include "frontend/model.h"

#define MOST_DIMS 255

enum field { FIELD_FLOAT, FIELD_INT32, FIELD_STRING, FIELD_INT64, FIELD_DOUBLE, FIELD_UINT64, FIELD_COUNT };

static const char *const field_names[FIELD_COUNT] = {"float_data", "int32_data",  "string_data",
                                                     "int64_data", "double_data", "uint64_data"};

static const struct type {
    int number, bits;
    enum field field;
} types[] = {
#define ONNX_TYPE(number, name, dtype, bits, field) {number, bits, FIELD_##field},
#include "frontend/onnx_type.def"
#undef ONNX_TYPE
};

struct fetch {
    struct model *m;
    struct loc loc;
    struct diags *diags;
    const TgOnnx__TensorProto *t;
    const struct type *type;
    struct tensor_data out;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct fetch *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(&f->m->arena, format, args);
    va_end(args);
    bool named = f->t->name && *f->t->name;
    diag_error(f->diags, f->loc, "tensor%s%s: %s", named ? " " : "", named ? model_quote(f->m, f->t->name) : "", text);
    return false;
}

static bool fetch_type(struct fetch *f)
{
    int32_t number = f->t->data_type;
    if (!number)
        return fail(f, "it has no element type; store it with one");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].number == number)
            f->type = &types[i];
    f->out.dtype = onnx_type_dtype(number);
    if (!f->type || (f->out.dtype == DTYPE_NONE && number != ONNX_STRING))
        return fail(f, "its element type %s is not supported; store it as FLOAT, INT8 or another that is",
                    onnx_type_name(&f->m->arena, number));
    f->out.onnx_type = number;
    f->out.bits = f->type->bits;
    return true;
}

static bool fetch_shape(struct fetch *f)
{
    const TgOnnx__TensorProto *t = f->t;
    if (t->n_dims > MOST_DIMS)
        return fail(f, "it has %zu dimensions; %d are the most", t->n_dims, MOST_DIMS);
    int64_t n = 1;
    bool empty = false, overflow = false;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 0)
            return fail(f, "dimension %zu is negative: %" PRId64, i, t->dims[i]);
        empty |= !t->dims[i];
        overflow |= __builtin_mul_overflow(n, t->dims[i], &n);
    }
    if (!empty && (overflow || n > INT64_MAX / 128)) // 128: the bits of the largest type
        return fail(f, "it has too many elements");
    f->out.rank = (int)t->n_dims;
    f->out.dims = t->dims;
    f->out.n = empty ? 0 : n;
    f->out.bytes = (f->out.n * f->out.bits + 7) / 8;
    return true;
}

// ---- Typed data ----

static size_t field_length(const TgOnnx__TensorProto *t, enum field field)
{
    const size_t lengths[FIELD_COUNT] = {t->n_float_data, t->n_int32_data,  t->n_string_data,
                                         t->n_int64_data, t->n_double_data, t->n_uint64_data};
    return lengths[field];
}

static bool has_typed_data(const TgOnnx__TensorProto *t)
{
    for (int i = 0; i < FIELD_COUNT; i++)
        if (field_length(t, (enum field)i))
            return true;
    return false;
}

// Numbers of a field that is wider than the type. `bits` of each count: those of an element, or of a byte that packs
// several elements.
static bool narrow(struct fetch *f, int bits)
{
    const TgOnnx__TensorProto *t = f->t;
    bool is_signed = f->type->bits >= 8 && f->out.dtype != DTYPE_NONE && dtype_is_signed(f->out.dtype);
    bool pattern = f->type->bits < 8 || dtype_is_float(f->out.dtype); // some writers extend its sign
    int64_t low = is_signed || pattern ? -(INT64_C(1) << (bits - 1)) : 0;
    int64_t high = is_signed ? (INT64_C(1) << (bits - 1)) - 1 : (INT64_C(1) << bits) - 1;
    bool from_uint64 = f->type->field == FIELD_UINT64, boolean = f->out.dtype == DTYPE_I1;
    size_t n = field_length(t, f->type->field);
    uint8_t *data = arena_alloc(&f->m->arena, (size_t)f->out.bytes);
    for (size_t i = 0; i < n; i++) {
        if (from_uint64 && t->uint64_data[i] > (uint64_t)high)
            return fail(f, "element %zu does not fit its type: %" PRIu64, i, t->uint64_data[i]);
        int64_t v = from_uint64 ? (int64_t)t->uint64_data[i] : t->int32_data[i];
        if (boolean)
            v = v != 0;
        if (v < low || v > high)
            return fail(f, "element %zu does not fit its type: %" PRId64, i, v);
        uint64_t pattern_bits = (uint64_t)v & ((UINT64_C(1) << bits) - 1);
        if (bits % 8 == 0) {
            memcpy(data + i * (size_t)(bits / 8), &pattern_bits, (size_t)(bits / 8));
        } else { // 6 bits
            size_t at = i * (size_t)bits;
            data[at / 8] |= (uint8_t)(pattern_bits << at % 8);
            if (at % 8 + (size_t)bits > 8)
                data[at / 8 + 1] |= (uint8_t)(pattern_bits >> (8 - at % 8));
        }
    }
    f->out.data = data;
    return true;
}

static bool fetch_typed(struct fetch *f)
{
    const TgOnnx__TensorProto *t = f->t;
    f->out.source = TENSOR_TYPED;
    for (int i = 0; i < FIELD_COUNT; i++)
        if (i != (int)f->type->field && field_length(t, (enum field)i))
            return fail(f, "its type is %s, but it has data in %s", onnx_type_name(&f->m->arena, f->out.onnx_type),
                        field_names[i]);
    // Types of 4 and 2 bits are packed into bytes, an entry each; others have an entry for each element.
    int per_entry = f->type->bits == 4 ? 2 : f->type->bits == 2 ? 4 : 1;
    size_t wanted = (size_t)((f->out.n + per_entry - 1) / per_entry), n = field_length(t, f->type->field);
    if (n != wanted)
        return fail(f,
                    n ? "its shape needs %zu entries in %s, there are %zu"
                      : "its shape needs %zu entries in %s, there are none",
                    wanted, field_names[f->type->field], n);
    switch (f->type->field) {
    case FIELD_FLOAT:
        f->out.data = t->float_data;
        return true;
    case FIELD_DOUBLE:
        f->out.data = t->double_data;
        return true;
    case FIELD_INT64:
        f->out.data = t->int64_data;
        return true;
    case FIELD_STRING:
        f->out.strings = t->string_data;
        return true;
    case FIELD_INT32:
        if (f->type->bits != 32)
            return narrow(f, f->type->bits * per_entry);
        f->out.data = t->int32_data;
        return true;
    default:
        if (f->type->bits != 64)
            return narrow(f, f->type->bits);
        f->out.data = t->uint64_data;
        return true;
    }
}

// ---- Bytes ----

static bool check_bytes(struct fetch *f, uint64_t length, const char *what)
{
    if (f->out.onnx_type == ONNX_STRING)
        return fail(f, "strings cannot be in %s", what);
    if (length != (uint64_t)f->out.bytes)
        return fail(f, "its shape needs %" PRId64 " bytes, but %s has %" PRIu64, f->out.bytes, what, length);
    return true;
}

static bool fetch_raw(struct fetch *f)
{
    f->out.source = TENSOR_RAW;
    if (has_typed_data(f->t))
        return fail(f, "it has raw_data and typed data as well");
    f->out.data = f->t->raw_data.data;
    return check_bytes(f, f->t->raw_data.len, "raw_data");
}

// Decimal digits only.
static bool read_number(struct fetch *f, const char *key, const char *value, uint64_t *out)
{
    uint64_t n = 0;
    const char *p = value;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
            return fail(f, "the %s of its external data is too large: %s", key, model_quote(f->m, value));
    if (*p || p == value)
        return fail(f, "the %s of its external data is no non-negative number: %s", key, model_quote(f->m, value));
    *out = n;
    return true;
}

static bool fetch_external(struct fetch *f)
{
    const TgOnnx__TensorProto *t = f->t;
    static const char *const keys[] = {"location", "offset", "length"}; // others say nothing about where it is
    const char *values[3] = {0};
    f->out.source = TENSOR_EXTERNAL;
    if (t->raw_data.len || has_typed_data(t))
        return fail(f, "it has external data and data in the file as well");
    for (size_t i = 0; i < t->n_external_data; i++)
        for (int k = 0; k < 3; k++)
            if (t->external_data[i]->key && !strcmp(t->external_data[i]->key, keys[k])) {
                if (values[k])
                    return fail(f, "its external data has two entries '%s'", keys[k]);
                values[k] = t->external_data[i]->value ? t->external_data[i]->value : "";
            }
    uint64_t offset = 0, length = (uint64_t)f->out.bytes, size;
    const uint8_t *data;
    if (!values[0])
        return fail(f, "its external data has no location");
    if ((values[1] && !read_number(f, keys[1], values[1], &offset)) ||
        (values[2] && !read_number(f, keys[2], values[2], &length)) || !check_bytes(f, length, "its external data"))
        return false;
    const char *wrong = external_map(f->m->external, values[0], &data, &size);
    if (wrong)
        return fail(f, "its external data file %s %s", model_quote(f->m, values[0]), wrong);
    if (offset > size || length > size - offset)
        return fail(f,
                    "its external data, %" PRIu64 " bytes at %" PRIu64 ", goes beyond the end of %s, which has %" PRIu64
                    " bytes",
                    length, offset, model_quote(f->m, values[0]), size);
    f->out.data = length ? data + offset : NULL;
    return true;
}

// Booleans in files are any byte; ours are 0 and 1.
static void normalize_booleans(struct fetch *f)
{
    const uint8_t *data = f->out.data;
    int64_t i = 0;
    while (i < f->out.n && data[i] <= 1)
        i++;
    if (i == f->out.n)
        return;
    uint8_t *copy = arena_copy(&f->m->arena, data, (size_t)f->out.n);
    for (; i < f->out.n; i++)
        copy[i] = copy[i] != 0;
    f->out.data = copy;
    f->out.mapped = false;
}

// Short raw data has been copied from the file.
static bool is_mapped(const struct fetch *f)
{
    const struct wire *w = &f->m->wire;
    uintptr_t at = (uintptr_t)f->out.data, begin = (uintptr_t)w->in;
    return f->out.data && (f->out.source == TENSOR_EXTERNAL || (f->m->mapped && at >= begin && at < begin + w->size));
}

static bool fetch(struct fetch *f)
{
    const TgOnnx__TensorProto *t = f->t;
    if (t->segment)
        return fail(f, "it is a segment of a tensor, which is not supported");
    if (!fetch_type(f) || !fetch_shape(f))
        return false;
    bool done;
    if (t->data_location == 1)
        done = fetch_external(f);
    else if (t->data_location)
        return fail(f, "its data is in the unknown location %d", t->data_location);
    else if (t->n_external_data)
        return fail(f, "it has external data, but its location is not set to EXTERNAL");
    else if (t->raw_data.len || (t->has_raw_data && !has_typed_data(t)))
        done = fetch_raw(f);
    else
        done = fetch_typed(f);
    f->out.mapped = done && is_mapped(f);
    if (done && f->out.dtype == DTYPE_I1)
        normalize_booleans(f);
    if (!f->out.n)
        f->out.data = NULL;
    return done;
}

int model_tensor(struct model *m, const TgOnnx__TensorProto *t, struct tensor_data *out, struct diags *diags)
{
    return model_tensor_at(m, (struct loc){.file = m->file}, t, out, diags);
}

int model_tensor_at(struct model *m, struct loc loc, const TgOnnx__TensorProto *t, struct tensor_data *out,
                    struct diags *diags)
{
    const struct tensor_data *known = map_find(&m->tensors, &t, sizeof t);
    if (known) {
        *out = *known;
        return 0;
    }
    struct fetch f = {.m = m, .loc = loc, .diags = diags, .t = t};
    if (!fetch(&f))
        return 1;
    *out = f.out;
    // Only what was copied is worth remembering.
    bool copied = f.out.data && (f.out.source == TENSOR_TYPED || f.out.dtype == DTYPE_I1);
    if (copied) {
        struct {
            const TgOnnx__TensorProto *key;
            struct tensor_data value;
        } *entry = arena_alloc(&m->arena, sizeof *entry);
        entry->key = t;
        entry->value = f.out;
        map_insert(&m->tensors, &m->arena, &entry->key, sizeof entry->key, &entry->value);
    }
    return 0;
}
