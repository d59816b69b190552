#include "codegen/error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(char **error, const char *format, ...)
{
    if (!error)
        return -1;
    va_list args;
    va_start(args, format);
    if (vasprintf(error, format, args) < 0)
        *error = NULL;
    va_end(args);
    return -1;
}
