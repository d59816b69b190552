#include "runtime/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

int cpus_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? (int)sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&set);
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    long quota, period;
    if (file && fscanf(file, "%ld %ld", &quota, &period) == 2 && period > 0 && quota > 0) {
        long share = (quota + period - 1) / period;
        n = share < n ? (int)share : n;
    }
    if (file)
        fclose(file);
    return n < 1 ? 1 : n > CPUS_MOST ? CPUS_MOST : n;
}
