#include "tools/fence.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD 0xA5

bool fence_init(struct fence *f, size_t bytes, enum fence_side side)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), middle = (bytes + page) / page * page; // at least one guard byte
    *f = (struct fence){.bytes = bytes, .map_bytes = middle + 2 * page, .page = page};
    f->map = mmap(NULL, f->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->map == MAP_FAILED || mprotect(f->map + page, middle, PROT_READ | PROT_WRITE)) {
        if (f->map != MAP_FAILED)
            munmap(f->map, f->map_bytes);
        f->map = NULL;
        return false;
    }
    memset(f->map + page, GUARD, middle);
    f->data = side == FENCE_END ? f->map + page + middle - bytes : f->map + page;
    return true;
}

void fence_finish(struct fence *f)
{
    if (f->map)
        munmap(f->map, f->map_bytes);
    *f = (struct fence){0};
}

bool fence_intact(const struct fence *f)
{
    const char *end = f->map + f->map_bytes - f->page;
    for (const char *p = f->map + f->page; p < end; p++)
        if ((p < f->data || p >= f->data + f->bytes) && *(const unsigned char *)p != GUARD)
            return false;
    return true;
}

static _Thread_local sigjmp_buf *landing;
static const char *volatile fault_address;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!landing) {
        static const char text[] = "tegula: error: a thread running compiled code got a fault\n";
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
            _exit(2);
        _exit(1);
    }
    fault_address = info->si_addr;
    siglongjmp(*landing, number);
}

bool fence_call(void (*run)(void *data), void *data, int *signal_number, const char **address)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    enum { N = sizeof numbers / sizeof numbers[0] };
    struct sigaction old[N], action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < N; i++)
        sigaction(numbers[i], &action, &old[i]);
    sigjmp_buf here;
    *signal_number = sigsetjmp(here, 1);
    if (!*signal_number) {
        landing = &here;
        run(data);
    }
    landing = NULL;
    for (int i = 0; i < N; i++)
        sigaction(numbers[i], &old[i], NULL);
    *address = fault_address;
    return *signal_number == 0;
}
