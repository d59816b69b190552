// An ONNX model as read from a file: the unpacked message, checked and put in order, not yet interpreted.
//
//     struct model *m = model_read_file("model.onnx", &diags);   // NULL: diags say why
//     for (size_t i = 0; i < m->graph->n_nodes; i++)
//         ... m->graph->nodes[i] ...                             // producers come first
//     model_destroy(m);
//
// A model that was read is well-formed: versions are supported, every name is defined once and before it is used,
// attributes hold what their type says, function calls end. What operators demand of their nodes is the importer's
// matter. The data of tensors is checked when model_tensor fetches it.
//
// Running out of memory unwinds to the recovery point of ir/arena.h (the caller destroys the model then); model_read_*
// release what they made first, and without a recovery point return NULL.
#ifndef TEGULA_FRONTEND_MODEL_H
#define TEGULA_FRONTEND_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend/map.h"
#include "frontend/onnx.pb-c.h"
#include "frontend/wire.h"
#include "ir/arena.h"
#include "ir/bytes.h"
#include "ir/diag.h"
#include "ir/dtype.h"

// What is supported. IR version 3 is the first with operator sets as today; 14 and 28 are those of ONNX 1.23.
#define MODEL_IR_VERSION_MIN 3
#define MODEL_IR_VERSION_MAX 14
#define MODEL_OPSET_MIN 7
#define MODEL_OPSET_MAX 28

// Function calls, once inlined, may not nest deeper or grow the model beyond this.
#define MODEL_MAX_CALL_DEPTH 256
#define MODEL_MAX_INLINED_NODES (INT64_C(1) << 24)

// ---- Numbers of the format ----

enum onnx_type { // TensorProto.DataType
#define ONNX_TYPE(number, name, dtype, bits, field) ONNX_##name = number,
#include "frontend/onnx_type.def"
#undef ONNX_TYPE
};

enum attribute_type { // AttributeProto.AttributeType
#define ATTRIBUTE(number, name, present, optional) ATTRIBUTE_##name = number,
#include "frontend/attribute.def"
#undef ATTRIBUTE
};

// "FLOAT16"; "element type 99" for numbers that ONNX does not have (the string then lives in the arena).
const char *onnx_type_name(struct arena *a, int32_t type);
// DTYPE_NONE where we have no such type: strings, complex numbers, unknown numbers.
enum dtype onnx_type_dtype(int32_t type);
// The type of an attribute; where the `type` field is missing, that of its only content. 0: neither says.
int attribute_type(const TgOnnx__AttributeProto *a);

// ---- The model ----

// Operator set versions that a model or a function imports; the domain "ai.onnx" is called "".
struct model_opset {
    const char *domain;
    int64_t version;
};

struct model_opsets {
    struct model_opset *list;
    size_t n;
};

enum model_name_kind { MODEL_INPUT, MODEL_INITIALIZER, MODEL_SPARSE_INITIALIZER, MODEL_NODE_OUTPUT };

// What a name stands for.
struct model_name {
    const char *name;
    enum model_name_kind kind;
    const struct model_graph *graph; // where it is defined
    size_t index;                    // of the input, the initialiser, or the node, as in the file
    size_t output;                   // of the node
    // The value of an initialiser. An input may have one too: its default, or in models of IR version 3 a constant.
    const TgOnnx__TensorProto *initializer;
};

// The nodes of a graph, of a subgraph (an attribute of a node) or of a function's body, and the names in it. Names of
// the graphs around a subgraph are visible in it; its own ones hide them.
struct model_graph {
    const TgOnnx__GraphProto *proto;       // NULL for a function's body
    const struct model_function *function; // in or under the body of which function; NULL: the main graph
    const struct model_graph *outer;       // NULL: not a subgraph
    size_t outer_node;                     // the node of `outer` that has it as an attribute, as in the file
    size_t n_nodes;
    TgOnnx__NodeProto **file_nodes;
    TgOnnx__NodeProto **nodes; // producers before users, in the file's order where that is free
    struct map names;
};

struct model_function {
    const TgOnnx__FunctionProto *proto;
    const char *domain; // "" for ai.onnx
    const char *title;  // for diagnostics: "domain::name" or "domain::name:overload"
    struct model_opsets opsets;
    struct map parameters; // its attributes by name, with a default or not
    struct model_graph *body;
    // Found by function_check:
    struct function_call *calls; // made by the body
    size_t n_calls, n_calls_room;
    int64_t n_nodes, n_inlined_nodes; // of the body with its subgraphs; with the calls inlined
    int depth;                        // of the calls; 1: calls nothing
};

struct model {
    const char *file; // for diagnostics
    const TgOnnx__ModelProto *proto;
    int64_t opset; // version of ai.onnx; 0 if it is not imported
    struct model_opsets opsets;
    struct model_graph *graph;
    struct model_function *functions;
    size_t n_functions;

    // Private.
    struct arena arena;
    struct arena scratch; // of one check
    uint64_t secret;
    struct map graphs;         // by address of the GraphProto
    struct map function_names; // by function_key
    char *key;                 // room for one of them
    size_t longest_key;
    struct map tensors;      // converted data, by address of the TensorProto
    struct wire wire;        // the file's bytes
    bool mapped;             // they are
    struct file_bytes bytes; // the same, if they are the model's own
    struct unpack *unpack;
    struct external *external;
};

// Reads and checks a model; all the errors of a kind are reported, not only the first. `path` is copied. Anything but a
// regular file (a pipe) is read to its end. The file, and those with external data, stay mapped until model_destroy:
// like a running program's file they must not be shortened meanwhile.
struct model *model_read_file(const char *path, struct diags *diags);
// The same of a file's bytes, which stay the caller's, and must last until model_destroy.
struct model *model_read_bytes(const struct file_bytes *bytes, const char *path, struct diags *diags);
// The same from memory. The bytes stay the caller's, and must last until model_destroy. `name` is for diagnostics;
// external data is looked for in `folder` (NULL: there is none). Both are copied.
struct model *model_read_memory(const void *data, size_t size, const char *name, const char *folder,
                                struct diags *diags);
// What a file that begins so is instead of a model, as in "JSON; convert it .."; NULL: nothing that is known.
const char *model_other_format(const void *bytes, size_t size);
void model_destroy(struct model *m);

// The files with external data that were needed so far. Stores them in the arena and returns how many; their bytes stay
// as long as the model.
int model_files(const struct model *m, struct arena *arena, const struct named_bytes **out);

// The version of `domain` that nodes of `function` (NULL: of the main graph) use; 0 if it is not imported.
int64_t model_opset(const struct model *m, const struct model_function *function, const char *domain);
// "" for "ai.onnx" and NULL.
const char *model_domain(const char *domain);
// Graphs that are attributes; NULL for one that is not of this model.
const struct model_graph *model_subgraph(const struct model *m, const TgOnnx__GraphProto *proto);
// The function that (domain, name, overload) calls; NULL if there is none. NULL domain and overload count as "".
const struct model_function *model_function(const struct model *m, const char *domain, const char *name,
                                            const char *overload);
// The function that a node calls; NULL: it is an operator.
const struct model_function *model_callee(const struct model *m, const TgOnnx__NodeProto *node);
// What a name means in `graph`; NULL if it is not defined. "" is no name.
const struct model_name *model_lookup(const struct model_graph *graph, const char *name);

// For diagnostics: the node's name, or what it computes if it has none.
struct loc model_loc(struct model *m, const TgOnnx__NodeProto *node);
// A name out of the file in quotes, fit for a terminal: control characters escaped, shortened if very long.
const char *model_quote(struct model *m, const char *name);

// ---- Tensors ----

enum tensor_source { TENSOR_RAW, TENSOR_TYPED, TENSOR_EXTERNAL };

struct tensor_data {
    enum dtype dtype; // DTYPE_NONE for strings
    int onnx_type;
    int rank;
    const int64_t *dims;
    int64_t n; // elements; 1 for a scalar
    // n elements in row-major order, little-endian, each of `bits` bits, without padding between them but at the end of
    // the last byte (types below 8 bits start at the low end of a byte); booleans are bytes of 0 and 1. Not aligned.
    // Lives as long as the model. NULL for strings and if n is 0.
    const void *data;
    int64_t bytes;
    bool mapped; // data is mapped from a file
    int bits;
    const ProtobufCBinaryData *strings; // n of them, if onnx_type is ONNX_STRING
    enum tensor_source source;
};

// Fetches a tensor's shape and data. 0; or 1 with a diagnostic that names the tensor, and *out is not touched:
// unsupported types, shapes and data that do not match, external data that is not there. External data must lie in the
// model's folder; see external.h.
int model_tensor(struct model *m, const TgOnnx__TensorProto *t, struct tensor_data *out, struct diags *diags);
// The same with the place that wants the tensor, for diagnostics.
int model_tensor_at(struct model *m, struct loc loc, const TgOnnx__TensorProto *t, struct tensor_data *out,
                    struct diags *diags);

#endif
