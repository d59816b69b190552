// Fuzz target of tensor files: bytes -> tensor or diagnostic; a tensor is written in both formats and read back.
//
// Built with -fsanitize=fuzzer and -DLIBFUZZER this is a libFuzzer target; without, its main reads the files and
// folders it is given.
//
// A fault is a crash, a sanitizer's report, a refusal without a diagnostic, a tensor that is larger than its file
// allows, or one that does not survive being written.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tensor_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t n_read, n_refused;

static void fault(const char *what, struct diags *diags)
{
    fprintf(stderr, "fuzz_tensor: %s\n%s\n", what, diag_string(diags));
    abort();
}

static void check(const struct tensor_file *t, size_t size, struct diags *diags)
{
    int64_t n = dtype_bytes(t->dtype);
    for (int i = 0; i < t->rank; i++)
        n = t->dims[i] ? n * t->dims[i] : 0;
    if (n != t->bytes || !t->data || (uintptr_t)t->data % (size_t)dtype_bytes(t->dtype))
        fault("shape and data do not match", diags);
    if ((uint64_t)t->bytes > 8 * size)
        fault("the tensor is larger than its file allows", diags);
    for (int64_t i = 0; t->dtype == DTYPE_I1 && i < t->bytes; i++)
        if (((uint8_t *)t->data)[i] > 1)
            fault("a boolean is neither 0 nor 1", diags);
}

static void round_trip(const struct tensor_file *t, enum tensor_format format, struct arena *a, struct diags *diags)
{
    size_t size;
    struct tensor_file again;
    uint8_t *bytes = tensor_file_encode("again", t, format, &size, diags);
    if (!bytes || tensor_file_decode("again", bytes, size, a, &again, diags))
        fault("what was written is not read back", diags);
    bool exact = true;
    if (format == TENSOR_FORMAT_NPY)
        tensor_npy_has(t->dtype, &exact);
    if ((exact && again.dtype != t->dtype) || again.rank != t->rank || again.bytes != t->bytes ||
        memcmp(again.dims, t->dims, sizeof t->dims) || memcmp(again.data, t->data, (size_t)t->bytes))
        fault("what was written reads back as something else", diags);
    if (format == TENSOR_FORMAT_PB && strcmp(t->name ? t->name : "", again.name ? again.name : ""))
        fault("the name reads back as another", diags);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diags diags;
    struct arena a;
    struct tensor_file t;
    diag_init(&diags);
    arena_init(&a);
    uint8_t *bytes = malloc(size + !size); // exactly as large: a sanitizer sees the end
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    bool read = !tensor_file_decode("fuzz", bytes, size, &a, &t, &diags);
    if (read == !!diags.n_errors)
        fault("neither a tensor nor a diagnostic, or both", &diags);
    *(read ? &n_read : &n_refused) += 1;
    if (read) {
        check(&t, size, &diags);
        round_trip(&t, TENSOR_FORMAT_NPY, &a, &diags);
        round_trip(&t, TENSOR_FORMAT_PB, &a, &diags);
    }
    free(bytes);
    diag_string(&diags);
    arena_finish(&a);
    diag_finish(&diags);
    return 0;
}

#ifndef LIBFUZZER
#include <ftw.h>
#include <sys/stat.h>

static int run_file(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)walk;
    if (kind == FTW_D)
        return 0;
    size_t size = (size_t)st->st_size;
    uint8_t *data = malloc(size + 1);
    FILE *f = fopen(path, "rb");
    if (kind != FTW_F || !data || !f || fread(data, 1, size, f) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (nftw(argv[i], run_file, 16, FTW_PHYS)) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
    printf("%zu inputs: %zu read, %zu refused\n", n_read + n_refused, n_read, n_refused);
    return !(n_read + n_refused);
}
#endif
