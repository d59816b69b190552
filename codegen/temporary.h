// Files and folders that must not outlive this process: what is still noted when a signal ends it goes away with it, if
// the program asked for that. All functions may be called by several threads at once.
#ifndef TEGULA_CODEGEN_TEMPORARY_H
#define TEGULA_CODEGEN_TEMPORARY_H

// Notes a name, before or after the file or folder is made. Files in a folder are noted as well. Returns 0; -1: out of
// memory.
int temporary_note(const char *path);

// It is gone, or is to stay.
void temporary_forget(const char *path);

// For programs, not for a library: SIGINT, SIGTERM and SIGHUP end the process as before, where they would have, but
// what is noted is removed first.
void temporary_remove_on_signals(void);

#endif
