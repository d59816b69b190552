#include "tools/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "codegen/temporary.h"
#include "tools/options.h"

// The next file that is opened gets the number of a stream that was closed, and what is printed would go into it. What
// is put there instead fails as a closed one does: it cannot be read, or not be written to. A pipe that nobody reads
// and a file that gets too large are errors of writing; a signal would end the process with what it has begun lying
// about.
void streams_begin(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    temporary_remove_on_signals();
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
            return;
}

int streams_end(const char *program, int status)
{
    bool lost = fflush(stdout) || ferror(stdout);
    if (status != EXIT_OK || !lost)
        return status;
    fprintf(stderr, "%s: error: cannot write to standard output\n", program);
    return EXIT_ERROR;
}
