"""tegula's side of a row: a kernel compiled by the tool to a shared object, or an ONNX model compiled in this process.

Both are called from C (timer.c). A context with more than one thread does not survive a fork, so a side is made where
it is used.
"""

import ctypes
import os
import subprocess
import time
from pathlib import Path

import numpy as np

MAX_ARGUMENTS = 16  # of a launcher; timer.c
COMPILE_SECONDS = 60
DATA_TYPES = {"f": 2, "i": 0, "u": 1, "b": 6}  # numpy's kinds -> TG_CODE_
CPU = 1  # TG_DEVICE_CPU


class TegulaError(Exception):
    pass


class Tensor(ctypes.Structure):
    """tg_tensor of include/tegula/kernel.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


def tensor(array):
    """The array must outlive the tensor."""
    assert array.flags.c_contiguous
    shape = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
    code, bits = DATA_TYPES[array.dtype.kind], 8 * array.dtype.itemsize
    return Tensor(array.ctypes.data, CPU, 0, array.ndim, code, bits, 1, shape, None, 0)


def load_library(path):
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise TegulaError(str(error)) from error


class Library:
    """libtegula.so and the program `tegula` of one build."""

    def __init__(self, root):
        self.tool = Path(os.environ.get("TEGULA_TOOL", root / "build/tools/tegula"))
        self.path = Path(os.environ.get("TEGULA_LIBRARY", root / "build/libtegula.so"))
        self.loaded = None

    def load(self):
        """The C API, loaded when first needed: rows of kernels on one thread do without."""
        if self.loaded is None:
            loaded = load_library(self.path)
            loaded.tg_last_error.restype = ctypes.c_char_p
            loaded.tg_context_pool.restype = loaded.tg_pool_env.restype = ctypes.c_void_p
            self.loaded = loaded
        return self.loaded

    def compile_kernel(self, source, defines, target):
        """A shared object at `target`."""
        words = [word for name, value in defines.items() for word in ("-D", f"{name}={value}")]
        command = [str(self.tool), "kernel", str(source), "-o", str(target), *words, "--target=native"]
        target.unlink(missing_ok=True)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TegulaError(str(error)) from error
        if done.returncode or not target.exists():
            message = done.stderr.strip() or done.stdout.strip() or "no message"
            raise TegulaError(f"exit status {done.returncode}: {message}")


class Side:
    """A function of C and its arguments, ready to be called; what they need is kept alive with them."""

    def __init__(self, library, timer, threads):
        self.timer, self.threads = timer, threads
        self.api = self.context = self.pool = None
        if threads > 1 or self.needs_context:
            self.api, self.context = library.load(), ctypes.c_void_p()
            if self.api.tg_context_create(threads, ctypes.byref(self.context)):
                raise TegulaError("out of memory")
            self.pool = ctypes.c_void_p(self.api.tg_context_pool(self.context))

    def set_call(self, function, words):
        if len(words) > MAX_ARGUMENTS:
            raise TegulaError(f"{len(words)} arguments; timer.c passes {MAX_ARGUMENTS}")
        self.function, self.words = function, (ctypes.c_int64 * MAX_ARGUMENTS)(*words)

    def time_calls(self, calls, warm=0):
        """Nanoseconds per call, after `warm` calls that do not count. Threads wait for the next call as they do between
        the kernels of one."""
        status = ctypes.c_int(0)
        if self.threads > 1:
            self.api.tg_pool_begin(self.pool)
        nanoseconds = 0
        for part in (warm, calls):
            if part and nanoseconds >= 0:
                nanoseconds = self.timer(self.function, self.words, ctypes.c_int64(part), ctypes.byref(status))
        if self.threads > 1:
            self.api.tg_pool_end(self.pool)
        if nanoseconds < 0:
            raise TegulaError(self.message() or f"the kernel returned status {status.value}")
        return nanoseconds

    def message(self):
        return self.api.tg_last_error(self.context).decode(errors="replace") if self.context else ""

    def close(self):
        if self.context:
            self.api.tg_context_destroy(self.context)
            self.context = None


class Kernel(Side):
    needs_context = False

    def __init__(self, library, timer, threads, path, name, arguments):
        super().__init__(library, timer, threads)
        words = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
        if threads > 1:
            name, words = f"{name}_env", [self.api.tg_pool_env(self.pool), *words]
        self.arguments, self.code = arguments, load_library(path)
        try:
            self.set_call(getattr(self.code, name), words)
        except AttributeError as error:
            raise TegulaError(str(error)) from error


class Model(Side):
    needs_context = True

    def __init__(self, library, timer, threads, path, inputs, outputs):
        super().__init__(library, timer, threads)
        self.handle = ctypes.c_void_p()
        start = time.perf_counter()
        if self.api.tg_model_load_file(self.context, str(path).encode(), None, ctypes.byref(self.handle)):
            message = self.message()
            self.close()
            raise TegulaError(message)
        self.compile_ms = 1e3 * (time.perf_counter() - start)
        self.arrays = [*inputs, *outputs]
        self.inputs = (Tensor * max(1, len(inputs)))(*map(tensor, inputs))
        self.outputs = (Tensor * len(outputs))(*map(tensor, outputs))
        sides = [ctypes.addressof(self.inputs), len(inputs), ctypes.addressof(self.outputs), len(outputs)]
        self.set_call(self.api.tg_model_run, [self.handle.value, *sides])

    def close(self):
        if self.context:
            self.api.tg_model_destroy(self.handle)
        super().close()
