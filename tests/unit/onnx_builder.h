// What the tests of the reader share: models built by hand through protobuf-c, read, and refused.
#ifndef TEGULA_TESTS_UNIT_ONNX_BUILDER_H
#define TEGULA_TESTS_UNIT_ONNX_BUILDER_H

#include "frontend/model.h"
#include "tests/unit/suite.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>

// ---- Building models ----

static struct arena arena; // of one test
static struct diags diags;
static char folder[64];

static inline void begin(void)
{
    arena_init(&arena);
    diag_init(&diags);
    strcpy(folder, "/tmp/tegula-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static inline void end(void)
{
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    diag_finish(&diags);
    arena_finish(&arena);
}

#define NEW(type, init) memcpy(ARENA_NEW(&arena, type), &(type)init, sizeof(type))

// Appends to a repeated field.
#define PUSH(n, list, item)                                                                                            \
    do {                                                                                                               \
        void *grown = arena_alloc(&arena, ((n) + 1) * sizeof *(list));                                                 \
        if (n)                                                                                                         \
            memcpy(grown, (list), (n) * sizeof *(list));                                                               \
        (list) = grown;                                                                                                \
        (list)[(n)++] = (item);                                                                                        \
    } while (0)

// Splits "a,,b" into a list; "" gives none.
static char **split(const char *s, size_t *n)
{
    char **list = NULL;
    *n = 0;
    while (*s) {
        size_t length = strcspn(s, ",");
        PUSH(*n, list, arena_strndup(&arena, s, length));
        s += length + (s[length] == ',');
    }
    return list;
}

static inline TgOnnx__NodeProto *node(const char *op, const char *name, const char *in, const char *out)
{
    TgOnnx__NodeProto *n = NEW(TgOnnx__NodeProto, TG_ONNX__NODE_PROTO__INIT);
    n->op_type = arena_strdup(&arena, op);
    n->name = arena_strdup(&arena, name);
    n->input = split(in, &n->n_input);
    n->output = split(out, &n->n_output);
    return n;
}

static inline TgOnnx__AttributeProto *attribute(TgOnnx__NodeProto *n, const char *name, int type)
{
    TgOnnx__AttributeProto *a = NEW(TgOnnx__AttributeProto, TG_ONNX__ATTRIBUTE_PROTO__INIT);
    a->name = arena_strdup(&arena, name);
    a->has_type = true;
    a->type = type;
    if (n)
        PUSH(n->n_attribute, n->attribute, a);
    return a;
}

static inline TgOnnx__ValueInfoProto *value(const char *name)
{
    TgOnnx__ValueInfoProto *v = NEW(TgOnnx__ValueInfoProto, TG_ONNX__VALUE_INFO_PROTO__INIT);
    v->name = arena_strdup(&arena, name);
    v->type = NEW(TgOnnx__TypeProto, TG_ONNX__TYPE_PROTO__INIT);
    v->type->value_case = TG_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type->tensor_type = NEW(TgOnnx__TypeProto__Tensor, TG_ONNX__TYPE_PROTO__TENSOR__INIT);
    v->type->tensor_type->has_elem_type = true;
    v->type->tensor_type->elem_type = ONNX_FLOAT;
    return v;
}

static inline TgOnnx__GraphProto *graph(const char *in, const char *out)
{
    TgOnnx__GraphProto *g = NEW(TgOnnx__GraphProto, TG_ONNX__GRAPH_PROTO__INIT);
    size_t n;
    char **names = split(in, &n);
    for (size_t i = 0; i < n; i++)
        PUSH(g->n_input, g->input, value(names[i]));
    names = split(out, &n);
    for (size_t i = 0; i < n; i++)
        PUSH(g->n_output, g->output, value(names[i]));
    return g;
}

static inline TgOnnx__NodeProto *add(TgOnnx__GraphProto *g, TgOnnx__NodeProto *n)
{
    PUSH(g->n_node, g->node, n);
    return n;
}

static inline void subgraph(TgOnnx__NodeProto *n, const char *name, TgOnnx__GraphProto *g)
{
    attribute(n, name, ATTRIBUTE_GRAPH)->g = g;
}

static inline TgOnnx__OperatorSetIdProto *opset(const char *domain, int64_t version)
{
    TgOnnx__OperatorSetIdProto *o = NEW(TgOnnx__OperatorSetIdProto, TG_ONNX__OPERATOR_SET_ID_PROTO__INIT);
    o->domain = arena_strdup(&arena, domain);
    o->has_version = true;
    o->version = version;
    return o;
}

static inline TgOnnx__ModelProto *model(TgOnnx__GraphProto *g)
{
    TgOnnx__ModelProto *m = NEW(TgOnnx__ModelProto, TG_ONNX__MODEL_PROTO__INIT);
    m->has_ir_version = true;
    m->ir_version = 10;
    m->graph = g;
    PUSH(m->n_opset_import, m->opset_import, opset("", 21));
    return m;
}

static inline TgOnnx__FunctionProto *function(TgOnnx__ModelProto *m, const char *name, const char *in, const char *out)
{
    TgOnnx__FunctionProto *f = NEW(TgOnnx__FunctionProto, TG_ONNX__FUNCTION_PROTO__INIT);
    f->domain = arena_strdup(&arena, "d");
    f->name = arena_strdup(&arena, name);
    f->input = split(in, &f->n_input);
    f->output = split(out, &f->n_output);
    PUSH(f->n_opset_import, f->opset_import, opset("", 21));
    PUSH(m->n_functions, m->functions, f);
    return f;
}

static inline TgOnnx__NodeProto *call(const char *name, const char *in, const char *out)
{
    TgOnnx__NodeProto *n = node(name, "", in, out);
    n->domain = arena_strdup(&arena, "d");
    return n;
}

static inline TgOnnx__TensorProto *tensor(const char *name, int type, int rank, const int64_t *dims)
{
    TgOnnx__TensorProto *t = NEW(TgOnnx__TensorProto, TG_ONNX__TENSOR_PROTO__INIT);
    t->name = arena_strdup(&arena, name);
    t->has_data_type = true;
    t->data_type = type;
    t->dims = arena_copy(&arena, dims, (size_t)rank * sizeof *dims);
    t->n_dims = (size_t)rank;
    return t;
}

static inline TgOnnx__TensorProto *raw(TgOnnx__TensorProto *t, const void *data, size_t size)
{
    t->has_raw_data = true;
    t->raw_data = (ProtobufCBinaryData){size, arena_copy(&arena, data, size)};
    return t;
}

static inline TgOnnx__TensorProto *ints(TgOnnx__TensorProto *t, size_t n, const int32_t *data)
{
    t->n_int32_data = n;
    t->int32_data = arena_copy(&arena, data, n * sizeof *data);
    return t;
}

static inline void entry(TgOnnx__TensorProto *t, const char *key, const char *text)
{
    TgOnnx__StringStringEntryProto *e = NEW(TgOnnx__StringStringEntryProto, TG_ONNX__STRING_STRING_ENTRY_PROTO__INIT);
    e->key = arena_strdup(&arena, key);
    e->value = arena_strdup(&arena, text);
    PUSH(t->n_external_data, t->external_data, e);
}

// Eight floats in a file.
static inline TgOnnx__TensorProto *external(const char *name, const char *location, const char *offset,
                                            const char *length)
{
    TgOnnx__TensorProto *t = tensor(name, ONNX_FLOAT, 1, (int64_t[]){8});
    t->has_data_location = true;
    t->data_location = 1;
    if (location)
        entry(t, "location", location);
    if (offset)
        entry(t, "offset", offset);
    if (length)
        entry(t, "length", length);
    return t;
}

// y = Relu(x), with initialisers.
static inline TgOnnx__ModelProto *relu(void)
{
    TgOnnx__GraphProto *g = graph("x", "y");
    add(g, node("Relu", "relu", "x", "y"));
    return model(g);
}

static inline TgOnnx__ModelProto *with_function(void)
{
    TgOnnx__GraphProto *g = graph("x", "y");
    add(g, call("f", "x", "y"));
    TgOnnx__ModelProto *p = model(g);
    PUSH(p->n_opset_import, p->opset_import, opset("d", 1));
    TgOnnx__FunctionProto *f = function(p, "f", "a", "b");
    PUSH(f->n_node, f->node, node("Relu", "in f", "a", "b"));
    return p;
}

// ---- Reading them ----

struct bytes {
    uint8_t *data;
    size_t size;
};

static inline struct bytes packed(const TgOnnx__ModelProto *m)
{
    struct bytes b = {.size = tg_onnx__model_proto__get_packed_size(m)};
    b.data = arena_alloc(&arena, b.size);
    tg_onnx__model_proto__pack(m, b.data);
    return b;
}

static inline struct model *read_bytes(const void *data, size_t size)
{
    return model_read_memory(data, size, "m.onnx", folder, &diags);
}

static inline struct model *read_model(const TgOnnx__ModelProto *p)
{
    struct bytes b = packed(p);
    struct model *m = read_bytes(b.data, b.size);
    ck_assert_msg(m && !diags.n_errors, "%s", diag_string(&diags));
    return m;
}

// The next diagnostics are n errors, and contain the text; then there are none any more.
static inline void check_errors(int n, const char *text)
{
    const char *all = diag_string(&diags);
    ck_assert_msg(strstr(all, text), "\n%s\ndoes not say:\n%s", all, text);
    ck_assert_msg(diags.n_errors == n, "%d errors, not %d:\n%s", diags.n_errors, n, all);
    diag_finish(&diags);
    diag_init(&diags);
}

static inline void refused_bytes(const void *data, size_t size, const char *text)
{
    ck_assert_ptr_null(read_bytes(data, size));
    check_errors(1, text);
}

static inline void refused(const TgOnnx__ModelProto *p, int n, const char *text)
{
    struct bytes b = packed(p);
    ck_assert_ptr_null(read_bytes(b.data, b.size));
    check_errors(n, text);
}

static inline void check_names(const struct model_graph *g, const char *names)
{
    const char *all = "";
    for (size_t i = 0; i < g->n_nodes; i++)
        all = arena_printf(&arena, "%s%s%s", all, i ? " " : "", g->nodes[i]->name);
    ck_assert_str_eq(all, names);
}

#endif
