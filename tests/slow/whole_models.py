#!/usr/bin/python3
"""The example models in full: compiled in memory and to files, run, and compared with their outputs in float64.

    whole_models.py TEGULA [NAME...]

For each target that this machine can run the outputs must be those to expect, and the shared object must give the bits of
the model compiled in memory; so must, for one target, an executable, and an object with a header. Compiling may take 2.5
times the memory of the weights and 150 MB; a run in memory as much more than one of the shared object as goes with that,
1.5 times the weights and 100 MB. Minutes and gigabytes.

Exit status: 0 passed, 1 failed, 77 Python packages are missing.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path += [str(ROOT / "tests/models"), str(ROOT / "examples/models")]
import models  # noqa: E402, starts anew where packages are
import compiled  # noqa: E402
import make  # noqa: E402
import numpy as np  # noqa: E402

MOST_ERROR = 1e-4  # of an output's maximum
MB = 10 ** 6


class Failure(Exception):
    pass


def error_of(have_folder, want_folder):
    """The greatest difference of an element, by the maximum of its output."""
    worst, wants = 0.0, sorted(want_folder.iterdir())
    if [path.name for path in sorted(have_folder.iterdir())] != [path.name for path in wants]:
        raise Failure("it has other outputs")
    for want_path in wants:
        have, want = np.load(have_folder / want_path.name), np.load(want_path)
        if have.dtype != want.dtype or have.shape != want.shape:
            raise Failure(f"{want_path.name} is {have.dtype}{have.shape}, not {want.dtype}{want.shape}")
        error = np.abs(have.astype(np.float64) - want).max(initial=0) / (np.abs(want).max(initial=0) or 1)
        worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst


def check_same(a, b, what):
    if not models.same_files(sorted(a.iterdir()), sorted(b.iterdir())):
        raise Failure(f"{what} gives other bits than the model compiled in memory")


def compile_others(tegula, model, target, folder):
    """An executable, and a shared object that is linked from an object by the C compiler, which reads the header, too."""
    program, linked, stem = folder / "program", folder / "linked.so", folder / "object"
    subprocess.run([tegula, "compile", model, "-o", program, "--target", target], check=True)
    subprocess.run([tegula, "compile", model, "-o", f"{stem}.o", "--header", f"{stem}.h", "--target", target], check=True)
    cc = os.environ.get("CC", "cc").split()
    subprocess.run([*cc, "-std=c17", "-Wall", "-Werror", "-fsyntax-only", "-x", "c", f"{stem}.h"], check=True)
    subprocess.run([*cc, "-shared", "-Wl,--defsym=tegula_model=object__model", "-o", linked, f"{stem}.o"], check=True)
    os.remove(f"{stem}.o")
    return {"the executable": [program], "the object": [tegula, "run", linked]}


def check_others(tegula, model, target, inputs, folder):
    for what, command in compile_others(tegula, model, target, folder).items():
        there = folder / what.replace(" ", "_")
        subprocess.run([*command, *inputs, "--output-dir", there], check=True, stdout=subprocess.DEVNULL)
        check_same(there, folder / f"memory.{target}", what)


def check(tegula, name, folder):
    """What was measured, as (what, it, the most that it may be, a format)."""
    models.make_models(folder, name)
    model, library = folder / f"{name}.onnx", folder / f"{name}.so"
    inputs, weights = ["--input-dir", model.with_suffix(".inputs")], model.stat().st_size / MB
    measured = [("compile MB", compiled.peak_bytes(tegula, "compile", model, "-o", library) / MB, 2.5 * weights + 150,
                 ".0f")]
    targets = [target for target in ("v2", "v3", "v4") if models.can_run(target)]
    for target in targets:
        here, there = folder / f"memory.{target}", folder / f"file.{target}"
        file = compiled.peak_bytes(tegula, "run", library, *inputs, "--output-dir", there,
                                   TEGULA_TARGET=f"x86-64-{target}") / MB
        memory = compiled.peak_bytes(tegula, "run", model, *inputs, "--output-dir", here, "--target", target) / MB
        check_same(there, here, f"the shared object for {target}")
        measured += [(f"{target} error", error_of(here, folder / f"{name}.outputs"), MOST_ERROR, ".1e"),
                     (f"{target} run MB", memory, file + 1.5 * weights + 100, ".0f")]
    library.unlink()
    check_others(tegula, model, targets[-1], inputs, folder)
    return measured


def main(tegula, names):
    bad = 0
    for name in names or make.MODELS:
        folder = pathlib.Path(tempfile.mkdtemp())
        try:
            measured = check(tegula, name, folder)
            good = all(value <= most for _, value, most, _ in measured)
            print(f"{name}: {'ok' if good else 'WRONG'}: " +
                  ", ".join(f"{what} {value:{form}} of {most:{form}}" for what, value, most, form in measured), flush=True)
        except (Failure, subprocess.CalledProcessError) as failure:
            print(f"{name}: WRONG: {failure}", flush=True)
            good = False
        finally:
            shutil.rmtree(folder)
        bad += not good
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2:]))
