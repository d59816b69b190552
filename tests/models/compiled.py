"""Compiled models run as the tests of this folder do; imported once the packages are there."""

import subprocess

import numpy as np


def output_of(*words):
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return result.returncode, result.stdout


def run(tegula, model, values, folder, threads):
    """The outputs for the values by input, whose files lie in the folder; or what was said when it failed."""
    inputs, out = folder / "inputs", folder / f"out{threads}"
    inputs.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(values.values()):
        np.save(inputs / f"input_{i}.npy", array)
    status, text = output_of(tegula, "run", model, "--input-dir", inputs, "--output-dir", out, f"-j{threads}")
    return text if status else [np.load(path) for path in sorted(out.iterdir())]


def is_right_for(name, run_sizes, model, sizes):
    """Whether the model is, at all the sizes, what the interpreter makes of it; says so."""
    status, text = output_of(run_sizes, model, "native", *sizes)
    good = status == 0 and text.count(": ok") == len(sizes)
    print(f"{name}: {'ok' if good else text}")
    return good
