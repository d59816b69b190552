// What tells builds of this compiler from each other.
#ifndef TEGULA_CODEGEN_BUILD_ID_H
#define TEGULA_CODEGEN_BUILD_ID_H

#include <stddef.h>

// What the linker has noted in the file, of a program or a shared library, that `address` lies in: the
// .note.gnu.build-id of `ld --build-id`. Stores the size and returns the bytes, which stay as long as the code; NULL:
// there is none.
const void *build_id_of(const void *address, size_t *size);

// The compiler's own, and LLVM's.
const void *build_id_compiler(size_t *size);
const void *build_id_llvm(size_t *size);

#endif
