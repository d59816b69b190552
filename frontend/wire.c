// protobuf-c copies every bytes field, so a model with its weights inside would be in memory twice; and it trusts its
// input in three ways: it recurses as deep as messages nest, merges repeated occurrences of a field that should be
// there once, and ends strings at a NUL. So one walk over the wire, guided by the message descriptors, checks all that
// and writes a slim copy of the message. In it a raw_data of at least STAND_IN_SIZE bytes becomes a stand-in of
// STAND_IN_SIZE bytes: offset and length. A shorter one stays, so a raw_data of that very size is always a stand-in.
// Lengths of the messages around it shrink and are written in as many bytes as before (varints may be padded).
#include "frontend/wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAND_IN_SIZE 17

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

__attribute__((format(printf, 2, 3))) static bool fail(struct wire *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->error, sizeof w->error, format, args);
    va_end(args);
    return false;
}

// ---- Writing the slim copy ----

static bool emit(struct wire *w, const void *bytes, size_t n)
{
    if (n > w->out_capacity - w->out_size) {
        size_t capacity = w->out_capacity * 2;
        if (capacity < w->out_size + n)
            capacity = w->out_size + n;
        uint8_t *out = realloc(w->out, capacity);
        if (!out)
            return fail(w, "%s", "");
        w->out = out;
        w->out_capacity = capacity;
    }
    if (n)
        memcpy(w->out + w->out_size, bytes, n);
    w->out_size += n;
    return true;
}

static bool copy_until(struct wire *w, size_t end)
{
    size_t from = w->copied;
    w->copied = end;
    return emit(w, w->in + from, end - from);
}

static void write_length(uint8_t *p, size_t width, size_t length)
{
    for (size_t i = 0; i < width; i++, length >>= 7)
        p[i] = (uint8_t)((length & 0x7f) | (i + 1 < width ? 0x80 : 0));
}

static bool emit_stand_in(struct wire *w, size_t length_at, size_t payload, size_t length)
{
    uint8_t bytes[STAND_IN_SIZE] = {0};
    uint64_t place[2] = {payload, length};
    memcpy(bytes, place, sizeof place);
    if (!copy_until(w, payload))
        return false;
    write_length(w->out + w->out_size - (payload - length_at), payload - length_at, STAND_IN_SIZE);
    w->copied = payload + length;
    return emit(w, bytes, sizeof bytes);
}

// ---- Walking ----

// Reads a varint of at most `longest` bytes; false if it does not end there or before `end`.
static bool read_varint(const struct wire *w, size_t *at, size_t end, int longest, uint64_t *value)
{
    uint64_t v = 0;
    for (int i = 0; i < longest && *at < end; i++) {
        uint8_t byte = w->in[(*at)++];
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *value = v;
            return true;
        }
    }
    return false;
}

static enum wire_type wire_type_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return WIRE_32;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

static bool is_message(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_MESSAGE;
}

static bool cut_short(struct wire *w, size_t end, size_t at, const char *what)
{
    w->truncated = end == w->size;
    return fail(w, "%s at byte %zu goes on after the end of the %s", what, at,
                w->truncated ? "file" : "message it is in");
}

static bool walk(struct wire *w, const ProtobufCMessageDescriptor *message, size_t at, size_t end, int depth);

// The content of a field with a length, at [at, at + length).
static bool walk_bytes(struct wire *w, const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field,
                       size_t length_at, size_t at, size_t length, int depth)
{
    if (is_message(field)) {
        if (depth >= WIRE_MAX_DEPTH) {
            w->deep = true;
            return fail(w,
                        "messages nest deeper than %d levels at byte %zu (%s.%s); of graphs within graphs it takes %d",
                        WIRE_MAX_DEPTH, at, message->short_name, field->name, WIRE_MAX_GRAPHS);
        }
        if (!copy_until(w, at))
            return false;
        size_t out = w->out_size;
        if (!walk(w, field->descriptor, at, at + length, depth + 1) || !copy_until(w, at + length))
            return false;
        write_length(w->out + out - (at - length_at), at - length_at, w->out_size - out);
    } else if (field->type == PROTOBUF_C_TYPE_STRING && memchr(w->in + at, 0, length)) {
        return fail(w, "the string at byte %zu (%s.%s) holds a NUL byte", at, message->short_name, field->name);
    } else if (message == &tg_onnx__tensor_proto__descriptor && length >= STAND_IN_SIZE &&
               field->offset == offsetof(TgOnnx__TensorProto, raw_data)) {
        return emit_stand_in(w, length_at, at, length);
    }
    return true;
}

static bool walk(struct wire *w, const ProtobufCMessageDescriptor *message, size_t at, size_t end, int depth)
{
    uint64_t seen = 0; // the singular messages, by index of the field
    while (at < end) {
        size_t start = at, length_at;
        uint64_t tag, value;
        if (!read_varint(w, &at, end, 5, &tag))
            return at == end ? cut_short(w, end, start, "a field") : fail(w, "no valid field at byte %zu", start);
        if (tag >> 3 == 0 || tag > UINT32_MAX)
            return fail(w, "no valid field at byte %zu", start);
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(message, (unsigned)(tag >> 3));
        enum wire_type type = (enum wire_type)(tag & 7);
        if (field && type != wire_type_of(field) &&
            (type != WIRE_BYTES || field->label != PROTOBUF_C_LABEL_REPEATED)) // packed
            return fail(w, "the field at byte %zu (%s.%s) has the wrong wire type", start, message->short_name,
                        field->name);
        if (field && is_message(field) && field->label != PROTOBUF_C_LABEL_REPEATED) {
            uint64_t bit = UINT64_C(1) << (field - message->fields);
            if (seen & bit)
                return fail(w, "a second %s.%s at byte %zu", message->short_name, field->name, start);
            seen |= bit;
        }
        switch (type) {
        case WIRE_VARINT:
            if (!read_varint(w, &at, end, 10, &value))
                return at == end ? cut_short(w, end, start, "the number")
                                 : fail(w, "no valid number at byte %zu", start);
            break;
        case WIRE_64:
        case WIRE_32:
            if (end - at < (type == WIRE_64 ? 8 : 4))
                return cut_short(w, end, start, "the number");
            at += type == WIRE_64 ? 8 : 4;
            break;
        case WIRE_BYTES:
            length_at = at;
            if (!read_varint(w, &at, end, 5, &value))
                return at == end ? cut_short(w, end, start, "a field") : fail(w, "no valid length at byte %zu", start);
            if (value > end - at)
                return cut_short(w, end, start, field ? field->name : "the unknown field");
            if (field && !walk_bytes(w, message, field, length_at, at, (size_t)value, depth))
                return false;
            at += (size_t)value;
            break;
        default:
            return fail(w, "no valid field at byte %zu", start);
        }
    }
    return true;
}

bool wire_slim(struct wire *w)
{
    return walk(w, &tg_onnx__model_proto__descriptor, 0, w->size, 1) && copy_until(w, w->size);
}

// ---- Restoring ----

static void restore_tensor(const struct wire *w, TgOnnx__TensorProto *t, ProtobufCAllocator *allocator)
{
    if (t->raw_data.len != STAND_IN_SIZE)
        return;
    uint64_t place[2];
    memcpy(place, t->raw_data.data, sizeof place);
    allocator->free(allocator->allocator_data, t->raw_data.data);
    // Nothing writes through it; protobuf-c's type has no const.
    t->raw_data = (ProtobufCBinaryData){.len = (size_t)place[1], .data = (uint8_t *)w->in + place[0]};
}

static void restore(const struct wire *w, ProtobufCMessage *m, ProtobufCAllocator *allocator)
{
    if (m->descriptor == &tg_onnx__tensor_proto__descriptor)
        restore_tensor(w, (TgOnnx__TensorProto *)m, allocator);
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &m->descriptor->fields[i];
        if (!is_message(field))
            continue;
        const char *member = (const char *)m + field->offset, *quantifier = (const char *)m + field->quantifier_offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            ProtobufCMessage **list = *(ProtobufCMessage * *const *)member;
            for (size_t k = 0; k < *(const size_t *)quantifier; k++)
                restore(w, list[k], allocator);
        } else if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(const uint32_t *)quantifier == field->id) {
            ProtobufCMessage *inner = *(ProtobufCMessage *const *)member;
            if (inner)
                restore(w, inner, allocator);
        }
    }
}

void wire_restore(const struct wire *w, TgOnnx__ModelProto *model, ProtobufCAllocator *allocator)
{
    restore(w, &model->base, allocator);
}
