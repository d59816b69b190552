#!/usr/bin/env python3
"""The digit classifier, through the C API as its users have it: every sample is read as the digit in its name, and
what is no model or no picture is refused with a message.

    examples.py RUN      RUN: examples/digits/run.c, linked with the shared library
"""

import pathlib
import re
import subprocess
import sys

DIGITS = pathlib.Path(__file__).resolve().parent.parent / "examples/digits"


def run(*words):
    done = subprocess.run([sys.argv[1], *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, done.stderr


model, samples = DIGITS / "digits.onnx", sorted(DIGITS.glob("samples/*.pgm"))
status, output, complaints = run(model, *samples)
read = re.findall(r"digit_(\d)\.pgm: (\d) \((\d+\.\d) %\)\n", output)
print(output, complaints)
assert status == 0 and len(read) == len(samples) == 6
assert all(digit == found and float(percent) > 50 for digit, found, percent in read)

for words, message in (
    ((samples[0], samples[0]), str(samples[0])),
    ((DIGITS / "none.onnx", samples[0]), "none.onnx"),
    ((model, model), "not a PGM file"),
    ((model,), "usage"),
):
    status, output, complaints = run(*words)
    print(complaints)
    assert status in (1, 2) and not output and message in complaints
