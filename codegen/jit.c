#include "codegen/jit.h"

#include "codegen/error.h"

#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/LLJITUtils.h>
#include <llvm-c/Object.h>
#include <llvm-c/Orc.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A function that perf has not been told of yet.
struct function {
    char *name, *section;
    uint64_t size, offset; // in its object's section
    int object;
    uint64_t address; // 0: not known
    struct function *next;
};

struct jit {
    LLVMOrcLLJITRef llvm;
    pthread_mutex_t lock; // of `report`: LLVM does not say which thread it reports on
    char *report;         // what the session reported since the last call; NULL: nothing
    bool perf;
    int n_objects;
    struct function *unmapped;
};

static bool wanted(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value && strcmp(value, "0") != 0;
}

// The session would print: the lookup's own error says little more than that it failed.
static void on_session_error(void *jit, LLVMErrorRef e)
{
    struct jit *j = jit;
    char *text = LLVMGetErrorMessage(e), *joined = NULL;
    pthread_mutex_lock(&j->lock);
    if (asprintf(&joined, "%s%s%s", j->report ? j->report : "", j->report ? "; " : "", text) >= 0) {
        free(j->report);
        j->report = joined;
    }
    pthread_mutex_unlock(&j->lock);
    LLVMDisposeErrorMessage(text);
}

// Turns LLVM's error, and what was reported beside it, into ours.
static int take_error(struct jit *j, LLVMErrorRef e, char **error)
{
    pthread_mutex_lock(&j->lock);
    char *report = j->report;
    j->report = NULL;
    pthread_mutex_unlock(&j->lock);
    int status = 0;
    if (e) {
        char *text = LLVMGetErrorMessage(e);
        status = error_set(error, "%s%s%s", text, report ? ": " : "", report ? report : "");
        LLVMDisposeErrorMessage(text);
    }
    free(report);
    return status;
}

int jit_create(struct jit **out, char **error)
{
    driver_initialize(); // LLJIT asks for this machine's target
    struct jit *j = calloc(1, sizeof *j);
    if (!j)
        return error_set(error, "out of memory");
    pthread_mutex_init(&j->lock, NULL);
    j->perf = wanted("TEGULA_PERF");
    LLVMErrorRef e = LLVMOrcCreateLLJIT(&j->llvm, NULL);
    if (!e) {
        LLVMOrcExecutionSessionSetErrorReporter(LLVMOrcLLJITGetExecutionSession(j->llvm), on_session_error, j);
        if (wanted("TEGULA_GDB"))
            e = LLVMOrcLLJITEnableDebugSupport(j->llvm);
    }
    if (take_error(j, e, error)) {
        jit_destroy(j);
        return -1;
    }
    *out = j;
    return 0;
}

static void forget_functions(struct jit *j)
{
    while (j->unmapped) {
        struct function *f = j->unmapped;
        j->unmapped = f->next;
        free(f->name);
        free(f->section);
        free(f);
    }
}

void jit_destroy(struct jit *j)
{
    if (!j)
        return;
    if (j->llvm)
        LLVMConsumeError(LLVMOrcDisposeLLJIT(j->llvm));
    forget_functions(j);
    pthread_mutex_destroy(&j->lock);
    free(j->report);
    free(j);
}

// --- perf -----------------------------------------------------------------------------------------------------------

// Remembers the object's functions: their addresses are known once they are linked. Best effort.
static void note_functions(struct jit *j, const struct driver_buffer *object)
{
    LLVMMemoryBufferRef bytes = LLVMCreateMemoryBufferWithMemoryRange(object->data, object->size, "object", 0);
    char *message = NULL;
    LLVMBinaryRef binary = LLVMCreateBinary(bytes, NULL, &message);
    LLVMDisposeMessage(message);
    if (binary) {
        LLVMSymbolIteratorRef symbol = LLVMObjectFileCopySymbolIterator(binary);
        LLVMSectionIteratorRef section = LLVMObjectFileCopySectionIterator(binary);
        for (; !LLVMObjectFileIsSymbolIteratorAtEnd(binary, symbol); LLVMMoveToNextSymbol(symbol)) {
            const char *name = LLVMGetSymbolName(symbol);
            uint64_t size = LLVMGetSymbolSize(symbol);
            if (!size || !name || !*name)
                continue;
            LLVMMoveToContainingSection(section, symbol);
            const char *where =
                LLVMObjectFileIsSectionIteratorAtEnd(binary, section) ? "" : LLVMGetSectionName(section);
            struct function *f = strncmp(where, ".text", 5) == 0 ? malloc(sizeof *f) : NULL;
            if (!f)
                continue;
            *f = (struct function){strdup(name), strdup(where), size, LLVMGetSymbolAddress(symbol), j->n_objects, 0,
                                   j->unmapped};
            j->unmapped = f;
        }
        LLVMDisposeSectionIterator(section);
        LLVMDisposeSymbolIterator(symbol);
        LLVMDisposeBinary(binary);
    }
    LLVMDisposeMemoryBuffer(bytes);
}

static uint64_t find_address(struct jit *j, const struct function *f)
{
    LLVMOrcExecutorAddress address = 0;
    LLVMErrorRef e = f->name ? LLVMOrcLLJITLookup(j->llvm, &address, f->name) : NULL;
    bool found = f->name && !e;
    take_error(j, e, NULL); // one that does not link is not ours to report
    return found ? address : 0;
}

// Functions of internal linkage are not found by their names, but lie where the object has them: a kernel's work is
// one.
static void find_addresses(struct jit *j)
{
    for (struct function *f = j->unmapped; f; f = f->next)
        f->address = find_address(j, f);
    for (struct function *f = j->unmapped; f; f = f->next)
        for (const struct function *g = j->unmapped; g && !f->address; g = g->next)
            if (g->address && g->object == f->object && f->section && g->section && !strcmp(f->section, g->section))
                f->address = g->address + f->offset - g->offset;
}

static void write_perf_map(struct jit *j)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return forget_functions(j);
    find_addresses(j);
    for (const struct function *f = j->unmapped; f; f = f->next)
        if (f->name && f->address)
            dprintf(fd, "%llx %llx %s\n", (unsigned long long)f->address, (unsigned long long)f->size, f->name);
    close(fd);
    forget_functions(j);
}

// --- Objects and symbols --------------------------------------------------------------------------------------------

int jit_add_object(struct jit *j, const struct driver_buffer *object, char **error)
{
    LLVMMemoryBufferRef copy = LLVMCreateMemoryBufferWithMemoryRangeCopy(object->data, object->size, "object");
    LLVMErrorRef e = LLVMOrcLLJITAddObjectFile(j->llvm, LLVMOrcLLJITGetMainJITDylib(j->llvm), copy);
    if (take_error(j, e, error))
        return -1;
    if (j->perf)
        note_functions(j, object);
    j->n_objects++;
    return 0;
}

int jit_add_module(struct jit *j, struct driver *d, LLVMModuleRef module, char **error)
{
    if (!target_runs_here(driver_target(d)))
        return error_set(error, "this machine cannot run code for target '%s'", driver_target(d)->name);
    struct driver_buffer object;
    if (driver_emit(d, module, DRIVER_OBJECT, &object, error))
        return -1;
    int status = jit_add_object(j, &object, error);
    driver_buffer_finish(&object);
    return status;
}

int jit_define(struct jit *j, const char *name, void *address, char **error)
{
    LLVMOrcCSymbolMapPair pair = {
        LLVMOrcLLJITMangleAndIntern(j->llvm, name),
        {(LLVMOrcExecutorAddress)(uintptr_t)address, {LLVMJITSymbolGenericFlagsExported, 0}},
    };
    LLVMOrcMaterializationUnitRef unit = LLVMOrcAbsoluteSymbols(&pair, 1);
    LLVMErrorRef e = LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(j->llvm), unit);
    if (e)
        LLVMOrcDisposeMaterializationUnit(unit);
    return take_error(j, e, error);
}

int jit_lookup(struct jit *j, const char *name, void **out, char **error)
{
    LLVMOrcExecutorAddress address = 0;
    if (take_error(j, LLVMOrcLLJITLookup(j->llvm, &address, name), error))
        return -1;
    *out = (void *)(uintptr_t)address;
    if (j->unmapped)
        write_perf_map(j);
    return 0;
}
