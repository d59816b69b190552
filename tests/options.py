#!/usr/bin/env python3
"""Every option of every command: what --help says of it, how its value may be written, what a slip in its name is answered
by, and when diagnostics have colours.

    options.py TEGULA

The options are those that --help lists.
"""

import os
import pty
import re
import subprocess
import sys

TEGULA = sys.argv[1]
COMMAND = re.compile(r"^  ([a-z]+) {2,}", re.M)
OPTION = re.compile(r"^  (?:-(?P<letter>\w)|   )(?:, )?(?: ?--(?P<name>[\w-]+))?(?: (?P<argument>\S+))?"
                    r"\n? +(?P<help>\S.*)$", re.M)


def run(*words, status=0):
    done = subprocess.run([TEGULA, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stderr}"
    return done.stdout if status == 0 else done.stderr


def examples(argument):
    """Values of the kind that the help names: each of several, the ends of a range, a pair, a number, a word."""
    if argument in ("N", "T"):
        return ["1"]
    return ["x=1"] if "=" in argument else re.split(r"\||\.\.", argument)


def check_option(command, option):
    letter, name, argument = option["letter"], option["name"], option["argument"]
    shown = f"--{name}" if name else f"-{letter}"
    if not argument:
        assert f"'--{name}=1' takes no value" in run(command, f"--{name}=1", status=2)
    else:
        assert option["help"].endswith("]"), f"{command}: the help of {shown} has no default"
        assert f"'{shown}' needs a value, {argument}" in run(command, shown, status=2)
    if argument and "|" in argument:
        assert f"{shown} is {argument.split('|')[0]}" in run(command, shown, "frob", status=2)
    if name:
        slip = name[0] + "x" + name[1:]
        complaint = run(command, f"--{slip}=1", status=2)
        assert complaint.startswith(f"tegula {command}: unknown option '--{slip}=1'; did you mean --{name}?\n"), complaint
        assert complaint.count("\n") == 2, complaint


def check_forms(command, options, text):
    """All options at once, in each form that a word may have."""
    valued = [(o, v) for o in options if o["argument"] for v in examples(o["argument"])]
    forms = [[f"--{o['name']}" for o in options if not o["argument"] and o["name"] != "help"],
             [w for o, v in valued if o["name"] for w in (f"--{o['name']}", v)],
             [f"--{o['name']}={v}" for o, v in valued if o["name"]],
             [w for o, v in valued if o["letter"] for w in (f"-{o['letter']}", v)],
             [f"-{o['letter']}{v}" for o, v in valued if o["letter"]]]
    for words in forms:
        assert run(command, *words, "--help") == text, words


def check_command(command):
    text = run(command, "--help")
    assert text == run("help", command) == run(command, "-h")
    options = list(OPTION.finditer(text))
    lines = [line for line in text.splitlines() if re.match(" {2,6}-", line)]
    assert len(options) == len(lines), f"{command}: {len(options)} options of {len(lines)} were understood"
    assert {"color", "help"} <= {o["name"] for o in options}, command
    check_forms(command, options, text)
    for option in options:
        check_option(command, option)
    slip = command[1] + command[0] + command[2:]
    complaint = f"tegula: unknown command '{slip}'; did you mean {command}?\ntegula: see tegula --help\n"
    assert run(slip, status=2) == run("help", slip, status=2) == complaint
    return len(options)


def on_terminal(*words, **env):
    """What is printed on stderr, where that is a terminal."""
    ours, theirs = pty.openpty()
    base = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    done = subprocess.run([TEGULA, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
                          env={**base, "TERM": "xterm", **env})
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert b"\x1b" not in done.stdout
    return text.replace("\r\n", "\n")


def check_colors(command):
    plain = run(command, "/nonexistent.onnx", *outputs(command), status=1)
    colored = plain.replace("error:", "\x1b[1;31merror:\x1b[0m")
    words = [command, "/nonexistent.onnx", *outputs(command)]
    assert plain.count("error:") == 1 and "\x1b" not in plain
    assert run(*words, "--color=always", status=1) == colored
    assert on_terminal(*words) == on_terminal(*words, NO_COLOR="") == colored
    assert on_terminal(*words, "--color=always", NO_COLOR="1") == colored
    assert on_terminal(*words, "--color=never") == plain
    assert on_terminal(*words, NO_COLOR="1") == on_terminal(*words, TERM="dumb") == plain


def outputs(command):
    return ["-o", "/nonexistent.o"] if command in ("kernel", "compile") else []


def main():
    commands = COMMAND.findall(run("--help"))
    n = 0
    for command in commands:
        n += check_command(command)
        check_colors(command)
    assert "did you mean" not in run("frobnicate", status=2) + run("run", "--frobnicate", status=2)
    print(f"{len(commands)} commands, {n} options")
    return 0 if commands and n else 1


sys.exit(main())
