// JSON, piece by piece.
#ifndef TEGULA_TOOLS_JSON_H
#define TEGULA_TOOLS_JSON_H

#include <stdio.h>

// The bytes of the character that starts here; 0: it is not UTF-8. Names come from files that may hold any bytes.
int utf8_length(const unsigned char *c);

// A string in its quotes. Bytes that are no UTF-8 become U+FFFD.
void json_string(FILE *out, const char *text);
void json_number(FILE *out, double x); // `null` if it is none, for JSON has no infinities

#endif
