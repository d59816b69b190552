// Fuzz target of the reader of ONNX files: any bytes must give a model or a diagnostic. Of a model all tensors are
// fetched, and every node must find its inputs computed. It is then imported: that gives a graph that the verifier
// accepts, or a diagnostic.
//
//   clang -fsanitize=fuzzer,address,undefined -DFUZZ_ONNX_LIBFUZZER ...   searches for faults
//   otherwise a main() that replays the files and folders it is given; the tests run it over corpus/onnx. With -v it
//   prints what each file is refused for.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/import.h"
#include "frontend/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t n_read, n_refused, n_imported;
static const char *verbose; // the name of the file; NULL: quiet

static void fetch_tensors(struct model *m, const ProtobufCMessage *message, struct diags *diags)
{
    const ProtobufCMessageDescriptor *d = message->descriptor;
    if (d == &tg_onnx__tensor_proto__descriptor) {
        struct tensor_data t;
        unsigned char sum = 0;
        if (!model_tensor(m, (const TgOnnx__TensorProto *)message, &t, diags)) {
            for (int64_t i = 0; t.data && i < t.bytes; i++)
                sum ^= ((const unsigned char *)t.data)[i];
            for (int64_t i = 0; t.strings && i < t.n; i++)
                for (size_t k = 0; k < t.strings[i].len; k++)
                    sum ^= t.strings[i].data[k];
        }
        static volatile unsigned char sink;
        sink = sum;
        (void)sink;
    }
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        const char *member = (const char *)message + f->offset, *n = (const char *)message + f->quantifier_offset;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            ProtobufCMessage **list = *(ProtobufCMessage * *const *)member;
            for (size_t k = 0; k < *(const size_t *)n; k++)
                fetch_tensors(m, list[k], diags);
        } else if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(const uint32_t *)n == f->id) {
            if (*(ProtobufCMessage *const *)member)
                fetch_tensors(m, *(ProtobufCMessage *const *)member, diags);
        }
    }
}

// Every name that a node uses is known, and its producer has come before.
static void check_order(const struct model_graph *g)
{
    struct arena scratch;
    struct map done;
    arena_init(&scratch);
    map_init(&done, 1);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const TgOnnx__NodeProto *node = g->nodes[i];
        for (size_t k = 0; k < node->n_input; k++) {
            const struct model_name *n = model_lookup(g, node->input[k]);
            if (!*node->input[k])
                continue;
            if (!n || (n->graph == g && n->kind == MODEL_NODE_OUTPUT &&
                       !map_find(&done, node->input[k], strlen(node->input[k]))))
                abort();
        }
        for (size_t k = 0; k < node->n_output; k++)
            map_insert(&done, &scratch, node->output[k], strlen(node->output[k]), &done);
        for (size_t k = 0; k < node->n_attribute; k++)
            if (!attribute_type(node->attribute[k]) && !node->attribute[k]->ref_attr_name)
                abort();
    }
    arena_finish(&scratch);
}

static void import(struct model *m)
{
    struct diags diags;
    diag_init(&diags);
    struct module *g = import_model(m, NULL, &diags);
    if (!g == !diags.n_errors || (g && !verify_module(g, &diags))) {
        diag_print(&diags, stderr, false);
        abort();
    }
    n_imported += g != NULL;
    module_destroy(g);
    diag_finish(&diags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diags diags;
    diag_init(&diags);
    struct model *m = model_read_memory(data, size, verbose ? verbose : "fuzz.onnx", NULL, &diags);
    if (!m == !diags.n_errors) // one or the other
        abort();
    *(m ? &n_read : &n_refused) += 1;
    if (!m && verbose)
        diag_print(&diags, stdout, false);
    if (m) {
        check_order(m->graph);
        for (size_t i = 0; i < m->n_functions; i++)
            check_order(m->functions[i].body);
        fetch_tensors(m, &m->proto->base, &diags);
        import(m);
    }
    model_destroy(m);
    diag_string(&diags);
    diag_finish(&diags);
    return 0;
}

#ifndef FUZZ_ONNX_LIBFUZZER
#include <ftw.h>
#include <sys/stat.h>

static size_t n_files;
static bool print;

static int run_file(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)walk;
    if (kind == FTW_D)
        return 0;
    size_t size = (size_t)st->st_size;
    uint8_t *data = malloc(size ? size : 1); // exactly as large: a sanitizer sees the end
    FILE *f = fopen(path, "rb");
    if (kind != FTW_F || !data || !f || fread(data, 1, size, f) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(f);
    if (print)
        verbose = path;
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    n_files++;
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-v")) {
            print = true;
        } else if (nftw(argv[i], run_file, 16, FTW_PHYS)) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
    printf("%zu inputs: %zu read, %zu refused, %zu imported\n", n_files, n_read, n_refused, n_imported);
    return !n_files;
}
#endif
