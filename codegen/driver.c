#include "codegen/driver.h"

#include "codegen/error.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct driver {
    struct target_desc target;
    int opt_level;
    LLVMContextRef context;
    LLVMTargetMachineRef machine;
    LLVMTargetDataRef layout;
    LLVMModuleRef *modules;
    size_t n_modules;
    char *diagnostics; // LLVM's errors since the last call, one a line; NULL: none
    bool broken;       // a fatal error left LLVM's structures in an unknown state
};

// --- Fatal errors ---------------------------------------------------------------------------------------------------
//
// report_fatal_error ("Cannot select ...") calls the handler, and ends the process if that returns. A compiler inside
// somebody's program must not do that, so calls into LLVM that may end there run under `guard`, and the handler jumps
// back. The frames jumped over are not unwound: their memory leaks, and the driver is used no further.

static _Thread_local jmp_buf *fatal_return;
static _Thread_local char *fatal_reason;

static void on_fatal_error(const char *reason)
{
    if (!fatal_return) {
        fprintf(stderr, "LLVM error: %s\n", reason); // not in a call of ours: LLVM does what it does
        return;
    }
    fatal_reason = strdup(reason);
    longjmp(*fatal_return, 1);
}

struct call {
    struct driver *driver;
    LLVMModuleRef module;
    const char *pipeline;
    enum driver_output kind;
    struct driver_buffer *out;
    char **error;
};

static int guard(int (*body)(const struct call *), const struct call *call)
{
    if (call->driver->broken)
        return error_set(call->error, "LLVM failed earlier in this compilation");
    jmp_buf here, *outer = fatal_return;
    fatal_return = &here;
    int status;
    if (setjmp(here) == 0) {
        status = body(call);
    } else {
        call->driver->broken = true;
        status = error_set(call->error, "LLVM failed: %s", fatal_reason ? fatal_reason : "no memory for the reason");
        free(fatal_reason);
        fatal_reason = NULL;
    }
    fatal_return = outer;
    return status;
}

// --- Diagnostics ----------------------------------------------------------------------------------------------------

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *driver)
{
    if (LLVMGetDiagInfoSeverity(info) != LLVMDSError)
        return;
    struct driver *d = driver;
    char *text = LLVMGetDiagInfoDescription(info), *joined = NULL;
    if (asprintf(&joined, "%s%s%s", d->diagnostics ? d->diagnostics : "", d->diagnostics ? "\n" : "", text) >= 0) {
        free(d->diagnostics);
        d->diagnostics = joined;
    }
    LLVMDisposeMessage(text);
}

// Fails with the errors collected since the last call, or succeeds if there are none.
static int take_diagnostics(struct driver *d, char **error)
{
    if (!d->diagnostics)
        return 0;
    error_set(error, "%s", d->diagnostics);
    free(d->diagnostics);
    d->diagnostics = NULL;
    return -1;
}

static int take_error(LLVMErrorRef e, char **error)
{
    if (!e)
        return 0;
    char *text = LLVMGetErrorMessage(e);
    error_set(error, "%s", text);
    LLVMDisposeErrorMessage(text);
    return -1;
}

// --- Life -----------------------------------------------------------------------------------------------------------

static void initialize_llvm(void)
{
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser(); // for inline assembly
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    LLVMResetFatalErrorHandler(); // LLVM asserts that there is none
    LLVMInstallFatalErrorHandler(on_fatal_error);
}

static int create_machine(const struct call *call)
{
    static const LLVMCodeGenOptLevel levels[] = {LLVMCodeGenLevelNone, LLVMCodeGenLevelLess, LLVMCodeGenLevelDefault,
                                                 LLVMCodeGenLevelAggressive};
    struct driver *d = call->driver;
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(d->target.triple, &target, &message)) {
        error_set(call->error, "this LLVM cannot compile for %s: %s", d->target.triple, message);
        LLVMDisposeMessage(message);
        return -1;
    }
    d->machine = LLVMCreateTargetMachine(target, d->target.triple, d->target.cpu, d->target.features,
                                         levels[d->opt_level], LLVMRelocPIC, LLVMCodeModelDefault);
    if (!d->machine)
        return error_set(call->error, "LLVM has no target machine for '%s'", d->target.name);
    d->layout = LLVMCreateTargetDataLayout(d->machine);
    return 0;
}

void driver_initialize(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialize_llvm);
}

int driver_create(const struct target_desc *target, int opt_level, struct driver **out, char **error)
{
    driver_initialize();
    if (opt_level < 0 || opt_level > 3)
        return error_set(error, "optimisation level %d is not one of 0, 1, 2, 3", opt_level);
    struct driver *d = calloc(1, sizeof *d);
    if (!d)
        return error_set(error, "out of memory");
    d->target = *target;
    d->opt_level = opt_level;
    if (guard(create_machine, &(struct call){.driver = d, .error = error})) {
        driver_destroy(d);
        return -1;
    }
    d->context = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(d->context, on_diagnostic, d);
    *out = d;
    return 0;
}

void driver_destroy(struct driver *d)
{
    if (!d)
        return;
    if (!d->broken) {
        for (size_t i = 0; i < d->n_modules; i++)
            LLVMDisposeModule(d->modules[i]);
        if (d->context)
            LLVMContextDispose(d->context);
        if (d->layout)
            LLVMDisposeTargetData(d->layout);
        if (d->machine)
            LLVMDisposeTargetMachine(d->machine);
    }
    free(d->modules);
    free(d->diagnostics);
    free(d);
}

const struct target_desc *driver_target(const struct driver *d)
{
    return &d->target;
}

LLVMContextRef driver_context(struct driver *d)
{
    return d->context;
}

LLVMModuleRef driver_new_module(struct driver *d, const char *name, char **error)
{
    LLVMModuleRef *modules = realloc(d->modules, (d->n_modules + 1) * sizeof *modules);
    if (!modules) {
        error_set(error, "out of memory");
        return NULL;
    }
    d->modules = modules;
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext(name, d->context);
    d->modules[d->n_modules++] = module;
    LLVMSetTarget(module, d->target.triple);
    LLVMSetModuleDataLayout(module, d->layout);
    return module;
}

void driver_buffer_finish(struct driver_buffer *b)
{
    free(b->data);
    *b = (struct driver_buffer){0};
}

// --- Verify, optimise, emit -----------------------------------------------------------------------------------------

static int verify(const struct call *call)
{
    char *message = NULL;
    int broken = LLVMVerifyModule(call->module, LLVMReturnStatusAction, &message);
    if (broken) {
        size_t length = strlen(message);
        while (length && message[length - 1] == '\n')
            length--;
        error_set(call->error, "invalid LLVM IR: %.*s", (int)length, message);
    }
    LLVMDisposeMessage(message);
    return broken ? -1 : 0;
}

int driver_verify(struct driver *d, LLVMModuleRef module, char **error)
{
    return guard(verify, &(struct call){.driver = d, .module = module, .error = error});
}

const char *driver_default_pipeline(int opt_level)
{
    // What kernels with vectors and phis already in place gain from LLVM: an eighth of the time of default<O2>, same
    // code.
    static const char *const pipelines[] = {
        "",
        "sroa,early-cse",
        "sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm)",
        "default<O2>",
    };
    return pipelines[opt_level < 0 ? 0 : opt_level > 3 ? 3 : opt_level];
}

static int optimize(const struct call *call)
{
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    int status = take_error(LLVMRunPasses(call->module, call->pipeline, call->driver->machine, options), call->error);
    LLVMDisposePassBuilderOptions(options);
    int reported = take_diagnostics(call->driver, status ? NULL : call->error);
    return status ? status : reported;
}

int driver_optimize(struct driver *d, LLVMModuleRef module, const char *pipeline, char **error)
{
    if (!pipeline)
        pipeline = driver_default_pipeline(d->opt_level);
    if (!*pipeline)
        return 0;
    return guard(optimize, &(struct call){.driver = d, .module = module, .pipeline = pipeline, .error = error});
}

static int fill(struct driver_buffer *out, const char *data, size_t size, char **error)
{
    char *copy = malloc(size + 1);
    if (!copy)
        return error_set(error, "out of memory");
    memcpy(copy, data, size);
    copy[size] = '\0';
    *out = (struct driver_buffer){copy, size};
    return 0;
}

static int emit(const struct call *call)
{
    struct driver *d = call->driver;
    if (call->kind == DRIVER_LLVM_IR) {
        char *text = LLVMPrintModuleToString(call->module);
        int status = fill(call->out, text, strlen(text), call->error);
        LLVMDisposeMessage(text);
        return status;
    }

    // The code generator rewrites what it is given.
    LLVMModuleRef copy = LLVMCloneModule(call->module);
    LLVMMemoryBufferRef bytes = NULL;
    char *message = NULL;
    LLVMCodeGenFileType type = call->kind == DRIVER_OBJECT ? LLVMObjectFile : LLVMAssemblyFile;
    int status = 0;
    if (LLVMTargetMachineEmitToMemoryBuffer(d->machine, copy, type, &message, &bytes))
        status = error_set(call->error, "%s", message);
    LLVMDisposeMessage(message);
    // Faults of inline assembly among others are reported here alone; the emission counts as a success.
    int reported = take_diagnostics(d, status ? NULL : call->error);
    status = status ? status : reported;
    if (!status)
        status = fill(call->out, LLVMGetBufferStart(bytes), LLVMGetBufferSize(bytes), call->error);
    if (bytes)
        LLVMDisposeMemoryBuffer(bytes);
    LLVMDisposeModule(copy);
    return status;
}

int driver_emit(struct driver *d, LLVMModuleRef module, enum driver_output kind, struct driver_buffer *out,
                char **error)
{
    if (kind == DRIVER_OBJECT && d->target.kind == TARGET_KIND_NVPTX)
        return error_set(error, "target '%s' has no object files: emit assembly, which is PTX", d->target.name);
    return guard(emit, &(struct call){.driver = d, .module = module, .kind = kind, .out = out, .error = error});
}
