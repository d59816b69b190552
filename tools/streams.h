// The standard streams of a program, which need not be what they should.
#ifndef TEGULA_TOOLS_STREAMS_H
#define TEGULA_TOOLS_STREAMS_H

// Before anything is opened.
void streams_begin(void);

// The exit status of a program that would exit with `status`: what was printed and has not arrived is an error.
int streams_end(const char *program, int status);

#endif
