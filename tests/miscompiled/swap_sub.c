// Linked into a tegula of the tests in this folder, by --wrap: subtracts the wrong way round in kernels that have a
// product and then a difference. What `tegula diff` has to say of kernels that are wrong cannot be seen without one.
#include <string.h>

#include <llvm-c/Core.h>

LLVMValueRef __real_LLVMBuildFSub(LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y, const char *name);
LLVMValueRef __wrap_LLVMBuildFSub(LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y, const char *name);

LLVMValueRef __wrap_LLVMBuildFSub(LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y, const char *name)
{
    size_t length;
    const char *kernel = LLVMGetValueName2(LLVMGetBasicBlockParent(LLVMGetInsertBlock(b)), &length);
    return strstr(kernel, "_mul_sub") ? __real_LLVMBuildFSub(b, y, x, name) : __real_LLVMBuildFSub(b, x, y, name);
}
