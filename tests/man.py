#!/usr/bin/env python3
"""The man page has every command and option that --help has, every variable of the environment that the sources read, and
nothing that groff complains of.

    man.py TEGULA PAGE

Exit status: 0 passed, 1 failed, 77 groff is missing (the rest has passed).
"""

import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPTION = re.compile(r"^ {2,6}((?:-\w(?:, )?)?(?:--[\w-]+)?(?: \S+)?)\n? +(\S.*)$", re.M)
TEGULA, PAGE = sys.argv[1], pathlib.Path(sys.argv[2])


def tegula(*words):
    return subprocess.run([TEGULA, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def plain(roff):
    """What of it is text."""
    return re.sub(r"\\f.", "", roff).replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def section(text, title):
    return re.search(rf"^\.SH {title}\n(.*?)(?=^\.SH |\Z)", text, re.M | re.S)[1]


def check_commands(text):
    commands = re.findall(r"^  ([a-z]+) {2,}", tegula("--help"), re.M)
    parts = dict(re.findall(r'^\.SS "tegula (\w+)(.*?)(?=^\.SS |\Z)', section(text, "COMMANDS"), re.M | re.S))
    assert list(parts) == commands, parts.keys()
    n = 0
    for command in commands:
        for left, help_text in OPTION.findall(tegula(command, "--help")):
            assert f".TP\n{left}\n{help_text}\n" in parts[command], f"{command}: {left}: {help_text}"
            n += 1
    assert n > 5 * len(commands)


def check_environment(text):
    read = set()
    for folder in ("api", "codegen", "frontend", "ir", "passes", "runtime", "tools"):
        for path in (ROOT / folder).glob("*.c"):
            read |= set(re.findall(r'\b(?:getenv|wanted)\("(\w+)"\)', path.read_text()))
    told = set(re.findall(r"^\.B (\w+)$", section(text, "ENVIRONMENT"), re.M))
    assert "CC" in read and read == told, read ^ told


def main():
    text = plain(PAGE.read_text())
    assert f"tegula {tegula('--version').split()[1]}" in text and "@" not in section(text, "COMMANDS")
    check_commands(text)
    check_environment(text)
    if not shutil.which("groff"):
        print("SKIP groff is missing: scripts/setup installs it")
        return 77
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", PAGE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    complaints = [line for line in done.stdout.splitlines() if "warning:" in line or "error:" in line and "groff" in line]
    assert done.returncode == 0 and not complaints, complaints
    return 0


sys.exit(main())
