"""Compiled models run as the tests of this folder do; imported once the packages are there."""

import os
import subprocess
import sys

import numpy as np

# Starts a command and prints the most memory that it, or what it started, had in KB. In a process of its own, for one
# that is started by a large process counts that one's memory as its peak.
MEASURE = """import os, resource, sys
status = os.spawnvp(os.P_WAIT, sys.argv[1], sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)"""


def peak_bytes(*command, **environment):
    """The memory that a command takes, which has to succeed."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE,
                          universal_newlines=True, env={**os.environ, **environment})
    return int(done.stdout.split()[-1]) * 1024


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
