#!/usr/bin/env python3
"""Makes the man page: the options are what the program says of them.

    man.py TEGULA TEMPLATE OUTPUT
"""

import subprocess
import sys


def tegula(option):
    return subprocess.run([sys.argv[1], option], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


with open(sys.argv[2]) as file:
    page = file.read()
page = page.replace("@VERSION@", tegula("--version").removeprefix("tegula ")).replace("@COMMANDS@", tegula("--help=man"))
with open(sys.argv[3], "w") as file:
    file.write(page)
