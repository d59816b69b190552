// The reader of ONNX files: files, the wire, tensors and external data, good ones and every kind of hostile one.
#include "tests/unit/failing_allocation.h"
#include "tests/unit/onnx_builder.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- Files ----

START_TEST(test_minimal)
{
    TgOnnx__ModelProto *p = relu();
    float weights[16] = {1, 2, 3};
    PUSH(p->graph->n_initializer, p->graph->initializer,
         raw(tensor("w", ONNX_FLOAT, 2, (int64_t[]){4, 4}), weights, sizeof weights));
    PUSH(p->graph->n_initializer, p->graph->initializer, raw(tensor("v", ONNX_FLOAT, 0, NULL), weights, 4));
    struct bytes b = packed(p);
    struct model *m = read_bytes(b.data, b.size);
    ck_assert_msg(m != NULL, "%s", diag_string(&diags));
    ck_assert_int_eq(m->opset, 21);
    ck_assert_int_eq(model_opset(m, NULL, "ai.onnx"), 21);
    ck_assert_int_eq(model_opset(m, NULL, "other"), 0);
    check_names(m->graph, "relu");
    ck_assert_int_eq(model_lookup(m->graph, "x")->kind, MODEL_INPUT);
    ck_assert_int_eq(model_lookup(m->graph, "w")->kind, MODEL_INITIALIZER);
    ck_assert_int_eq(model_lookup(m->graph, "y")->kind, MODEL_NODE_OUTPUT);
    ck_assert_ptr_null(model_lookup(m->graph, "z"));
    ck_assert_ptr_null(model_lookup(m->graph, ""));
    struct tensor_data t;
    ck_assert(!model_tensor(m, m->graph->proto->initializer[0], &t, &diags));
    ck_assert_int_eq(t.rank, 2);
    ck_assert_int_eq(t.n, 16);
    ck_assert_int_eq(t.bytes, 64);
    ck_assert_int_eq(t.dtype, DTYPE_F32);
    ck_assert_int_eq(t.source, TENSOR_RAW);
    ck_assert(!memcmp(t.data, weights, sizeof weights));
    ck_assert((const uint8_t *)t.data > b.data && (const uint8_t *)t.data < b.data + b.size); // not copied
    ck_assert(!model_tensor(m, m->graph->proto->initializer[1], &t, &diags));
    ck_assert_int_eq(t.n, 1);
    ck_assert(!memcmp(t.data, weights, 4));
    model_destroy(m);
    model_destroy(NULL);
}
END_TEST

// Raw data of every length around that of a stand-in, in one tensor in an attribute of a node in a subgraph.
START_TEST(test_raw_lengths)
{
    char data[400];
    for (int i = 0; i < 400; i++)
        data[i] = (char)(i * 7);
    for (int64_t n = 0; n <= 400; n += n < 40 ? 1 : 45) {
        TgOnnx__GraphProto *g = graph("c", "y"), *body = graph("", "k");
        attribute(add(body, node("Constant", "k", "", "k")), "value", ATTRIBUTE_TENSOR)->t =
            raw(tensor("", ONNX_UINT8, 1, &n), data, (size_t)n);
        subgraph(add(g, node("If", "if", "c", "y")), "then_branch", body);
        struct model *m = read_model(model(g));
        const TgOnnx__GraphProto *inner = m->graph->nodes[0]->attribute[0]->g;
        struct tensor_data t;
        ck_assert_ptr_nonnull(model_subgraph(m, inner));
        ck_assert(!model_tensor(m, inner->node[0]->attribute[0]->t, &t, &diags));
        ck_assert_int_eq(t.n, n);
        ck_assert(!n == !t.data);
        ck_assert(!n || !memcmp(t.data, data, (size_t)n));
        model_destroy(m);
    }
}
END_TEST

START_TEST(test_no_model)
{
    static const struct {
        const char *bytes, *text;
    } files[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "run 'git lfs pull'"},
        {"/annex/objects/SHA256E-s1--00\n", "run 'git annex get'"},
        {"<!DOCTYPE html>\n<html></html>", "HTML"},
        {"\xef\xbb\xbf\n <HTML>", "HTML"},
        {"<\n  ir_version: 8\n>", "text"},
        {"ir_version: 8\ngraph {", "text form"},
        {"{\"graph\": 1}", "JSON"},
        {"PK\x03\x04rest of it", "zip"},
        {"\x1f\x8b\x08", "gzip"},
        {"\x10\x20\x30\x40TFL3", "TensorFlow Lite"},
        {"hello, world", "no ONNX model"},
        {"", "the file is empty"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        refused_bytes(files[i].bytes, strlen(files[i].bytes), files[i].text);
    refused_bytes((char[5000]){0}, 5000, "filled with zeros");
    refused_bytes("\x08\x0a", 2, "no graph");
    ck_assert_ptr_null(model_read_file("/nonexistent/m.onnx", &diags));
    check_errors(1, "/nonexistent/m.onnx: error: cannot be opened: No such file");
    ck_assert_ptr_null(model_read_file(folder, &diags));
    check_errors(1, "is a folder");
}
END_TEST

START_TEST(test_truncated)
{
    TgOnnx__ModelProto *p = relu();
    PUSH(p->graph->n_initializer, p->graph->initializer,
         raw(tensor("w", ONNX_INT8, 1, (int64_t[]){40}), (char[40]){1}, 40));
    struct bytes b = packed(p);
    for (size_t n = 1; n < b.size; n++) {
        uint8_t *part = malloc(n); // so that a sanitizer sees its end
        memcpy(part, b.data, n);
        ck_assert_ptr_null(read_bytes(part, n));
        free(part);
        // Between fields: no graph, or no operator set.
        check_errors(1, n == 2 ? "no graph" : n == b.size - 6 ? "no operator set" : "truncated");
    }
}
END_TEST

START_TEST(test_file_and_pipe)
{
    struct bytes b = packed(relu());
    const char *path = arena_printf(&arena, "%s/m.onnx", folder), *fifo = arena_printf(&arena, "%s/fifo", folder);
    FILE *f = fopen(path, "wb");
    ck_assert(fwrite(b.data, 1, b.size, f) == b.size && !fclose(f));
    struct model *m = model_read_file(path, &diags);
    ck_assert_msg(m != NULL, "%s", diag_string(&diags));
    check_names(m->graph, "relu");
    model_destroy(m);
    ck_assert(!mkfifo(fifo, 0600));
    pid_t writer = fork();
    if (!writer) {
        int fd = open(fifo, O_WRONLY); // waits for the reader
        _exit(fd < 0 || write(fd, b.data, b.size) != (ssize_t)b.size);
    }
    m = model_read_file(fifo, &diags);
    ck_assert_msg(m != NULL, "%s", diag_string(&diags));
    check_names(m->graph, "relu");
    model_destroy(m);
    int status;
    ck_assert(waitpid(writer, &status, 0) == writer && status == 0);
}
END_TEST

START_TEST(test_versions)
{
    TgOnnx__ModelProto *p = relu();
    p->ir_version = 15;
    refused(p, 1, "IR version 15 is not supported: it is newer than this compiler; 3 to 14 are");
    p->ir_version = 2;
    refused(p, 1, "too old");
    p->has_ir_version = false;
    refused(p, 1, "the field is missing");
    p = relu();
    p->opset_import[0]->version = 29;
    refused(p, 1, "version 29 of operator set ai.onnx is not supported: it is newer than this compiler; 7 to 28 are");
    p->opset_import[0]->version = 6;
    refused(p, 1, "it is too old; 7 to 28 are");
    p->opset_import[0]->version = -1;
    refused(p, 1, "version -1");
    p->opset_import[0]->version = 7;
    model_destroy(read_model(p));
    PUSH(p->n_opset_import, p->opset_import, opset("ai.onnx", 7)); // the same by its other name
    model_destroy(read_model(p));
    p->opset_import[1]->version = 8;
    refused(p, 1, "imports operator set ai.onnx twice, as version 7 and as 8");
    p->n_opset_import = 0;
    refused(p, 1, "no operator set is imported");
    p = relu();
    p->opset_import[0]->domain = arena_strdup(&arena, "com.other");
    refused(p, 1, "operator set ai.onnx, which is not imported");
}
END_TEST

// ---- The wire ----

static struct bytes wrap(struct bytes inner, int field)
{
    struct bytes b = {.data = arena_alloc(&arena, inner.size + 6)};
    b.data[b.size++] = (uint8_t)(field << 3 | 2);
    for (size_t n = inner.size; n || b.size == 1; n >>= 7)
        b.data[b.size++] = (uint8_t)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
    if (inner.size)
        memcpy(b.data + b.size, inner.data, inner.size);
    b.size += inner.size;
    return b;
}

START_TEST(test_depth)
{
    struct bytes b = {0};
    for (int i = 0; i < 1000; i++)
        b = wrap(wrap(wrap(b, 6), 5), 1); // graph in attribute in node
    b = wrap(b, 7);
    refused_bytes(b.data, b.size, "messages nest deeper than 100 levels");
    b = (struct bytes){0};
    // A sequence of sequences of ...
    for (int i = 0; i < 2000; i++)
        b = wrap(wrap(b, 1), 4);
    b = wrap(wrap(wrap(b, 2), 11), 7);
    refused_bytes(b.data, b.size, "messages nest deeper");

    // As deep as it may be: 31 graphs in each other take 1 + 3 * 31 messages, and a graph's input takes six.
    TgOnnx__GraphProto *g = graph("", "y");
    add(g, node("A", "a", "x", "y"));
    for (int i = 0; i < 31; i++) {
        TgOnnx__GraphProto *outer = graph(i == 30 ? "x" : "", "y");
        subgraph(add(outer, node("If", "if", "x", "y")), "body", g);
        g = outer;
    }
    model_destroy(read_model(model(g)));
}
END_TEST

START_TEST(test_wire)
{
    struct bytes b = packed(relu());
    uint8_t *twice = arena_alloc(&arena, 2 * b.size);
    memcpy(twice, b.data, b.size);
    memcpy(twice + b.size, b.data, b.size);
    refused_bytes(twice, 2 * b.size, "a second ModelProto.graph");
    refused_bytes("\x0a\x01\x61", 3, "ModelProto.ir_version) has the wrong wire type");
    refused_bytes("\x12\x03"
                  "a\0b",
                  5, "(ModelProto.producer_name) holds a NUL byte");
    refused_bytes("\x13\x14", 2, "has the wrong wire type"); // groups
    refused_bytes("\x00\x01", 2, "no valid field at byte 0");
    refused_bytes("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "no valid number");
    refused_bytes("\x12\xff\xff\xff\xff\xff\x01", 7, "no valid length");
    refused_bytes("\x3a\x04\x0a\x09xy", 6, "goes on after the end of the file");
    refused_bytes("\x3a\x04\x0a\x09xy\x08\x0a", 8, "goes on after the end of the message it is in");

    // A padded length is legal and stays as wide; unknown fields are skipped.
    uint8_t padded[] = {0x08, 0x0a, 0x42, 0x82, 0x80, 0x00, 0x10, 0x15, 0x3a, 0x8a, 0x00, 0x62, 0x03, 0x0a,
                        0x01, 'w',  0x2a, 0x03, 0x42, 0x01, 'w',  0xf8, 0x07, 0x01, 0xfa, 0x07, 0x01, 0x00};
    struct model *m = read_bytes(padded, sizeof padded);
    ck_assert_msg(m != NULL, "%s", diag_string(&diags));
    ck_assert_str_eq(m->graph->proto->initializer[0]->name, "w");
    model_destroy(m);
}
END_TEST

START_TEST(test_budget)
{
    size_t n = 1000000; // tensors of two bytes each
    struct bytes b = {.data = arena_alloc(&arena, 2 * n), .size = 2 * n};
    for (size_t i = 0; i < n; i++)
        b.data[2 * i] = 0x2a;
    b = wrap(b, 7);
    refused_bytes(b.data, b.size, "out of proportion to the file");

    // A long list of small numbers, one field each, is legal.
    b = (struct bytes){.data = arena_alloc(&arena, 2 * n), .size = 0};
    memcpy(b.data, "\x0a\x01v\xa0\x01\x07", 6); // name, type INTS
    for (b.size = 6; b.size + 2 <= 2 * n; b.size += 2)
        b.data[b.size] = 0x40;
    struct bytes attributes = wrap(b, 5), head = {(uint8_t *)"\x22\x01O\x12\x01y", 6};
    struct bytes n1 = {.data = arena_alloc(&arena, attributes.size + 6), .size = attributes.size + 6};
    memcpy(n1.data, head.data, 6);
    memcpy(n1.data + 6, attributes.data, attributes.size);
    struct bytes g = wrap(n1, 1), out = {(uint8_t *)"\x62\x03\x0a\x01y", 5};
    struct bytes g1 = {.data = arena_alloc(&arena, g.size + 5), .size = g.size + 5};
    memcpy(g1.data, g.data, g.size);
    memcpy(g1.data + g.size, out.data, 5);
    g = wrap(g1, 7);
    struct bytes all = {.data = arena_alloc(&arena, g.size + 6), .size = g.size + 6};
    memcpy(all.data, "\x08\x0a\x42\x02\x10\x15", 6);
    memcpy(all.data + 6, g.data, g.size);
    struct model *m = read_bytes(all.data, all.size);
    ck_assert_msg(m != NULL, "%s", diag_string(&diags));
    ck_assert_uint_eq(m->graph->nodes[0]->attribute[0]->n_ints, n - 3);
    model_destroy(m);
}
END_TEST

// ---- Tensors ----

static void check_tensor(TgOnnx__TensorProto *t, enum dtype dtype, const void *data, size_t size)
{
    TgOnnx__ModelProto *p = relu();
    PUSH(p->graph->n_initializer, p->graph->initializer, t);
    struct model *m = read_model(p);
    struct tensor_data out;
    for (int i = 0; i < 2; i++) { // the second time it is known
        ck_assert_msg(!model_tensor(m, m->graph->proto->initializer[0], &out, &diags), "%s", diag_string(&diags));
        ck_assert_int_eq(out.dtype, dtype);
        ck_assert_int_eq(out.bytes, (int64_t)size);
        ck_assert(!size || !memcmp(out.data, data, size));
    }
    model_destroy(m);
}

static void bad_tensor(TgOnnx__TensorProto *t, const char *text)
{
    TgOnnx__ModelProto *p = relu();
    PUSH(p->graph->n_initializer, p->graph->initializer, t);
    struct model *m = read_model(p);
    struct tensor_data out = {.n = 77};
    ck_assert_int_eq(model_tensor(m, m->graph->proto->initializer[0], &out, &diags), 1);
    ck_assert_int_eq(out.n, 77);
    check_errors(1, text);
    model_destroy(m);
}

START_TEST(test_typed)
{
    const int64_t two = 2, four = 4;
    check_tensor(ints(tensor("t", ONNX_INT32, 1, &two), 2, (int32_t[]){-1, 7}), DTYPE_I32, (int32_t[]){-1, 7}, 8);
    check_tensor(ints(tensor("t", ONNX_INT16, 1, &two), 2, (int32_t[]){-32768, 7}), DTYPE_I16, (int16_t[]){-32768, 7},
                 4);
    check_tensor(ints(tensor("t", ONNX_UINT16, 1, &two), 2, (int32_t[]){65535, 7}), DTYPE_U16, (uint16_t[]){65535, 7},
                 4);
    check_tensor(ints(tensor("t", ONNX_INT8, 1, &two), 2, (int32_t[]){-128, 7}), DTYPE_I8, (int8_t[]){-128, 7}, 2);
    check_tensor(ints(tensor("t", ONNX_UINT8, 1, &two), 2, (int32_t[]){255, 7}), DTYPE_U8, (uint8_t[]){255, 7}, 2);
    check_tensor(ints(tensor("t", ONNX_BOOL, 1, &two), 2, (int32_t[]){5, 0}), DTYPE_I1, (uint8_t[]){1, 0}, 2);
    check_tensor(ints(tensor("t", ONNX_FLOAT16, 1, &two), 2, (int32_t[]){0x3c00, 0xbc00}), DTYPE_F16,
                 (uint16_t[]){0x3c00, 0xbc00}, 4);
    check_tensor(ints(tensor("t", ONNX_BFLOAT16, 1, &two), 2, (int32_t[]){0x3f80, -0x4080}), DTYPE_BF16,
                 (uint16_t[]){0x3f80, 0xbf80}, 4);
    check_tensor(ints(tensor("t", ONNX_FLOAT8E4M3FN, 1, &two), 2, (int32_t[]){0x38, 0xb8}), DTYPE_F8E4M3,
                 (uint8_t[]){0x38, 0xb8}, 2);
    check_tensor(raw(tensor("t", ONNX_BOOL, 1, &four), "\0\1\2\377", 4), DTYPE_I1, "\0\1\1\1", 4);
    TgOnnx__TensorProto *t = tensor("t", ONNX_UINT32, 1, &two);
    t->n_uint64_data = 2;
    t->uint64_data = (uint64_t[]){UINT32_MAX, 7};
    check_tensor(t, DTYPE_U32, (uint32_t[]){UINT32_MAX, 7}, 8);
    t->uint64_data = (uint64_t[]){UINT32_MAX, UINT64_C(1) << 32};
    bad_tensor(t, "tensor 't': element 1 does not fit its type: 4294967296");
    t->data_type = ONNX_UINT64;
    t->uint64_data = (uint64_t[]){UINT64_MAX, 7};
    check_tensor(t, DTYPE_U64, (uint64_t[]){UINT64_MAX, 7}, 16);
    t = tensor("t", ONNX_INT64, 1, &two);
    t->n_int64_data = 2;
    t->int64_data = (int64_t[]){INT64_MIN, 7};
    check_tensor(t, DTYPE_I64, t->int64_data, 16);
    t = tensor("t", ONNX_DOUBLE, 1, &two);
    t->n_double_data = 2;
    t->double_data = (double[]){0.1, 7};
    check_tensor(t, DTYPE_F64, t->double_data, 16);
    t = tensor("t", ONNX_FLOAT, 1, &two);
    t->n_float_data = 2;
    t->float_data = (float[]){0.1f, 7};
    check_tensor(t, DTYPE_F32, t->float_data, 8);
    t->n_float_data = 3;
    t->float_data = (float[]){1, 2, 3};
    bad_tensor(t, "its shape needs 2 entries in float_data, there are 3");
    t->n_float_data = 0;
    bad_tensor(t, "there are none");
    t->dims[0] = 0;
    check_tensor(t, DTYPE_F32, NULL, 0);
    t = tensor("t", ONNX_STRING, 1, &two);
    t->n_string_data = 2;
    t->string_data = (ProtobufCBinaryData[]){{2, (uint8_t *)"ab"}, {0, NULL}};
    TgOnnx__ModelProto *p = relu();
    PUSH(p->graph->n_initializer, p->graph->initializer, t);
    struct model *m = read_model(p);
    struct tensor_data out;
    ck_assert(!model_tensor(m, m->graph->proto->initializer[0], &out, &diags));
    ck_assert(out.dtype == DTYPE_NONE && out.n == 2 && out.strings[0].len == 2 && !out.strings[1].len);
    model_destroy(m);
}
END_TEST

START_TEST(test_bad_tensors)
{
    const int64_t two = 2;
    bad_tensor(ints(tensor("t", ONNX_UINT8, 1, &two), 2, (int32_t[]){0, 256}), "element 1 does not fit its type: 256");
    bad_tensor(ints(tensor("t", ONNX_UINT8, 1, &two), 2, (int32_t[]){-1, 0}), "element 0 does not fit its type: -1");
    bad_tensor(ints(tensor("t", ONNX_INT8, 1, &two), 2, (int32_t[]){0, 128}), "element 1 does not fit its type: 128");
    bad_tensor(ints(tensor("t", ONNX_FLOAT16, 1, &two), 2, (int32_t[]){0, 65536}), "does not fit");
    bad_tensor(ints(tensor("t", ONNX_FLOAT, 1, &two), 2, (int32_t[]){0, 1}),
               "its type is FLOAT, but it has data in int32_data");
    bad_tensor(raw(tensor("t", ONNX_FLOAT, 1, &two), "1234567", 7), "its shape needs 8 bytes, but raw_data has 7");
    bad_tensor(raw(tensor("t", ONNX_STRING, 1, &two), "12", 2), "strings cannot be in raw_data");
    bad_tensor(raw(ints(tensor("t", ONNX_INT32, 1, &two), 2, (int32_t[]){0, 1}), "12345678", 8),
               "raw_data and typed data");
    bad_tensor(tensor("t", ONNX_COMPLEX64, 1, &two), "COMPLEX64 is not supported");
    bad_tensor(tensor("t", 99, 1, &two), "element type 99 is not supported");
    bad_tensor(tensor("t", -1, 1, &two), "element type -1 is not supported");
    bad_tensor(tensor("t", 0, 1, &two), "it has no element type");
    bad_tensor(tensor("t", ONNX_FLOAT, 2, (int64_t[]){3, -1}), "dimension 1 is negative: -1");
    bad_tensor(tensor("t", ONNX_FLOAT, 2, (int64_t[]){INT64_MAX, 2}), "too many elements");
    bad_tensor(tensor("t", ONNX_FLOAT, 3, (int64_t[]){INT64_C(1) << 32, INT64_C(1) << 31, 2}), "too many elements");
    bad_tensor(tensor("t", ONNX_FLOAT, 1, (int64_t[]){INT64_C(1) << 61}), "too many elements");
    bad_tensor(tensor("t", ONNX_FLOAT, 1, (int64_t[]){INT64_C(1) << 40}), "there are none");
    bad_tensor(tensor("t", ONNX_INT8, 1, (int64_t[]){INT64_C(1) << 40}),
               "there are none"); // before it would be allocated
    check_tensor(tensor("t", ONNX_FLOAT, 3, (int64_t[]){INT64_MAX, 0, INT64_MAX}), DTYPE_F32, NULL, 0);
    TgOnnx__TensorProto *t = tensor("t", ONNX_FLOAT, 0, NULL);
    t->n_dims = 1000;
    t->dims = arena_alloc(&arena, 8000);
    bad_tensor(t, "it has 1000 dimensions");
    t = tensor("t", ONNX_FLOAT, 1, &two);
    t->segment = NEW(TgOnnx__TensorProto__Segment, TG_ONNX__TENSOR_PROTO__SEGMENT__INIT);
    bad_tensor(t, "segment");
    t = tensor("a\nb\x1b[31m\xc3\xa4\xff", ONNX_FLOAT, 1, &two);
    bad_tensor(t, "tensor 'a\\x0ab\\x1b[31m\xc3\xa4\\xff': ");
}
END_TEST

// ---- External data ----

static void write_file(const char *name, int n) // floats 0, 1, ...
{
    float data[64];
    for (int i = 0; i < n; i++)
        data[i] = (float)i;
    FILE *f = fopen(arena_printf(&arena, "%s/%s", folder, name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert(fwrite(data, 4, (size_t)n, f) == (size_t)n && !fclose(f));
}

static void make_link(const char *to, const char *name)
{
    ck_assert(!symlink(to, arena_printf(&arena, "%s/%s", folder, name)));
}

static void make_folder(const char *name)
{
    ck_assert(!mkdir(arena_printf(&arena, "%s/%s", folder, name), 0700));
}

// Reads the model folder/path/m.onnx whose only tensor is t.
static struct model *read_with(const char *path, TgOnnx__TensorProto *t)
{
    TgOnnx__ModelProto *p = relu();
    PUSH(p->graph->n_initializer, p->graph->initializer, t);
    struct bytes b = packed(p);
    path = arena_printf(&arena, "%s/%s", folder, path);
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(b.data, 1, b.size, f) == b.size && !fclose(f));
    struct model *m = model_read_file(path, &diags);
    ck_assert_msg(m != NULL, "%s", diag_string(&diags));
    return m;
}

static void good_external(const char *path, TgOnnx__TensorProto *t, float first)
{
    struct model *m = read_with(path, t);
    struct tensor_data out;
    ck_assert_msg(!model_tensor(m, m->graph->proto->initializer[0], &out, &diags), "%s", diag_string(&diags));
    float x[8];
    memcpy(x, out.data, sizeof x);
    for (int i = 0; i < 8; i++)
        ck_assert_float_eq(x[i], first + (float)i);
    ck_assert_int_eq(out.source, TENSOR_EXTERNAL);
    model_destroy(m);
}

static void bad_external(const char *path, TgOnnx__TensorProto *t, const char *text)
{
    struct model *m = read_with(path, t);
    struct tensor_data out;
    ck_assert_int_eq(model_tensor(m, m->graph->proto->initializer[0], &out, &diags), 1);
    check_errors(1, text);
    model_destroy(m);
}

START_TEST(test_external_place)
{
    write_file("w.bin", 16);
    good_external("m.onnx", external("w", "w.bin", NULL, NULL), 0);
    good_external("m.onnx", external("w", "w.bin", "32", "32"), 8);
    good_external("m.onnx", external("w", "./w.bin", "4", NULL), 1);
    bad_external("m.onnx", external("w", "w.bin", "36", NULL),
                 "tensor 'w': its external data, 32 bytes at 36, goes beyond the end of 'w.bin', which has 64 bytes");
    bad_external("m.onnx", external("w", "w.bin", "18446744073709551615", "32"), "goes beyond the end");
    bad_external("m.onnx", external("w", "w.bin", "18446744073709551616", "32"),
                 "the offset of its external data is too large");
    bad_external("m.onnx", external("w", "w.bin", "-4", "32"), "no non-negative number: '-4'");
    bad_external("m.onnx", external("w", "w.bin", "0", " 32"), "no non-negative number");
    bad_external("m.onnx", external("w", "w.bin", "0x10", "32"), "no non-negative number");
    bad_external("m.onnx", external("w", "w.bin", "", "32"), "no non-negative number");
    bad_external("m.onnx", external("w", "w.bin", NULL, "64"),
                 "its shape needs 32 bytes, but its external data has 64");
    bad_external("m.onnx", external("w", NULL, NULL, NULL), "has no location");
    TgOnnx__TensorProto *t = external("w", "w.bin", "0", NULL);
    entry(t, "offset", "4");
    bad_external("m.onnx", t, "two entries 'offset'");
    t = raw(external("w", "w.bin", "0", NULL), (char[32]){0}, 32);
    bad_external("m.onnx", t, "data in the file as well");
    t = external("w", "w.bin", "0", NULL);
    t->data_location = 0;
    bad_external("m.onnx", t, "not set to EXTERNAL");
    t->data_location = 2;
    bad_external("m.onnx", t, "unknown location 2");
    t = external("w", "w.bin", NULL, NULL);
    t->data_type = ONNX_STRING;
    bad_external("m.onnx", t, "strings cannot be in its external data");
    write_file("empty.bin", 0);
    bad_external("m.onnx", external("w", "empty.bin", NULL, NULL), "which has 0 bytes");
}
END_TEST

START_TEST(test_external_path)
{
    make_folder("in");
    make_folder("in/sub");
    make_folder("out");
    write_file("in/sub/w.bin", 8);
    write_file("out/w.bin", 8);
    good_external("in/m.onnx", external("w", "sub/w.bin", NULL, NULL), 0);
    good_external("in/m.onnx", external("w", "sub//./w.bin", NULL, NULL), 0);
    bad_external("in/m.onnx", external("w", "../out/w.bin", NULL, NULL), "'../out/w.bin' has '..' in it");
    bad_external("in/m.onnx", external("w", "sub/../../out/w.bin", NULL, NULL), "has '..' in it");
    bad_external("in/m.onnx", external("w", "sub/..", NULL, NULL), "has '..' in it");
    bad_external("in/m.onnx", external("w", "/etc/passwd", NULL, NULL), "is an absolute path");
    bad_external("in/m.onnx", external("w", "", NULL, NULL), "is empty");
    bad_external("in/m.onnx", external("w", "none.bin", NULL, NULL), "cannot be opened: No such file");
    bad_external("in/m.onnx", external("w", "sub/w.bin/x", NULL, NULL), "cannot be opened: Not a directory");
    bad_external("in/m.onnx", external("w", "sub", NULL, NULL), "is not a regular file");
    bad_external("in/m.onnx", external("w", ".", NULL, NULL), "is not a regular file");
    char *name = arena_alloc(&arena, 5000);
    memset(name, 'a', 4999);
    bad_external("in/m.onnx", external("w", name, NULL, NULL), "cannot be opened: File name too long");
    ck_assert(!mkfifo(arena_printf(&arena, "%s/in/fifo", folder), 0600));
    bad_external("in/m.onnx", external("w", "fifo", NULL, NULL), "is not a regular file");

    // Links: within the folder yes, out of it no, be it the file or a folder.
    make_link("sub/w.bin", "in/inside.bin");
    make_link("sub", "in/inside");
    make_link("../out/w.bin", "in/outside.bin");
    make_link("../out", "in/outside");
    make_link("/etc/passwd", "in/passwd");
    make_link("loop", "in/loop");
    good_external("in/m.onnx", external("w", "inside.bin", NULL, NULL), 0);
    good_external("in/m.onnx", external("w", "inside/w.bin", NULL, NULL), 0);
    bad_external("in/m.onnx", external("w", "outside.bin", NULL, NULL),
                 "is a link that leads out of the model's folder");
    bad_external("in/m.onnx", external("w", "outside/w.bin", NULL, NULL), "leads out");
    bad_external("in/m.onnx", external("w", "passwd", NULL, NULL), "leads out");
    bad_external("in/m.onnx", external("w", "loop", NULL, NULL), "cannot be opened: Too many levels of symbolic links");
    make_folder("in2"); // has the folder's name as a prefix
    write_file("in2/w.bin", 8);
    make_link("../in2/w.bin", "in/neighbour.bin");
    bad_external("in/m.onnx", external("w", "neighbour.bin", NULL, NULL), "leads out");
    ck_assert(!link(arena_printf(&arena, "%s/out/w.bin", folder), arena_printf(&arena, "%s/in/hard.bin", folder)));
    bad_external("in/m.onnx", external("w", "hard.bin", NULL, NULL), "has other names (hard links)");
    ck_assert(!unlink(arena_printf(&arena, "%s/in/hard.bin", folder)));

    // A cache of blobs: model and data are links into one folder.
    make_folder("blobs");
    make_folder("snapshot");
    make_folder("blobs/deeper");
    write_file("blobs/1234", 8);
    write_file("blobs/m", 0);
    make_link("../blobs/1234", "snapshot/w.bin");
    make_link("../out/w.bin", "snapshot/out.bin");
    make_link("../blobs/m", "snapshot/m.onnx");
    good_external("snapshot/m.onnx", external("w", "w.bin", NULL, NULL), 0);
    bad_external("snapshot/m.onnx", external("w", "out.bin", NULL, NULL), "leads out");
    bad_external("snapshot/m.onnx", external("w", "1234", NULL, NULL), "cannot be opened: No such file");
}
END_TEST

START_TEST(test_external_shared)
{
    write_file("w.bin", 16);
    make_link("w.bin", "again.bin");
    TgOnnx__ModelProto *p = relu();
    PUSH(p->graph->n_initializer, p->graph->initializer, external("a", "w.bin", NULL, NULL));
    PUSH(p->graph->n_initializer, p->graph->initializer, external("b", "w.bin", "32", NULL));
    PUSH(p->graph->n_initializer, p->graph->initializer, external("c", "again.bin", NULL, NULL));
    struct model *m = read_model(p);
    struct tensor_data a, b, c;
    ck_assert(!model_tensor(m, m->graph->proto->initializer[0], &a, &diags));
    ck_assert(!model_tensor(m, m->graph->proto->initializer[1], &b, &diags));
    ck_assert(!model_tensor(m, m->graph->proto->initializer[2], &c, &diags));
    ck_assert_ptr_eq((const char *)a.data + 32, b.data); // mapped once
    ck_assert_ptr_eq(a.data, c.data);
    model_destroy(m);
    struct bytes bytes = packed(p);
    m = model_read_memory(bytes.data, bytes.size, "m", NULL, &diags);
    ck_assert_int_eq(model_tensor(m, m->graph->proto->initializer[0], &a, &diags), 1);
    check_errors(1, "the model has no folder");
    model_destroy(m);
}
END_TEST

// ---- Running out of memory ----

START_TEST(test_out_of_memory)
{
    write_file("w.bin", 16);
    TgOnnx__ModelProto *p = with_function();
    PUSH(p->graph->n_initializer, p->graph->initializer, external("a", "w.bin", NULL, NULL));
    PUSH(p->graph->n_initializer, p->graph->initializer,
         ints(tensor("b", ONNX_INT8, 1, (int64_t[]){4000}), 4000, arena_alloc(&arena, 16000)));
    PUSH(p->graph->n_initializer, p->graph->initializer,
         raw(tensor("c", ONNX_INT8, 1, (int64_t[]){99}), (char[99]){0}, 99));
    for (int i = 0; i < 200; i++)
        add(p->graph, node("A", "n", i ? arena_printf(&arena, "z%d", i - 1) : "x", arena_printf(&arena, "z%d", i)));
    TgOnnx__NodeProto *first = p->graph->node[0]; // out of order
    p->graph->node[0] = p->graph->node[200];
    p->graph->node[200] = first;
    struct bytes b = packed(p);
    const char *path = arena_printf(&arena, "%s/m.onnx", folder);
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(b.data, 1, b.size, f) == b.size && !fclose(f));
    struct model *volatile m;
    for (long n = 0;; n++) {
        struct diags d;
        diag_init(&d);
        allocations_fail_after(n, FAIL_ONCE);
        m = model_read_file(path, &d);
        bool spent = allocations_recover();
        ck_assert(m || d.n_errors == 1);
        if (!m && d.n_errors == 1)
            ck_assert_ptr_nonnull(strstr(diag_string(&d), "out of memory"));
        diag_finish(&d);
        if (m)
            break;
        ck_assert(n < 100000 && (spent || !m));
    }
    // With a recovery point it unwinds there.
    struct arena_recovery here;
    volatile int unwound = 0;
    arena_set_recovery(&here);
    if (setjmp(here.jump)) {
        unwound = 1;
    } else {
        allocations_fail_after(3, FAIL_ONCE);
        model_destroy(model_read_file(path, &diags));
    }
    allocations_recover();
    ck_assert_int_eq(unwound, 1);
    for (volatile long n = 0; n < 8; n++) {
        struct tensor_data out;
        if (!setjmp(here.jump)) {
            allocations_fail_after(n, FAIL_ONCE);
            for (int i = 0; i < 3; i++)
                model_tensor(m, m->graph->proto->initializer[i], &out, &diags);
        }
        allocations_recover();
    }
    arena_set_recovery(NULL);
    for (int i = 0; i < 3; i++) {
        struct tensor_data out;
        ck_assert(!model_tensor(m, m->graph->proto->initializer[i], &out, &diags));
    }
    model_destroy(m);
}
END_TEST

int main(void)
{
    static const struct {
        const char *name;
        const TTest *const *tests[8]; // NULL at the end
    } cases[] = {
        {"files",
         {&test_minimal, &test_raw_lengths, &test_no_model, &test_truncated, &test_file_and_pipe, &test_versions}},
        {"wire", {&test_depth, &test_wire, &test_budget}},
        {"tensors", {&test_typed, &test_bad_tensors}},
        {"external data", {&test_external_place, &test_external_path, &test_external_shared}},
        {"memory", {&test_out_of_memory}},
    };
    Suite *s = suite_create("reader");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TCase *c = tcase_create(cases[i].name);
        tcase_add_checked_fixture(c, begin, end);
        tcase_set_timeout(c, 120);
        for (const TTest *const *const *t = cases[i].tests; *t; t++)
            tcase_add_test(c, **t);
        suite_add_tcase(s, c);
    }
    return suite_run(s, CK_FORK_GETENV);
}
