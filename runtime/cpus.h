// How many threads can run at the same time.
#ifndef TEGULA_RUNTIME_CPUS_H
#define TEGULA_RUNTIME_CPUS_H

#define CPUS_MOST 1024 // threads that one team has at the most

// The CPUs that this process may run on: its affinity, and its control group's share. 1 to CPUS_MOST.
int cpus_count(void);

#endif
