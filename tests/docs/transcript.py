#!/usr/bin/env python3
"""Runs the commands that a page shows and compares what they print.

    transcript.py PAGE [FILE ...]

They are run by bash, one after the other in one temporary folder, where `examples` is this project's and the FILEs are
links. In blocks of ```console a line `$ COMMAND` is a command. What follows is what it prints, standard output first;
`...` matches any text within a line. `[N]` as the last line is the exit status, if it is not 0. Elsewhere a line
`    tegula ...` is a command, up to two blanks; it must succeed, whatever it prints.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COMMANDS = re.compile(r"^```console\n((?:.*\n)*?)```|^    (tegula .*?)(?:  .*)?$", re.M)


def console(block):
    """[(command, expected lines, expected status)]"""
    found = []
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, *lines = part.splitlines()
        status = re.fullmatch(r"\[(\d+)\]", lines[-1]) if lines else None
        found.append((command, lines[:-1] if status else lines, int(status[1]) if status else 0))
    return found


def commands(page):
    """[(command, expected lines or None, expected status)]"""
    found = []
    for block, line in COMMANDS.findall(page):
        found += console(block) if block else [(line, None, 0)]
    return found


def matches(pattern, line):
    return re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), line)


def run(command, expected, status, folder):
    """What is wrong, in words; None: nothing."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)
    lines = (done.stdout + done.stderr).splitlines()
    same = expected is None or len(lines) == len(expected) and all(map(matches, expected, lines))
    if done.returncode == status and same:
        return None
    return "\n".join([f"$ {command}", *lines, f"[{done.returncode}], expected:", *(expected or []), f"[{status}]"])


def main():
    page, *files = sys.argv[1:]
    found = commands(pathlib.Path(page).read_text())
    with tempfile.TemporaryDirectory() as folder:
        for path in [ROOT / "examples", *files]:
            os.symlink(os.path.abspath(path), os.path.join(folder, os.path.basename(path)))
        problems = [problem for command in found if (problem := run(*command, folder))]
    print(*problems, f"{len(found)} commands, {len(problems)} failed", sep="\n")
    return 1 if problems else 0


sys.exit(main())
