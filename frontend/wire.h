// The protobuf wire format: checks a model's bytes before protobuf-c unpacks them, and keeps raw tensor data in place.
#ifndef TEGULA_FRONTEND_WIRE_H
#define TEGULA_FRONTEND_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend/onnx.pb-c.h"

// Messages nest no deeper: what protobuf's own implementations accept by default. A graph in a graph takes three
// levels.
#define WIRE_MAX_DEPTH 100
#define WIRE_MAX_GRAPHS 31 // within each other; the rest is for what the innermost holds

struct wire {
    const uint8_t *in;
    size_t size;
    // The slim copy: the same message with stand-ins for long raw_data. Starts as {NULL, 0, 0}; release with free().
    uint8_t *out;
    size_t out_size, out_capacity;
    size_t copied; // how much of `in` has been dealt with
    // Why it failed; no file name, ends without a newline. Empty: out of memory.
    char error[192];
    bool truncated; // what is there is in order, but the end is missing
    bool deep;      // it nests too deeply, and may be in order otherwise
};

// Checks nesting, lengths, wire types, strings without NUL, and that no embedded message occurs twice (protobuf would
// merge them, in quadratic time), and makes the slim copy. Every long raw_data in it is a stand-in: where in `in` the
// bytes are. Returns whether it succeeded.
bool wire_slim(struct wire *w);

// Points the raw_data of every tensor in a message unpacked from the slim copy at its bytes in `in`. What protobuf-c
// had allocated for the stand-in is released with `allocator`.
void wire_restore(const struct wire *w, TgOnnx__ModelProto *model, ProtobufCAllocator *allocator);

#endif
