// ONNX's TensorProto in a file of its own, as in the test data of ONNX models.
//
// A reader of its own for this one message, not protobuf-c: that would copy the data, and turn a hostile file of a few
// bytes into large structures. Types and their fields are those of frontend/onnx_type.def; what is refused is what
// frontend/tensor.c refuses of a model's tensors, and external data.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tensor_file.h"

enum { // fields of TensorProto
    FIELD_dims = 1,
    FIELD_data_type = 2,
    FIELD_segment = 3,
    FIELD_FLOAT = 4,
    FIELD_INT32 = 5,
    FIELD_STRING = 6,
    FIELD_INT64 = 7,
    FIELD_name = 8,
    FIELD_raw_data = 9,
    FIELD_DOUBLE = 10,
    FIELD_UINT64 = 11,
    FIELD_external_data = 13,
    FIELD_data_location = 14,
    N_FIELDS
};

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

// The wire type of a field; of an entry if it is a list of numbers, which may also be packed into WIRE_BYTES.
static const struct field_info {
    const char *name; // NULL: does not matter
    enum wire wire;
    bool list;
} fields[N_FIELDS] = {
    [FIELD_dims] = {"dims", WIRE_VARINT, true},
    [FIELD_data_type] = {"data_type", WIRE_VARINT, false},
    [FIELD_segment] = {"segment", WIRE_BYTES, false},
    [FIELD_FLOAT] = {"float_data", WIRE_32, true},
    [FIELD_INT32] = {"int32_data", WIRE_VARINT, true},
    [FIELD_STRING] = {"string_data", WIRE_BYTES, false},
    [FIELD_INT64] = {"int64_data", WIRE_VARINT, true},
    [FIELD_name] = {"name", WIRE_BYTES, false},
    [FIELD_raw_data] = {"raw_data", WIRE_BYTES, false},
    [FIELD_DOUBLE] = {"double_data", WIRE_64, true},
    [FIELD_UINT64] = {"uint64_data", WIRE_VARINT, true},
    [FIELD_external_data] = {"external_data", WIRE_BYTES, false},
    [FIELD_data_location] = {"data_location", WIRE_VARINT, false},
};

static const struct type {
    int number;
    const char *name, *dtype;
    int bits, field;
} types[] = {
#define ONNX_TYPE(number, name, dtype, bits, field) {number, #name, dtype, bits, FIELD_##field},
#include "frontend/onnx_type.def"
#undef ONNX_TYPE
};

#define N_TYPES (sizeof types / sizeof *types)

// DTYPE_NONE for types we do not have, or not with an element in whole bytes.
static enum dtype type_dtype(const struct type *type)
{
    enum dtype t = dtype_from_name(type->dtype, strlen(type->dtype));
    return t != DTYPE_NONE && dtype_bytes(t) * 8 == type->bits ? t : DTYPE_NONE;
}

// ---- The wire ----

struct field {
    int number;
    const struct field_info *info; // NULL: does not matter
    enum wire wire;
    const uint8_t *data; // of WIRE_BYTES what is in it; else the number itself, as if it were a packed list of one
    size_t length;
};

static bool read_varint(const uint8_t **p, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 70 && *p < end; shift += 7) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = v;
            return true;
        }
    }
    return false;
}

static bool damaged(const struct tensor_input *in, const uint8_t *at)
{
    return tensor_fail(in,
                       "this is no tensor, or a damaged one, at byte %td; give a .npy file, or a .pb file with an ONNX "
                       "TensorProto",
                       at - in->bytes);
}

// Reads the field at *at, which is not the end.
static bool next_field(const struct tensor_input *in, const uint8_t **at, struct field *f)
{
    const uint8_t *start = *at, *end = in->bytes + in->size, *p = start;
    uint64_t tag, value;
    if (!read_varint(&p, end, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return damaged(in, start);
    f->number = (int)(tag >> 3);
    f->wire = (enum wire)(tag & 7);
    f->info = f->number < N_FIELDS && fields[f->number].name ? &fields[f->number] : NULL;
    if (f->info && f->wire != f->info->wire && !(f->info->list && f->wire == WIRE_BYTES))
        return damaged(in, start);
    f->data = p;
    switch (f->wire) {
    case WIRE_VARINT:
        if (!read_varint(&p, end, &value))
            return damaged(in, start);
        f->length = (size_t)(p - f->data);
        break;
    case WIRE_BYTES:
        if (!read_varint(&p, end, &value))
            return damaged(in, start);
        if (value > (size_t)(end - p))
            return tensor_fail(in, "the file is cut short: %s at byte %td goes on after its end",
                               f->info ? f->info->name : "a field", start - in->bytes);
        f->data = p;
        f->length = (size_t)value;
        break;
    case WIRE_32:
    case WIRE_64:
        f->length = f->wire == WIRE_32 ? 4 : 8;
        if (f->length > (size_t)(end - p))
            return damaged(in, start);
        break;
    default:
        return damaged(in, start);
    }
    *at = f->data + f->length;
    return true;
}

// Reads the number at *at in a list that ends at `end`.
static bool next_entry(const struct tensor_input *in, enum wire wire, const uint8_t **at, const uint8_t *end,
                       uint64_t *value)
{
    const uint8_t *start = *at;
    size_t width = wire == WIRE_32 ? 4 : 8;
    if (wire == WIRE_VARINT)
        return read_varint(at, end, value) ? true : damaged(in, start);
    if ((size_t)(end - start) < width)
        return damaged(in, start);
    *value = 0;
    memcpy(value, start, width);
    *at += width;
    return true;
}

// ---- The message ----

struct message {
    const struct tensor_input *in;
    struct tensor_file *out;
    const struct type *type;
    int32_t type_number;
    uint64_t n[N_FIELDS]; // occurrences; of lists, entries
    const uint8_t *raw, *name;
    size_t raw_length, name_length;
    int64_t stored; // elements
};

static bool add_dim(struct message *m, uint64_t size)
{
    if (m->out->rank == TENSOR_FILE_MOST_DIMS)
        return tensor_fail(m->in, "it has more than %d dimensions; reshape the tensor", TENSOR_FILE_MOST_DIMS);
    m->out->dims[m->out->rank++] = (int64_t)size;
    return true;
}

static bool scan_field(struct message *m, const struct field *f)
{
    const uint8_t *at = f->data, *end = f->data + f->length;
    uint64_t value = 0;
    bool number = f->info->list || f->wire == WIRE_VARINT;
    for (; number && at < end; m->n[f->number]++)
        if (!next_entry(m->in, f->info->wire, &at, end, &value) || (f->number == FIELD_dims && !add_dim(m, value)))
            return false;
    m->n[f->number] += !number;
    switch (f->number) {
    case FIELD_data_type:
        m->type_number = (int32_t)value;
        return true;
    case FIELD_data_location:
        return value == 0
                   ? true
                   : tensor_fail(m->in, "its data is in another file; save the tensor with its data in raw_data");
    case FIELD_name:
        if (memchr(f->data, 0, f->length))
            return tensor_fail(m->in, "its name holds a NUL byte");
        m->name = f->data;
        m->name_length = f->length;
        return true;
    case FIELD_raw_data:
        m->raw = f->data;
        m->raw_length = f->length;
        return m->n[FIELD_raw_data] == 1 ? true : tensor_fail(m->in, "it has raw_data twice");
    default:
        return true;
    }
}

static bool scan(struct message *m)
{
    struct field f;
    for (const uint8_t *at = m->in->bytes, *end = at + m->in->size; at < end;) {
        if (!next_field(m->in, &at, &f))
            return false;
        if (f.info && !scan_field(m, &f))
            return false;
    }
    return true;
}

static bool find_type(struct message *m)
{
    if (!m->type_number)
        return tensor_fail(m->in, "it has no element type: this is no tensor; give a .npy file, or a .pb file with an "
                                  "ONNX TensorProto");
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].number == m->type_number)
            m->type = &types[i];
    if (!m->type)
        return tensor_fail(m->in, "ONNX's element type %" PRId32 " is not known", m->type_number);
    m->out->dtype = type_dtype(m->type);
    return m->out->dtype != DTYPE_NONE ? true
                                       : tensor_fail(m->in, "elements of type %s are not supported", m->type->name);
}

// Typed data has its field for each class of types; narrow ones are widened to it.
static bool store(struct message *m, uint64_t value)
{
    enum dtype t = m->out->dtype;
    int bits = dtype_info[t].bits, width = (int)dtype_bytes(t);
    if (m->type->field == FIELD_INT32) {
        int64_t v = (int32_t)value, half = INT64_C(1) << (bits - 1);
        int64_t low = dtype_info[t].kind == DTYPE_KIND_UNSIGNED ? 0 : -half; // some writers extend the sign of floats
        int64_t high = dtype_is_signed(t) ? half - 1 : 2 * half - 1;
        if (t == DTYPE_I1)
            v = v != 0;
        else if (v < low || v > high)
            return tensor_fail(m->in, "element %" PRId64 " does not fit its type %s: %" PRId64, m->stored,
                               m->type->name, v);
        value = (uint64_t)v;
    } else if (bits < 64 && value >> bits) {
        return tensor_fail(m->in, "element %" PRId64 " does not fit its type %s: %" PRIu64, m->stored, m->type->name,
                           value);
    }
    memcpy((uint8_t *)m->out->data + m->stored++ * width, &value, (size_t)width);
    return true;
}

static bool read_typed(struct message *m)
{
    int field = m->type->field;
    uint64_t wanted = (uint64_t)(m->out->bytes / dtype_bytes(m->out->dtype));
    struct field f;
    for (int i = FIELD_FLOAT; i <= FIELD_UINT64; i++)
        if (i != field && i != FIELD_name && i != FIELD_raw_data && m->n[i])
            return tensor_fail(m->in, "its type is %s, but it has data in %s", m->type->name, fields[i].name);
    if (m->n[field] != wanted)
        return tensor_fail(m->in, "its shape %s needs %" PRIu64 " entries in raw_data or %s, there are %" PRIu64,
                           tensor_shape_text(m->in, m->out), wanted, fields[field].name, m->n[field]);
    m->out->data = tensor_alloc(m->in, m->out->bytes);
    for (const uint8_t *at = m->in->bytes, *end = at + m->in->size; at < end;) {
        if (!next_field(m->in, &at, &f))
            return false;
        uint64_t value;
        for (const uint8_t *p = f.data; f.number == field && p < f.data + f.length;)
            if (!next_entry(m->in, f.info->wire, &p, f.data + f.length, &value) || !store(m, value))
                return false;
    }
    return true;
}

static bool read_raw(struct message *m)
{
    for (int i = FIELD_FLOAT; i <= FIELD_UINT64; i++)
        if (i != FIELD_name && i != FIELD_raw_data && m->n[i])
            return tensor_fail(m->in, "it has data in raw_data and in %s as well", fields[i].name);
    if (m->raw_length != (uint64_t)m->out->bytes)
        return tensor_fail(m->in, "its shape %s of %s needs %" PRId64 " bytes, but raw_data has %zu",
                           tensor_shape_text(m->in, m->out), m->type->name, m->out->bytes, m->raw_length);
    tensor_use(m->in, m->out, (size_t)(m->raw - m->in->bytes));
    uint8_t *boolean = m->out->dtype == DTYPE_I1 ? m->out->data : NULL;
    for (int64_t i = 0; boolean && i < m->out->bytes; i++)
        boolean[i] = boolean[i] != 0;
    return true;
}

bool tensor_pb_read(const struct tensor_input *in, struct tensor_file *out)
{
    struct message m = {.in = in, .out = out};
    if (!scan(&m) || !find_type(&m))
        return false;
    if (m.n[FIELD_segment])
        return tensor_fail(in, "it is a segment of a tensor, which is not supported; save the whole tensor");
    if (m.n[FIELD_external_data])
        return tensor_fail(in, "its data is in another file; save the tensor with its data in raw_data");
    if (!tensor_size(in, out))
        return false;
    if (m.name_length)
        out->name = arena_strndup(in->arena, (const char *)m.name, m.name_length);
    return m.raw_length ? read_raw(&m) : read_typed(&m);
}

// ---- Writing ----

static const struct type *find(enum dtype t)
{
    if (t == DTYPE_INDEX)
        t = DTYPE_I64;
    for (size_t i = 0; i < N_TYPES; i++)
        if (type_dtype(&types[i]) == t)
            return &types[i];
    return NULL;
}

bool tensor_pb_has(enum dtype t)
{
    return find(t);
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v > 0x7f; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static uint8_t *put_field(uint8_t *p, int field, uint64_t value)
{
    return put_varint(put_varint(p, (uint64_t)field << 3 | fields[field].wire), value);
}

static uint8_t *put_bytes(uint8_t *p, int field, const void *data, size_t n)
{
    p = put_field(p, field, n);
    if (n)
        memcpy(p, data, n);
    return p + n;
}

uint8_t *tensor_pb_encode(const struct tensor_file *t, size_t *size)
{
    size_t name_length = t->name ? strlen(t->name) : 0, bytes = (size_t)t->bytes;
    uint8_t *out = malloc((TENSOR_FILE_MOST_DIMS + 3) * 11 + name_length + bytes), *p = out; // a field's head takes 11
    if (!out)
        return NULL;
    for (int i = 0; i < t->rank; i++)
        p = put_field(p, FIELD_dims, (uint64_t)t->dims[i]);
    p = put_field(p, FIELD_data_type, (uint64_t)find(t->dtype)->number);
    if (name_length)
        p = put_bytes(p, FIELD_name, t->name, name_length);
    p = put_bytes(p, FIELD_raw_data, t->data, bytes);
    *size = (size_t)(p - out);
    return out;
}
