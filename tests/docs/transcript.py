#!/usr/bin/env python3
"""Runs the ```console blocks of a page and compares what they print.

    transcript.py PAGE

A line `$ COMMAND` is run by bash in one temporary folder, where `examples` is this project's. What follows is what it
prints, standard output first; `...` matches any text within a line. `[N]` as the last line is the exit status, if it is
not 0.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def commands(page):
    """[(command, expected lines, expected status)]"""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.M | re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *lines = part.splitlines()
            status = re.fullmatch(r"\[(\d+)\]", lines[-1]) if lines else None
            found.append((command, lines[:-1] if status else lines, int(status[1]) if status else 0))
    return found


def matches(pattern, line):
    return re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), line)


def main():
    found = commands(pathlib.Path(sys.argv[1]).read_text())
    failed = 0 if found else 1
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(ROOT / "examples", os.path.join(folder, "examples"))
        for command, expected, status in found:
            done = subprocess.run(["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  universal_newlines=True)
            lines = (done.stdout + done.stderr).splitlines()
            if done.returncode != status or len(lines) != len(expected) or not all(map(matches, expected, lines)):
                failed += 1
                print(f"$ {command}", *lines, f"[{done.returncode}], expected:", *expected, f"[{status}]", sep="\n")
    print(f"{len(found)} commands, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
