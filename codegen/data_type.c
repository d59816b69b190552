#include "codegen/data_type.h"

tg_data_type data_type_of(enum dtype t)
{
    uint8_t bits = (uint8_t)dtype_info[t].bits;
    switch (t) {
    case DTYPE_BF16:
        return (tg_data_type){TG_CODE_BFLOAT, bits, 1};
    case DTYPE_F8E4M3:
        return (tg_data_type){TG_CODE_F8E4M3, bits, 1};
    case DTYPE_F8E5M2:
        return (tg_data_type){TG_CODE_F8E5M2, bits, 1};
    case DTYPE_I1:
        return (tg_data_type){TG_CODE_BOOL, 8, 1};
    default:
        return (tg_data_type){dtype_is_float(t)    ? TG_CODE_FLOAT
                              : dtype_is_signed(t) ? TG_CODE_INT
                                                   : TG_CODE_UINT,
                              bits, 1};
    }
}

enum dtype data_type_dtype(tg_data_type t)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        tg_data_type u = data_type_of((enum dtype)i);
        if (i != DTYPE_INDEX && u.code == t.code && u.bits == t.bits && u.lanes == t.lanes)
            return (enum dtype)i;
    }
    return DTYPE_NONE;
}
