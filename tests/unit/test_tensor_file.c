#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tools/random_input.h"
#include "tools/tensor_file.h"

static struct arena arena;
static struct diags diags;
static char folder[64];

static void setup(void)
{
    arena_init(&arena);
    diag_init(&diags);
    strcpy(folder, "/tmp/tensor-file-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *file; (file = readdir(d));)
        unlinkat(dirfd(d), file->d_name, 0);
    closedir(d);
    rmdir(folder);
    arena_finish(&arena);
    diag_finish(&diags);
}

static const char *in_folder(const char *name)
{
    return arena_printf(&arena, "%s/%s", folder, name);
}

static void make_file(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

static int decode(const char *path, const void *bytes, size_t size, struct tensor_file *t)
{
    uint8_t *copy = malloc(size + !size), *data; // exactly as large: a sanitizer sees the end
    if (size)
        memcpy(copy, bytes, size);
    int status = tensor_file_decode(path, copy, size, &arena, t, &diags);
    if (!status) {
        data = arena_copy(&arena, t->data, (size_t)t->bytes);
        t->data = data;
    }
    free(copy);
    return status;
}

static void refused(const char *path, const void *bytes, size_t size, const char *why)
{
    struct tensor_file t = {.rank = 77};
    diag_finish(&diags);
    diag_init(&diags);
    ck_assert_int_ne(decode(path, bytes, size, &t), 0);
    ck_assert_int_eq(t.rank, 77);
    ck_assert_int_eq(diags.n_errors, 1);
    ck_assert_msg(strstr(diag_string(&diags), why), "wanted \"%s\", got %s", why, diag_string(&diags));
}

// ---- Files that numpy 2.4 and onnx 1.23 wrote -----------------------------------------------------------------------

#define NUMPY_F4                                                                                                       \
    "\223NUMPY\001\000v\000{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }                           "     \
    "                               \n"                                                                                \
    "\000\000 \300\000\000\300\277\000\000\000\277\000\000\000\077\000\000\300\077\000\000 @"
#define NUMPY_F4_FORTRAN_BIG                                                                                           \
    "\223NUMPY\001\000v\000{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }                            "     \
    "                               \n"                                                                                \
    "\300 \000\000\077\000\000\000\277\300\000\000\077\300\000\000\277\000\000\000@ \000\000"
#define NUMPY_F2_BIG_2                                                                                                 \
    "\223NUMPY\002\000t\000\000\000{'descr': '>f2', 'fortran_order': False, 'shape': (4,), }                     "     \
    "                                     \n"                                                                          \
    "<\000\300\0008\000{\377"
#define NUMPY_I8_SCALAR_3                                                                                              \
    "\223NUMPY\003\000t\000\000\000{'descr': '<i8', 'fortran_order': False, 'shape': (), }                       "     \
    "                                     \n"                                                                          \
    "\373\377\377\377\377\377\377\377"
#define NUMPY_B1                                                                                                       \
    "\223NUMPY\001\000v\000{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }                             "     \
    "                               \n"                                                                                \
    "\001\000\001"
#define NUMPY_I2_FORTRAN                                                                                               \
    "\223NUMPY\001\000v\000{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3, 4), }                         "     \
    "                               \n"                                                                                \
    "\000\000\014\000\004\000\020\000\010\000\024\000\001\000\015\000\005\000\021\000\011\000\025\000\002\000\016"     \
    "\000\006\000\022\000\n\000\026\000\003\000\017\000\007\000\023\000\013\000\027\000"
#define NUMPY_U1_EMPTY                                                                                                 \
    "\223NUMPY\001\000v\000{'descr': '|u1', 'fortran_order': False, 'shape': (0, 3), }                           "     \
    "                               \n"
#define ONNX_FLOAT                                                                                                     \
    "\010\002\010\003\020\001B\001xJ\030\000\000 \300\000\000\300\277\000\000\000\277\000\000\000\077\000\000\300"     \
    "\077\000\000 @"

#define BYTES(text) text, sizeof text - 1

static const struct good {
    const char *what, *bytes;
    size_t size;
    enum dtype dtype;
    int rank;
    int64_t dims[3];
    const char *name;
    double values[24];
} good[] = {
    {"f4", BYTES(NUMPY_F4), DTYPE_F32, 2, {2, 3}, NULL, {-2.5, -1.5, -.5, .5, 1.5, 2.5}},
    {"f4, fortran, big", BYTES(NUMPY_F4_FORTRAN_BIG), DTYPE_F32, 2, {2, 3}, NULL, {-2.5, -1.5, -.5, .5, 1.5, 2.5}},
    {"f2, big, 2.0", BYTES(NUMPY_F2_BIG_2), DTYPE_F16, 1, {4}, NULL, {1, -2, .5, 65504}},
    {"i8, scalar, 3.0", BYTES(NUMPY_I8_SCALAR_3), DTYPE_I64, 0, {0}, NULL, {-5}},
    {"b1", BYTES(NUMPY_B1), DTYPE_I1, 1, {3}, NULL, {1, 0, 1}},
    {"i2, fortran", BYTES(NUMPY_I2_FORTRAN), DTYPE_I16, 3, {2, 3, 4}, NULL, {0,  1,  2,  3,  4,  5,  6,  7,
                                                                             8,  9,  10, 11, 12, 13, 14, 15,
                                                                             16, 17, 18, 19, 20, 21, 22, 23}},
    {"u1, empty", BYTES(NUMPY_U1_EMPTY), DTYPE_U8, 2, {0, 3}, NULL, {0}},
    {"FLOAT", BYTES(ONNX_FLOAT), DTYPE_F32, 2, {2, 3}, "x", {-2.5, -1.5, -.5, .5, 1.5, 2.5}},
    {"FLOAT, typed",
     BYTES("\010\002\020\001\042\010\000\000\300\077\000\000\000\300B\001y"),
     DTYPE_F32,
     1,
     {2},
     "y",
     {1.5, -2}},
    {"FLOAT16, typed", BYTES("\010\002\020\n*\005\200|\200\200\003B\001h"), DTYPE_F16, 1, {2}, "h", {1.5, -2}},
    {"BOOL, typed", BYTES("\010\003\020\011*\003\001\000\001B\001b"), DTYPE_I1, 1, {3}, "b", {1, 0, 1}},
    {"INT8, typed",
     BYTES("\010\002\020\003*\013\200\377\377\377\377\377\377\377\377\001\177B\001i"),
     DTYPE_I8,
     1,
     {2},
     "i",
     {-128, 127}},
    {"UINT32, typed",
     BYTES("\010\002\020\014B\001uZ\006\007\377\377\377\377\017"),
     DTYPE_U32,
     1,
     {2},
     "u",
     {7, 4294967295}},
    {"INT64, typed",
     BYTES("\020\007:\n\200\200\200\200\200\200\200\200\200\001B\001l"),
     DTYPE_I64,
     0,
     {0},
     "l",
     {-0x1p63}},
    {"DOUBLE, typed",
     BYTES("\010\001\020\013B\001dR\010\232\231\231\231\231\231\271\077"),
     DTYPE_F64,
     1,
     {1},
     "d",
     {0.1}},
    {"BFLOAT16, typed, without a name",
     BYTES("\010\002\020\020*\005\300\177\200\200\003B\000"),
     DTYPE_BF16,
     1,
     {2},
     NULL,
     {1.5, -2}},
    {"FLOAT8E4M3FN", BYTES("\010\002\020\021J\0028\260"), DTYPE_F8E4M3, 1, {2}, NULL, {1, -.5}},
    // By hand.
    {"INT64, not packed", BYTES("\x08\x03\x10\x07\x38\x01\x38\x02\x38\x03"), DTYPE_I64, 1, {3}, NULL, {1, 2, 3}},
    {"dims packed, unknown fields",
     BYTES("\x0a\x02\x01\x02\xa0\x06\x05\xaa\x06\x01z\x10\x02J\x02\x07\xff"),
     DTYPE_U8,
     2,
     {1, 2},
     NULL,
     {7, 255}},
    {"BOOL, raw, any bytes", BYTES("\x08\x02\x10\x09J\x02\x00\x07"), DTYPE_I1, 1, {2}, NULL, {0, 1}},
    {"no space, Python 2, keys in another order",
     BYTES("\223NUMPY\1\0\071\0{\"shape\":(2L,),\"fortran_order\":True,\"descr\":'|u1'}       \1\2"),
     DTYPE_U8,
     1,
     {2},
     NULL,
     {1, 2}},
};

START_TEST(files_of_others)
{
    const struct good *g = &good[_i];
    struct tensor_file t;
    ck_assert_msg(!decode("x", g->bytes, g->size, &t), "%s: %s", g->what, diag_string(&diags));
    int64_t n = 1;
    ck_assert_int_eq(t.dtype, g->dtype);
    ck_assert_int_eq(t.rank, g->rank);
    for (int i = 0; i < t.rank; i++) {
        ck_assert_int_eq(t.dims[i], g->dims[i]);
        n *= t.dims[i];
    }
    ck_assert_int_eq(t.bytes, n * dtype_bytes(t.dtype));
    ck_assert_pstr_eq(t.name, g->name);
    for (int64_t i = 0; i < n; i++) {
        union scalar x = dtype_load(t.dtype, (char *)t.data + i * dtype_bytes(t.dtype));
        ck_assert_double_eq(dtype_is_float(t.dtype) ? x.f : (double)x.i, g->values[i]);
    }
    for (size_t size = 0; size < g->size; size++) { // no sanitizer report, whatever is made of it
        diag_finish(&diags);
        diag_init(&diags);
        bool read = !decode("x", g->bytes, size, &t);
        ck_assert_int_eq(read, !diags.n_errors);
        ck_assert(!read || g->bytes[0] != '\223');
    }
}
END_TEST

// Ours are byte by byte what numpy and onnx write.
START_TEST(same_bytes)
{
    struct tensor_file t;
    size_t size;
    ck_assert_int_eq(decode("x", ONNX_FLOAT, sizeof ONNX_FLOAT - 1, &t), 0);
    uint8_t *npy = tensor_file_encode("x.npy", &t, TENSOR_FORMAT_AUTO, &size, &diags);
    ck_assert_uint_eq(size, sizeof NUMPY_F4 - 1);
    ck_assert_mem_eq(npy, NUMPY_F4, size);
    uint8_t *pb = tensor_file_encode("x.pb", &t, TENSOR_FORMAT_AUTO, &size, &diags);
    ck_assert_uint_eq(size, sizeof ONNX_FLOAT - 1);
    ck_assert_mem_eq(pb, ONNX_FLOAT, size);
    free(npy);
    free(pb);
}
END_TEST

// ---- Round trips ----------------------------------------------------------------------------------------------------

START_TEST(every_type)
{
    enum dtype type = (enum dtype)_i;
    for (int rank = 0; rank <= TENSOR_FILE_MOST_DIMS; rank++) {
        for (int empty = 0; empty <= (rank > 0); empty++) {
            struct tensor_file t = {.dtype = type, .rank = rank, .name = "a name"}, npy, pb;
            t.bytes = dtype_bytes(type);
            for (int i = 0; i < rank; i++)
                t.bytes *= t.dims[i] = empty && i == rank - 1 ? 0 : 1 + i % 3;
            t.data = arena_alloc(&arena, (size_t)t.bytes);
            random_input(type, 1, (uint64_t)rank, t.data, t.bytes / dtype_bytes(type));

            const char *path = in_folder("t.npy");
            ck_assert_int_eq(tensor_file_write(path, &t, TENSOR_FORMAT_AUTO, &diags), 0);
            ck_assert_int_eq(tensor_file_read(path, &arena, &npy, &diags), 0);
            path = in_folder("t.out");
            ck_assert_int_eq(tensor_file_write(path, &t, TENSOR_FORMAT_PB, &diags), 0);
            ck_assert_int_eq(tensor_file_read(path, &arena, &pb, &diags), 0);

            bool bits = type == DTYPE_BF16 || type == DTYPE_F8E4M3 || type == DTYPE_F8E5M2;
            enum dtype same = type == DTYPE_INDEX ? DTYPE_I64 : type;
            ck_assert_int_eq(npy.dtype, type == DTYPE_BF16 ? DTYPE_U16 : bits ? DTYPE_U8 : same);
            ck_assert_int_eq(pb.dtype, same);
            ck_assert_int_eq(strstr(diag_string(&diags), "numpy has no") != NULL, bits);
            ck_assert_str_eq(pb.name, "a name");
            ck_assert_ptr_null(npy.name);
            for (int k = 0; k < 2; k++) {
                const struct tensor_file *u = k ? &pb : &npy;
                ck_assert_int_eq(u->rank, rank);
                ck_assert_mem_eq(u->dims, t.dims, sizeof t.dims);
                ck_assert_int_eq(u->bytes, t.bytes);
                ck_assert_ptr_nonnull(u->data);
                ck_assert_uint_eq((uintptr_t)u->data % TENSOR_FILE_ALIGNMENT, 0);
                if (t.bytes)
                    ck_assert_mem_eq(u->data, t.data, (size_t)t.bytes);
            }
        }
    }
    ck_assert_int_eq(diags.n_errors, 0);
}
END_TEST

START_TEST(writing_fails)
{
    float one = 1;
    struct tensor_file t = {.dtype = DTYPE_F32, .data = &one, .bytes = 4}, back;
    ck_assert_int_ne(tensor_file_write("/no/such/folder/t.npy", &t, TENSOR_FORMAT_AUTO, &diags), 0);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "/no/such/folder/t.npy: cannot create: No such file"));
    ck_assert_int_ne(tensor_file_write("/dev/full", &t, TENSOR_FORMAT_PB, &diags), 0);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "/dev/full: cannot write: No space left"));
    ck_assert_int_ne(tensor_file_write(in_folder("t.txt"), &t, TENSOR_FORMAT_AUTO, &diags), 0);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "t.txt: error: which format?"));

    // What was there stays when its replacement fails; nothing else is left.
    ck_assert_int_eq(tensor_file_write(in_folder("t.npy"), &t, TENSOR_FORMAT_AUTO, &diags), 0);
    ck_assert_int_eq(mkdir(in_folder("d.npy"), 0777), 0);
    ck_assert_int_ne(tensor_file_write(in_folder("d.npy"), &t, TENSOR_FORMAT_AUTO, &diags), 0);
    ck_assert_int_eq(rmdir(in_folder("d.npy")), 0);
    ck_assert_int_eq(tensor_file_read(in_folder("t.npy"), &arena, &back, &diags), 0);
    ck_assert_int_eq(unlink(in_folder("t.npy")), 0);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
}
END_TEST

// ---- Refusals -------------------------------------------------------------------------------------------------------

#define U1 "'descr': '|u1', 'fortran_order': False, "

static const struct {
    const char *header, *why;
} bad_headers[] = {
    {"", "'{' should be at its byte 0"},
    {"{", "a string should be at its byte 1"},
    {"{" U1 "'shape': (1,)", "',' or '}'"},
    {"{" U1 "'shape': (1,), } x", "the end should be"},
    {"{" U1 "'shape': (1,), 'shape': (1,), }", "the key 'shape' twice"},
    {"{" U1 "'shape': (1,), 'color': 1, }", "the unknown key 'color'"},
    {"{" U1 "}", "lacks 'shape'"},
    {"{'descr': '|u1', 'shape': (1,), }", "lacks 'fortran_order'"},
    {"{'fortran_order': False, 'shape': (1,), }", "lacks 'descr'"},
    {"{" U1 "'shape': (1), }", "a tuple, (3,) and not (3),"},
    {"{" U1 "'shape': (,), }", "a size, 0 or more,"},
    {"{" U1 "'shape': (-1,), }", "a size, 0 or more,"},
    {"{" U1 "'shape': (1,,), }", "a size, 0 or more,"},
    {"{" U1 "'shape': (1 1), }", "',' or ')'"},
    {"{" U1 "'shape': (1, ", "a size, 0 or more,"},
    {"{" U1 "'shape': 1, }", "a shape like (2, 3)"},
    {"{" U1 "'shape': (__import__('os'),), }", "a size, 0 or more,"},
    {"{" U1 "'shape': (1,)'descr", "',' or '}'"},
    {"{" U1 "'shape", "the end of a string"},
    {"{" U1 "'shape' (1,)}", "':' should be"},
    {"{'\\x64escr': '|u1'}", "the end of a string"},
    {"{'fortran_order': 0}", "True or False"},
    {"{" U1 "'shape': (9223372036854775808,), }", "does not fit 64 bits"},
    {"{" U1 "'shape': (9223372036854775807,), }",
     "needs 9223372036854775807 bytes of data, the file has 1; it was cut"},
    {"{" U1 "'shape': (4294967296, 0, 4294967296), }", "its shape 4294967296x0x4294967296 is too large"},
    {"{" U1 "'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }", "more than 8 dimensions"},
    {"{" U1 "'shape': (0,), }", "needs 0 bytes of data, the file has 1; save one array for each file"},
    {"{'descr': [('a', '<i4')]}", "an array of structs"},
    {"{'descr': '<c8'}", "element type '<c8' is not supported"},
    {"{'descr': '|O'}", "element type '|O' is not supported"},
    {"{'descr': '|f4'}", "element type '|f4' is not supported"},
    {"{'descr': '<V2'}", "(for bfloat16 and float8)"},
    {"{'descr': '\x1b[2J'}", "element type '\\x1b[2J' is not supported"},
};

START_TEST(npy_refused)
{
    char bytes[512];
    size_t n = strlen(bad_headers[_i].header);
    memcpy(bytes, "\223NUMPY\1\0", 8);
    bytes[8] = (char)n;
    bytes[9] = 0;
    memcpy(bytes + 10, bad_headers[_i].header, n);
    bytes[10 + n] = 7;
    refused("t", bytes, n + 11, bad_headers[_i].why);
}
END_TEST

static const struct {
    const char *path, *bytes;
    size_t size;
    const char *why;
} bad_files[] = {
    {"t.npy", BYTES(""), "the file is empty"},
    {"t.npy", BYTES("hello"), "this is no .npy file"},
    {"t.npz", BYTES("PK\3\4..."), "unzip it"},
    {"t.npy", BYTES("version https://git-lfs.github.com/spec/v1"), "git lfs pull"},
    {"t.npy", BYTES("\x80\4\x95"), "a Python pickle"},
    {"t.npy", BYTES("\223NUMPY"), "cut short within the .npy header"},
    {"t.npy", BYTES("\223NUMPY\2\0\1\0\0"), "cut short within the .npy header"},
    {"t.npy", BYTES("\223NUMPY\4\0\1\0\0"), "version 4.0 of the .npy format"},
    {"t.npy", BYTES("\223NUMPY\1\0\xff\xff{}"), "has 65535 bytes, but the file ends after 2"},
    {"t.npy", BYTES("\223NUMPY\2\0\xff\xff\xff\xff{}"), "has 4294967295 bytes, but the file ends after 2"},
    {"t.pb", BYTES("hello"), "this is no tensor"},
    {"t.pb", BYTES("\x08\x01"), "no element type"},
    {"t.pb", BYTES("\x10\x63"), "element type 99 is not known"},
    {"t.pb", BYTES("\x10\x08"), "type STRING are not supported"},
    {"t.pb", BYTES("\x10\x16"), "type INT4 are not supported"},
    {"t.pb", BYTES("\x08\x01\x10\x02J\x02\x07\x08"), "needs 1 bytes, but raw_data has 2"},
    {"t.pb", BYTES("\x08\x01\x10\x02J\x09\x07"), "cut short: raw_data"},
    {"t.pb", BYTES("\x08\x01\x10\x02J\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "cut short: raw_data"},
    {"t.pb", BYTES("\x08\x01\x10\x02J\x01\x07J\x01\x07"), "raw_data twice"},
    {"t.pb", BYTES("\x08\x01\x10\x02J\x01\x07(\x01"), "raw_data and in int32_data as well"},
    {"t.pb", BYTES("\x08\x01\x10\x02"), "needs 1 entries in raw_data or int32_data, there are 0"},
    {"t.pb", BYTES("\x08\x01\x10\x02*\x02\x01\x02"), "needs 1 entries in raw_data or int32_data, there are 2"},
    {"t.pb", BYTES("\x08\x01\x10\x02(\x80\x02"), "element 0 does not fit its type UINT8: 256"},
    {"t.pb", BYTES("\x08\x01\x10\x03(\x80\x01"), "element 0 does not fit its type INT8: 128"},
    {"t.pb", BYTES("\x08\x01\x10\x0cX\x80\x80\x80\x80\x10"), "element 0 does not fit its type UINT32: 4294967296"},
    {"t.pb", BYTES("\x08\x01\x10\x01(\x01"), "its type is FLOAT, but it has data in int32_data"},
    {"t.pb", BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x02"), "dimension 0 is negative: -1"},
    {"t.pb", BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x08\x02\x10\x02"), "too large"},
    {"t.pb", BYTES("\x0a\x09\1\1\1\1\1\1\1\1\1\x10\x02"), "more than 8 dimensions"},
    {"t.pb", BYTES("\x1a\x00\x10\x02"), "a segment"},
    {"t.pb", BYTES("\x10\x02j\x00"), "in another file"},
    {"t.pb", BYTES("\x10\x02p\x01"), "in another file"},
    {"t.pb", BYTES("\x10\x02\x42\x01\x00"), "NUL"},
    {"t.pb", BYTES("\x15\0\0\0\0"), "this is no tensor"},                   // data_type of four bytes
    {"t.pb", BYTES("\x08\x01\x10\x01\x22\x03\0\0\0"), "this is no tensor"}, // three quarters of a float
    {"t.pb", BYTES("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "this is no tensor"}, // an endless number
    {"t.pb", BYTES("\x0b\x10\x01\x0c"), "this is no tensor"},                                 // a group
};

START_TEST(files_refused)
{
    refused(bad_files[_i].path, bad_files[_i].bytes, bad_files[_i].size, bad_files[_i].why);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), bad_files[_i].path));
}
END_TEST

START_TEST(not_readable)
{
    struct tensor_file t;
    ck_assert_int_ne(tensor_file_read(in_folder("none.npy"), &arena, &t, &diags), 0);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "none.npy: error: cannot open: No such file"));
    ck_assert_int_ne(tensor_file_read(folder, &arena, &t, &diags), 0);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "this is a folder"));
    ck_assert_int_ne(tensor_file_read("/dev/zero", &arena, &t, &diags), 0);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "this is no regular file"));
    ck_assert_int_eq(mkfifo(in_folder("pipe.npy"), 0600), 0);
    ck_assert_int_ne(tensor_file_read(in_folder("pipe.npy"), &arena, &t, &diags), 0);
}
END_TEST

// ---- Folders --------------------------------------------------------------------------------------------------------

START_TEST(folders)
{
    struct tensor_dir d = {.n = -1};
    ck_assert_int_eq(tensor_dir_list(folder, "input", &arena, &d, &diags), 0);
    ck_assert_int_eq(d.n, 0);
    static const char *const others[] = {"input_.npy",   "input_x.npy",          "input_0.txt", "input_0.npy~",
                                         "output_3.npy", "input_9999999999.npy", "input_-1.npy"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        make_file(in_folder(others[i]), "", 0);
    for (int i = 11; i >= 0; i--)
        make_file(in_folder(arena_printf(&arena, "input_%d.%s", i, i % 2 ? "pb" : "npy")), "", 0);
    ck_assert_int_eq(tensor_dir_list(folder, "input", &arena, &d, &diags), 0);
    ck_assert_int_eq(d.n, 12);
    ck_assert_str_eq(d.paths[2], in_folder("input_2.npy"));
    ck_assert_str_eq(d.paths[11], in_folder("input_11.pb"));

    unlink(in_folder("input_0.npy"));
    make_file(in_folder("input_4.pb"), "", 0);
    make_file(in_folder("input_15.pb"), "", 0);
    d.n = -1;
    ck_assert_int_ne(tensor_dir_list(folder, "input", &arena, &d, &diags), 0);
    ck_assert_int_eq(d.n, -1);
    ck_assert_int_eq(diags.n_errors, 3);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "there is input_1.pb, but no input_0.npy or input_0.pb"));
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "both input_4.npy and input_4.pb are input 4; remove one"));
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "there is input_15.pb, but no input_12.npy or input_12.pb"));
    ck_assert_int_ne(tensor_dir_list(in_folder("none"), "input", &arena, &d, &diags), 0);
    ck_assert_ptr_nonnull(strstr(diag_string(&diags), "none: error: cannot list the folder: No such file"));
}
END_TEST

// ---- Random tensors -------------------------------------------------------------------------------------------------

START_TEST(random_values)
{
    enum { N = 10000 };
    enum dtype type = (enum dtype)_i;
    int64_t width = dtype_bytes(type), n = N;
    char *data = arena_alloc(&arena, (size_t)(n * width)), *again = arena_alloc(&arena, (size_t)(n * width));
    double low = 1e300, high = -1e300, sum = 0;
    random_input(type, 42, 3, data, n);
    for (int64_t i = 0; i < n; i++) {
        union scalar x = dtype_load(type, data + i * width);
        double v = dtype_is_float(type) ? x.f : (double)x.i;
        low = v < low ? v : low;
        high = v > high ? v : high;
        sum += v / (double)n;
    }
    bool small = dtype_info[type].bits == 8;
    double from = dtype_is_float(type) ? -1 : small && dtype_is_signed(type) ? -128 : 0;
    double to = dtype_is_float(type) ? 1 : type == DTYPE_I1 ? 2 : !small ? 16 : dtype_is_signed(type) ? 128 : 256;
    ck_assert_double_ge(low, from);
    ck_assert_double_lt(high, to);
    ck_assert_double_le(low, from + (to - from) * 0.01);
    ck_assert_double_ge(high, dtype_is_float(type) ? to - 0.26 : to - 1);
    double step = dtype_is_float(type) ? high < 0.99 ? 1 - high : 0 : 1; // the mean of a grid is half a step lower
    ck_assert_double_eq_tol(sum, (from + to - step) / 2, (to - from) * 0.02);

    random_input(type, 42, 3, again, n / 2);
    ck_assert_mem_eq(again, data, (size_t)(n / 2 * width));
    random_input(type, 42, 4, again, n);
    ck_assert_mem_ne(again, data, (size_t)(n * width));
    random_input(type, 43, 3, again, n);
    ck_assert_mem_ne(again, data, (size_t)(n * width));
}
END_TEST

// Files and logs name seeds: these numbers may not change. Computed from the definition, in Python.
START_TEST(random_is_fixed)
{
    double f[2];
    int32_t i[4];
    random_input(DTYPE_F64, 1, 2, f, 2);
    ck_assert_double_eq(f[0], -0x1.a7bb3a29dc250p-3);
    ck_assert_double_eq(f[1], -0x1.7c3155ec68d44p-2);
    random_input(DTYPE_I32, 1, 2, i, 4);
    ck_assert(i[0] == 6 && i[1] == 5 && i[2] == 8 && i[3] == 10);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tensor_file");
    TCase *c = tcase_create("tensor_file");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, files_of_others, 0, sizeof good / sizeof *good);
    tcase_add_test(c, same_bytes);
    tcase_add_loop_test(c, every_type, 0, DTYPE_COUNT);
    tcase_add_test(c, writing_fails);
    tcase_add_loop_test(c, npy_refused, 0, sizeof bad_headers / sizeof *bad_headers);
    tcase_add_loop_test(c, files_refused, 0, sizeof bad_files / sizeof *bad_files);
    tcase_add_test(c, not_readable);
    tcase_add_test(c, folders);
    tcase_add_loop_test(c, random_values, 0, DTYPE_COUNT);
    tcase_add_test(c, random_is_fixed);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
