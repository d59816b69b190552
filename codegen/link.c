#include "codegen/link.h"

#include "codegen/error.h"
#include "codegen/file.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// --- Running the linker ---------------------------------------------------------------------------------------------

#define OUTPUT_BYTES 16384

// Reads all of fd; keeps the beginning, as a string.
static void read_output(int fd, char text[OUTPUT_BYTES])
{
    size_t size = 0;
    char more[4096];
    for (;;) {
        ssize_t n = read(fd, more, sizeof more);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size_t keep = (size_t)n < OUTPUT_BYTES - 1 - size ? (size_t)n : OUTPUT_BYTES - 1 - size;
        memcpy(text + size, more, keep);
        size += keep;
    }
    while (size && text[size - 1] == '\n')
        size--;
    text[size] = '\0';
}

// Runs a program to its end. Returns 0 if it exited with status 0; -1 with *error set if not; a positive errno if there
// is no such program.
static int run(char *const argv[], char **error)
{
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC))
        return error_set(error, "cannot make a pipe: %s", strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
    pid_t pid;
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    if (failed) {
        close(pipes[0]);
        return failed;
    }

    char text[OUTPUT_BYTES];
    read_output(pipes[0], text);
    close(pipes[0]);
    int status;
    pid_t waited;
    while ((waited = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    if (waited < 0)
        return error_set(error, "cannot wait for '%s': %s", argv[0], strerror(errno));
    if (WIFSIGNALED(status))
        return error_set(error, "'%s' died of signal %d (%s)%s%s", argv[0], WTERMSIG(status),
                         strsignal(WTERMSIG(status)), *text ? ":\n" : "", text);
    if (WEXITSTATUS(status))
        return error_set(error, "'%s' failed with status %d%s%s", argv[0], WEXITSTATUS(status), *text ? ":\n" : "",
                         text);
    return 0;
}

// A linking in progress. `folder` stands beside the output, so that the result can be renamed to it.
struct work {
    const struct link_job *job;
    char *output;   // resolved
    char *folder;   // private; NULL: not made
    char *result;   // in folder
    char **objects; // in folder
};

// Tries one linker: the words of `program`, then ours. Returns like run.
static int run_linker(const struct work *w, const char *program, char **error)
{
    const struct link_job *job = w->job;
    char *words = strdup(program);
    // A word of the program takes two bytes of it at least; 4 words of ours, and the NULL.
    char **argv = words ? calloc(strlen(words) / 2 + 1 + job->n_objects + job->n_arguments + 5, sizeof *argv) : NULL;
    int status;
    if (!argv) {
        status = error_set(error, "out of memory");
        goto out;
    }
    size_t n = 0;
    char *rest = NULL;
    for (char *word = strtok_r(words, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest))
        argv[n++] = word;
    if (n == 0) {
        status = ENOENT;
        goto out;
    }
    if (job->kind == LINK_SHARED)
        argv[n++] = "-shared";
    if (job->kind == LINK_RELOCATABLE)
        argv[n++] = "-r";
    argv[n++] = "-o";
    argv[n++] = w->result;
    for (size_t i = 0; i < job->n_objects; i++)
        argv[n++] = w->objects[i];
    for (size_t i = 0; i < job->n_arguments; i++)
        argv[n++] = (char *)job->arguments[i]; // posix_spawn does not write to it
    status = run(argv, error);
out:
    free(argv);
    free(words);
    return status;
}

// An executable needs the C library's start-up files, and "-Wl," a compiler to take it apart.
static bool ld_can_do(const struct link_job *job)
{
    for (size_t i = 0; i < job->n_arguments; i++)
        if (strncmp(job->arguments[i], "-Wl,", 4) == 0)
            return false;
    return job->kind != LINK_EXECUTABLE;
}

static int run_linkers(const struct work *w, char **error)
{
    const char *cc = getenv("CC");
    bool chosen = cc && cc[strspn(cc, " \t")];
    int status = run_linker(w, chosen ? cc : "cc", error);
    if (status > 0 && !chosen && ld_can_do(w->job))
        status = run_linker(w, "ld", error);
    if (status > 0)
        return error_set(error, "cannot run the linker '%s': %s; set CC to a C compiler", chosen ? cc : "cc",
                         strerror(status));
    return status;
}

static int prepare(struct work *w, char **error)
{
    const struct link_job *job = w->job;
    if (file_is_special(job->output))
        return error_set(error, "%s: not a regular file", job->output);
    w->output = file_resolve(job->output);
    w->objects = calloc(job->n_objects + 1, sizeof *w->objects);
    // "./": a name must not look like an option.
    if (!w->output || !w->objects ||
        asprintf(&w->folder, "%s%s.tmpXXXXXX", *w->output == '/' ? "" : "./", w->output) < 0) {
        w->folder = NULL;
        return error_set(error, "out of memory");
    }
    if (file_make_folder(w->folder)) {
        int reason = errno;
        free(w->folder);
        w->folder = NULL;
        return error_set(error, "%s: cannot create: %s", job->output, strerror(reason));
    }
    w->result = file_name_in(w->folder, "out");
    if (!w->result)
        return error_set(error, "out of memory");
    for (size_t i = 0; i < job->n_objects; i++) {
        char name[32];
        snprintf(name, sizeof name, "%zu.o", i);
        w->objects[i] = file_name_in(w->folder, name);
        if (!w->objects[i])
            return error_set(error, "out of memory");
        if (file_write(w->objects[i], job->objects[i].data, job->objects[i].size, error))
            return -1;
    }
    return 0;
}

static void clean_up(struct work *w)
{
    if (w->folder) // a killed linker's leftovers are in it, too
        file_remove_folder(w->folder);
    for (size_t i = 0; w->objects && i < w->job->n_objects; i++)
        free(w->objects[i]);
    free(w->objects);
    free(w->result);
    free(w->folder);
    free(w->output);
}

int link_run(const struct link_job *job, char **error)
{
    struct work w = {.job = job};
    int status = prepare(&w, error);
    if (!status)
        status = run_linkers(&w, error);
    if (!status && rename(w.result, w.output))
        status = error_set(error, "%s: cannot create: %s", job->output, strerror(errno));
    clean_up(&w);
    return status;
}
