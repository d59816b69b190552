#!/usr/bin/env python3
"""Every text of kernels, graphs and host functions in the repository is read, printed, read again and printed the same.

    round_trip.py TEGULA

Texts are found, not listed: files with a line that begins with `kernel @`, `graph @` or `host @`, programs in C and
Python aside, and the blocks ```tile and ```graph of pages. What cannot be read is a failure, but for tests of that
(RUN-ERRORS) and the fuzzers' corpus, where it is the point of some files.
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = {".c", ".h", ".py"}
FUNCTION = re.compile(r"^\s*(kernel|graph|host) @", re.M)
BLOCK = re.compile(r"^```(?:tile|graph)\n(.*?)^```$", re.M | re.S)


def files():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        if folder == str(ROOT):
            folders[:] = [f for f in folders if not f.startswith("build")]
        yield from (pathlib.Path(folder, name) for name in sorted(names))


def texts():
    """(path, text, whether it may be faulty)"""
    corpus = ROOT / "tests/fuzz/corpus"
    for path in files():
        text = path.read_text(errors="surrogateescape")
        if path.suffix == ".md":
            yield from ((path, block, False) for block in BLOCK.findall(text))
        elif path.suffix not in PROGRAMS and FUNCTION.search(text):
            yield path, text, "RUN-ERRORS:" in text or corpus in path.parents


def printed(tegula, text):
    """What tegula prints of it; None, and the errors: it cannot be read."""
    done = subprocess.run([tegula, "opt", "-"], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          encoding="utf-8", errors="surrogateescape")
    return (done.stdout, "") if done.returncode == 0 else (None, done.stderr or f"status {done.returncode}\n")


def problem(tegula, text, may_be_faulty):
    first, errors = printed(tegula, text)
    if first is None:
        return None if may_be_faulty and "error: " in errors else "cannot be read:\n" + errors
    second, errors = printed(tegula, first)
    if second is None:
        return "what is printed cannot be read:\n" + errors + first
    return None if first == second else "reads back as something else:\n" + second


def main():
    tegula = sys.argv[1]
    found, failed = list(texts()), 0
    for path, text, may_be_faulty in found:
        what = problem(tegula, text, may_be_faulty)
        if what:
            failed += 1
            print(f"{path.relative_to(ROOT)}: {what}")
    print(f"{len(found)} texts, {failed} failed")
    return 1 if failed or not found else 0


sys.exit(main())
