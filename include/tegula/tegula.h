// libtegula: compiles ONNX models, and kernels of the tile language, and runs them in this process.
//
//     tg_context *ctx;
//     tg_model_handle *model = NULL;
//     if (tg_context_create(0, &ctx))
//         return 1;
//     if (tg_model_load_file(ctx, "model.onnx", NULL, &model) || tg_model_run(model, &x, 1, &y, 1))
//         fprintf(stderr, "%s\n", tg_last_error(ctx));
//     tg_model_destroy(model);
//     tg_context_destroy(ctx);
//
// A whole program: examples/digits/run.c. A kernel:
//
//     tg_kernel_handle *matmul = NULL;
//     if (tg_kernel_load_file(ctx, "matmul.tile", NULL, &matmul) ||
//         tg_kernel_launch(matmul, (const tg_tensor *[]){&a, &b, &bias, &c}, 4, NULL, 0))
//         fprintf(stderr, "%s\n", tg_last_error(ctx));
//     tg_kernel_destroy(matmul);
//
// Functions that can fail return 0 on success, and otherwise leave their outputs untouched and describe the failure in
// tg_last_error. Nothing is printed, and no fault of an input ends the process. Compiling needs little of the caller's
// stack: it has threads of its own. Unless said otherwise what is passed in need only live as long as the call and
// stays the caller's. A context, and what is made in it, may be used by any number of threads at once; only what is
// destroyed must not be in use.
#ifndef TEGULA_TEGULA_H
#define TEGULA_TEGULA_H

#include <stddef.h>
#include <stdint.h>

#include <tegula/kernel.h>
#include <tegula/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- Contexts --------------------------------------------------------------------------------------------------

typedef struct tg_context tg_context;

// Creates a context in which code runs on n_threads threads, the caller being one of them; 0: as many as there are
// CPUs. Returns 0 and stores the context, which the caller destroys, in *out; 1 without memory.
TG_API int tg_context_create(int n_threads, tg_context **out);

// Kernels and models made in the context must have been destroyed before. ctx may be NULL.
TG_API void tg_context_destroy(tg_context *ctx);

// What the calling thread's last call that failed has to say: one line, or several with the places in a text or model
// that are at fault. Never NULL. The text belongs to the context and lives until the next call of the thread that
// fails.
TG_API const char *tg_last_error(tg_context *ctx);

// The context's threads, for tg_pool_begin and tg_pool_end around calls that follow each other closely. They belong
// to the context.
TG_API tg_pool *tg_context_pool(tg_context *ctx);

// ---- Kernels ---------------------------------------------------------------------------------------------------

typedef struct tg_kernel_handle tg_kernel_handle;

// The value of a kernel's compile-time parameter, as text: {"BM", "128"}, {"T", "bf16"}, {"ACT", "relu"}.
typedef struct tg_define {
    const char *name, *value;
} tg_define;

// Start from TG_KERNEL_OPTIONS_INIT.
typedef struct tg_kernel_options {
    size_t size;        // sizeof(tg_kernel_options)
    const char *target; // NULL: this machine
    const char *kernel; // which kernel of the text; NULL: the only one
    int opt_level;      // 0 to 3
    size_t n_defines;
    const tg_define *defines;
    const char *schedule; // what to choose for kernels, as text (docs/tile.md); NULL: the compiler chooses
} tg_kernel_options;

#define TG_KERNEL_OPTIONS_INIT {sizeof(tg_kernel_options), NULL, NULL, 2, 0, NULL, NULL}

// Compiles a kernel from `length` bytes of text. name stands for the text in messages, as a file's name does. options
// may be NULL. Stores the kernel, which the caller destroys, in *out.
TG_API int tg_kernel_compile(tg_context *ctx, const char *source, size_t length, const char *name,
                             const tg_kernel_options *options, tg_kernel_handle **out);

// The same with a file's text.
TG_API int tg_kernel_load_file(tg_context *ctx, const char *path, const tg_kernel_options *options,
                               tg_kernel_handle **out);

// Frees the kernel and its code, which must not be running. k may be NULL.
TG_API void tg_kernel_destroy(tg_kernel_handle *k);

// The compiled functions. They belong to the kernel.
TG_API const tg_kernel *tg_kernel_code(const tg_kernel_handle *k);

// Runs every instance of the kernel on the context's threads with raw arguments: one for each parameter, a pointer or a
// number, then one for each size that is not constant, in the order in which the text names them first. The memory is
// not checked; only the number of arguments is.
TG_API int tg_kernel_run(tg_kernel_handle *k, const tg_arg *args, int n_args);

// Runs the kernel on tensors, one for each view parameter in their order, and scalars, one for each other parameter.
// Everything the parameters' types say is checked first: number, element type, rank, sizes and strides, alignment to
// the elements, that sizes of the same name are equal, and that what the kernel writes overlaps nothing else. Tensors
// must be in the CPU's memory. On failure no tensor has changed.
TG_API int tg_kernel_launch(tg_kernel_handle *k, const tg_tensor *const *tensors, int n_tensors, const tg_arg *scalars,
                            int n_scalars);

// ---- Models ----------------------------------------------------------------------------------------------------

typedef struct tg_model_handle tg_model_handle;

// A value for a size that the model leaves open, by its name there: {"batch", 1}.
typedef struct tg_model_size {
    const char *name;
    int64_t value;
} tg_model_size;

// Start from TG_MODEL_OPTIONS_INIT.
typedef struct tg_model_options {
    size_t size;        // sizeof(tg_model_options)
    const char *target; // NULL: this machine
    int opt_level;      // 0 to 3
    size_t n_dims;      // sizes to be compiled in; the others may be different at every call
    const tg_model_size *dims;
    const char *schedule;      // as of tg_kernel_options
    size_t n_inputs;           // names of inputs that have a default (an initialiser) in the model and are to be
    const char *const *inputs; // inputs all the same; the others that have one are constants
    const char *cache_dir;     // a folder, made if need be, that keeps compiled models for later loads; NULL: none
    int64_t cache_limit;       // bytes it may hold: what was used least recently goes first. 0: 16 GiB
} tg_model_options;

#define TG_MODEL_OPTIONS_INIT {sizeof(tg_model_options), NULL, 2, 0, NULL, NULL, 0, NULL, NULL, 0}

// Compiles an ONNX model from `length` bytes. name stands for the file in messages. Tensors must not lie in other
// files. options may be NULL. Stores the model, which the caller destroys, in *out.
//
// With a cache_dir the compiled model is kept there, and the next load of the same bytes under the same name, with the
// same options, by the same build of this library takes it from there. Its file stays mapped while the model is loaded.
// Any number of processes may share a folder; whoever can write to it decides what code runs. An entry that is damaged
// is made anew, and one that cannot be written is not there the next time: only tg_model_cached tells. It is an error
// if there can be no such folder.
TG_API int tg_model_compile(tg_context *ctx, const void *data, size_t length, const char *name,
                            const tg_model_options *options, tg_model_handle **out);

// The same from a file; tensors may lie in other files of its folder. None is needed once the model is compiled.
TG_API int tg_model_load_file(tg_context *ctx, const char *path, const tg_model_options *options,
                              tg_model_handle **out);

// 1 if the model was loaded from the cache, 0 if it was compiled.
TG_API int tg_model_cached(const tg_model_handle *model);

// Frees the model, its code and its constants; it must not be running. model may be NULL.
TG_API void tg_model_destroy(tg_model_handle *model);

// The compiled functions, and the names, types and sizes of inputs and outputs. They belong to the model.
TG_API const tg_model *tg_model_code(const tg_model_handle *model);

// Stores the sizes of each output for inputs of the given types and sizes, whose memory does not matter, in sizes[i],
// which has room for as many as the output has dimensions.
TG_API int tg_model_output_sizes(tg_model_handle *model, const tg_tensor *inputs, int n_inputs, int64_t *const *sizes,
                                 int n_outputs);

// Runs the model on the context's threads; of several runs at once, one at a time has the others' help, and each works
// in memory of its own, which the model keeps for later runs. Tensors stand in the model's order, are in the CPU's
// memory, row-major without gaps, aligned to their elements; they are checked as tg_kernel_launch does. An output with
// data must have the right type and sizes, and share no memory with any other tensor. One without data gets memory,
// which the caller releases with free(), and its other fields are filled in; its shape must have room for the sizes. On
// failure the outputs without data still have none; what is in the memory of the others is undefined only if the fault
// was found while the model ran (an index out of range, sizes that do not fit, no memory).
TG_API int tg_model_run(tg_model_handle *model, const tg_tensor *inputs, int n_inputs, tg_tensor *outputs,
                        int n_outputs);

#ifdef __cplusplus
}
#endif

#endif
