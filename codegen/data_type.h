// Element types as the public headers and DLPack write them.
#ifndef TEGULA_CODEGEN_DATA_TYPE_H
#define TEGULA_CODEGEN_DATA_TYPE_H

#include <tegula/kernel.h>

#include "ir/dtype.h"

tg_data_type data_type_of(enum dtype t);
enum dtype data_type_dtype(tg_data_type t); // DTYPE_NONE if there is none

#endif
