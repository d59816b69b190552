#include "codegen/thread.h"

#define STACK_BYTES ((size_t)8 << 20)

int thread_start(pthread_t *thread, void *(*work)(void *argument), void *argument)
{
    pthread_attr_t attributes;
    int failed = pthread_attr_init(&attributes);
    if (failed)
        return failed;
    failed = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (!failed)
        failed = pthread_create(thread, &attributes, work, argument);
    pthread_attr_destroy(&attributes);
    return failed;
}
