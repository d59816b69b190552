// Tensors in files: numpy's .npy (formats 1.0, 2.0 and 3.0) and ONNX's .pb (one TensorProto).
//
//     struct tensor_file t;
//     if (tensor_file_read("input_0.npy", &arena, &t, &diags)) ...   // diags say why
//     if (tensor_file_write("output_0.pb", &t, TENSOR_FORMAT_AUTO, &diags)) ...
//
// Files may hold any bytes: what does not make a proper tensor gets a diagnostic, and no file makes a tensor larger
// than 8 times its own size. Running out of memory while reading unwinds to the recovery point of ir/arena.h.
//
// numpy has no bf16, f8e4m3 and f8e5m2. Written as .npy they become their bits in u2 or u1, which read back as u16 and
// u8, with a note; a .pb keeps them. `index` is written as a 64-bit integer and reads back as i64.
#ifndef TEGULA_TOOLS_TENSOR_FILE_H
#define TEGULA_TOOLS_TENSOR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/arena.h"
#include "ir/diag.h"
#include "ir/dtype.h"

#define TENSOR_FILE_MOST_DIMS 8
#define TENSOR_FILE_ALIGNMENT 64 // of the data that was read

struct tensor_file {
    enum dtype dtype;
    int rank; // 0: a scalar, with one element
    int64_t dims[TENSOR_FILE_MOST_DIMS];
    void *data; // row-major, without gaps, in the host's byte order; booleans are bytes of 0 and 1. Not NULL when read
    int64_t bytes;
    const char *name; // in the file; NULL: none (always so in .npy)
};

enum tensor_format { TENSOR_FORMAT_AUTO, TENSOR_FORMAT_NPY, TENSOR_FORMAT_PB };

// Reads a regular file; its content says which format it has. Data and name live in the arena. Returns 0; or 1 with a
// diagnostic, and *out is not touched.
int tensor_file_read(const char *path, struct arena *a, struct tensor_file *out, struct diags *diags);

// The same from memory: changes the bytes, and the tensor's data may be in them. `path` is for diagnostics.
int tensor_file_decode(const char *path, uint8_t *bytes, size_t size, struct arena *a, struct tensor_file *out,
                       struct diags *diags);

// Writes a file, or replaces it at once when all has been written (nothing is left behind on failure; a device or a
// pipe is written to). AUTO goes by the name's end, .npy or .pb. Returns 0; or 1 with a diagnostic.
int tensor_file_write(const char *path, const struct tensor_file *t, enum tensor_format format, struct diags *diags);

// The bytes of such a file, for the caller to free; NULL with a diagnostic.
uint8_t *tensor_file_encode(const char *path, const struct tensor_file *t, enum tensor_format format, size_t *size,
                            struct diags *diags);

struct tensor_dir {
    int n;
    const char **paths; // by position
};

// Finds PREFIX_0.npy, PREFIX_1.pb, ... in a folder ("input", "output" in ONNX's test data); other files do not matter,
// and there may be none. Positions that are missing or there twice are errors. Paths live in the arena. Returns 0; or 1
// with diagnostics, and *out is not touched.
int tensor_dir_list(const char *dir, const char *prefix, struct arena *a, struct tensor_dir *out, struct diags *diags);

// Makes a folder that can be written to, and those it lies in; it may be there. *made is the outermost that was not,
// NULL if there is none. Returns 0, or 1 with a diagnostic.
int tensor_dir_make(const char *dir, const char **made, struct arena *a, struct diags *diags);

// Removes what was made, where it is still empty.
void tensor_dir_remove(const char *dir, const char *made, struct arena *a);

// PREFIX_0.ENDING, PREFIX_1.ENDING, ... (npy or pb) for a folder that is there, written but not in their places yet.
// All zeros: nothing.
struct tensor_dir_pending {
    int n;
    const char *stage; // a folder in the folder, which they are in
    const char **from, **to;
};
// Writes them. What goes wrong with their places is found now, but for what others do meanwhile. Returns 0; or 1 with a
// diagnostic, and there is nothing to discard.
int tensor_dir_prepare(struct tensor_dir_pending *p, const char *dir, const char *prefix, const char *ending, int n,
                       const struct tensor_file *tensors, struct arena *a, struct diags *diags);
// Puts them into their places, where files of these names are replaced. Returns 0; or 1 with a diagnostic.
int tensor_dir_commit(struct tensor_dir_pending *p, struct diags *diags);
void tensor_dir_discard(struct tensor_dir_pending *p);

// ---- For tensor_npy.c and tensor_pb.c ----

struct tensor_input { // what is being read
    const char *path;
    uint8_t *bytes;
    size_t size;
    struct arena *arena;
    struct diags *diags;
};

// Reports an error, and returns false.
bool tensor_fail(const struct tensor_input *in, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Text of a file in quotes, fit for a terminal: escaped, shortened if long.
const char *tensor_quote(const struct tensor_input *in, const void *text, size_t length);
// "2x3", "scalar".
const char *tensor_shape_text(const struct tensor_input *in, const struct tensor_file *t);
// Computes t->bytes from the shape, which may have any numbers.
bool tensor_size(const struct tensor_input *in, struct tensor_file *t);
// Room for the data, aligned.
void *tensor_alloc(const struct tensor_input *in, int64_t bytes);
// Makes the bytes from `at` on the data; moves them if they are not aligned there.
void tensor_use(const struct tensor_input *in, struct tensor_file *t, size_t at);

bool tensor_is_npy(const uint8_t *bytes, size_t size);
bool tensor_npy_read(const struct tensor_input *in, struct tensor_file *out);
bool tensor_pb_read(const struct tensor_input *in, struct tensor_file *out);

// Whether the format has the type; *exact: or only its bits.
bool tensor_npy_has(enum dtype t, bool *exact);
bool tensor_pb_has(enum dtype t);
// NULL: out of memory.
uint8_t *tensor_npy_encode(const struct tensor_file *t, size_t *size);
uint8_t *tensor_pb_encode(const struct tensor_file *t, size_t *size);

#endif
