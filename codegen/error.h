// How the functions of this folder report what went wrong: a status, and a message the caller owns.
#ifndef TEGULA_CODEGEN_ERROR_H
#define TEGULA_CODEGEN_ERROR_H

// Stores a formatted message in *error, to be freed by the caller with free(), and returns -1. An earlier message in
// *error is not freed. error may be NULL: nobody wants the text. *error is NULL when memory for the text ran out.
int error_set(char **error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
