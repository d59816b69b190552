#!/usr/bin/env python3
"""What is installed serves its users: programs that embed a model build with meson and CMake, and the C API is found by
pkg-config.

    install.py BUILD      BUILD: a build folder, which is installed to a temporary one

Exit status: 0 passed, 1 failed, 77 cmake or pkg-config is missing.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples/digits"
EMBED = ROOT / "examples/embed"


def run(*words, **options):
    done = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def check_digits(program, env):
    for sample in sorted(DIGITS.glob("samples/*.pgm")):
        read, digit = run(program, sample, env=env).strip(), re.search(r"(\d)", sample.stem)[1]
        assert read == digit, f"{program} reads {read} in {sample}"


def main(build, folder):
    prefix = folder / "usr"
    run("meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", folder / "root")
    installed = next((folder / "root").rglob("bin/tegula")).parent.parent
    installed.rename(prefix)
    assert list(prefix.glob("share/man/man1/tegula.1*")), "there is no man page"
    library = next(prefix.rglob("tegula.pc")).parent
    for file in library.glob("*.pc"):  # as if the prefix had been this one
        file.write_text(re.sub(r"^prefix=.*", f"prefix={prefix}", file.read_text(), flags=re.M))
    env = {**os.environ, "PATH": f"{prefix}/bin:{os.environ['PATH']}", "PKG_CONFIG_PATH": str(library),
           "LD_LIBRARY_PATH": str(library.parent)}

    run("meson", "setup", folder / "meson", EMBED, env=env)
    run("ninja", "-C", folder / "meson", env=env)
    check_digits(folder / "meson/main", env)
    run("cmake", "-S", EMBED, "-B", folder / "cmake", env=env)
    run("cmake", "--build", folder / "cmake", env=env)
    check_digits(folder / "cmake/main", env)

    flags = run("pkg-config", "--cflags", "--libs", "tegula", env=env).split()
    run("cc", DIGITS / "run.c", *flags, "-lm", "-o", folder / "api", env=env)
    output = run(folder / "api", DIGITS / "digits.onnx", DIGITS / "samples/digit_3.pgm", env=env)
    assert "digit_3.pgm: 3 " in output, output
    run("cc", "-x", "c", "-", "-o", folder / "pool",
        *run("pkg-config", "--static", "--cflags", "--libs", "tegula_runtime", env=env).split(), env=env,
        input="#include <tegula/runtime.h>\nint main(void) { tg_pool *p; return tg_pool_create(2, &p) || "
              "(tg_pool_destroy(p), 0); }\n")
    run(folder / "pool", env=env)


if not shutil.which("cmake") or not shutil.which("pkg-config"):
    print("SKIP cmake or pkg-config is missing: scripts/setup installs them")
    sys.exit(77)
with tempfile.TemporaryDirectory() as temporary:
    main(sys.argv[1], pathlib.Path(temporary))
