// Threads for the compiler to work on.
#ifndef TEGULA_CODEGEN_THREAD_H
#define TEGULA_CODEGEN_THREAD_H

#include <pthread.h>

// Starts a thread as pthread_create does, with a stack for what recurses over blocks in blocks: they may nest 200 deep,
// which takes 3 MB, and neither the threads of every C library nor those of every caller have so much. Returns 0, or an
// errno.
int thread_start(pthread_t *thread, void *(*work)(void *argument), void *argument);

#endif
