// Runs object code in this process.
//
// A jit links objects in memory, with each other and with this process's own exported symbols, and finds their symbols.
// One jit is used by one thread at a time while objects are added and looked up; different jits by different threads at
// once. Code that was looked up may be run by any number of threads until the jit is destroyed.
//
// TEGULA_PERF=1 in the environment makes jits name their functions in /tmp/perf-PID.map, where `perf report` looks;
// TEGULA_GDB=1 announces objects to gdb.
#ifndef TEGULA_CODEGEN_JIT_H
#define TEGULA_CODEGEN_JIT_H

#include "codegen/driver.h"

struct jit;

// Returns 0 and stores the jit, which the caller destroys, in *out. On failure *error (may be NULL) receives a message
// that the caller frees; likewise below.
int jit_create(struct jit **out, char **error);

// Frees the code too: nothing looked up may be used any more. j may be NULL.
void jit_destroy(struct jit *j);

// Adds an object file's bytes, which are copied. A symbol that an earlier object defines is an error; an undefined one
// becomes an error when something that needs it is looked up.
int jit_add_object(struct jit *j, const struct driver_buffer *object, char **error);

// Compiles the module by its driver, without optimising, and adds the object. Fails if this machine cannot run the
// driver's target. The module stays the driver's.
int jit_add_module(struct jit *j, struct driver *d, LLVMModuleRef module, char **error);

// Lets objects refer to something of this process by a name, be it exported or not.
int jit_define(struct jit *j, const char *name, void *address, char **error);

// Stores the address of a symbol in *out.
int jit_lookup(struct jit *j, const char *name, void **out, char **error);

#endif
