#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Preprocesses every source file of the library as the build compiles it, and with one option more that takes
results apart from their definition: each must refuse, by itself.
Usage: sources_refuse.py COMPILE_COMMANDS TREE"""

import json
import os
import shlex
import subprocess
import sys

TO_THE_BYTE = "defined to the byte"
OPTIONS = {
    "-ffast-math": TO_THE_BYTE,
    "-ffinite-math-only": TO_THE_BYTE,
    "-U__FLT_EVAL_METHOD__ -D__FLT_EVAL_METHOD__=2": "FLT_EVAL_METHOD must be 0",
}


def preprocess(entry, options):
    """Returns the status and what the compiler said. Nothing is written into the build folder. That the file goes
    through without the options, the build itself has shown."""
    command = shlex.split(entry["command"])
    for name in ("-o", "-MF", "-MT"):
        if name in command:
            at = command.index(name)
            del command[at:at + 2]
    command = [word for word in command if word not in ("-c", "-MD")] 
    command += options + ["-Wfatal-errors", "-E", "-o", os.devnull]
    done = subprocess.run(command, cwd=entry["directory"], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def main():
    with open(sys.argv[1], encoding="utf-8") as commands:
        entries = [e for e in json.load(commands) if e["file"].startswith(os.path.join(sys.argv[2], "src", ""))]
    wrong = 0 if entries else 1
    for entry in entries:
        for options, message in OPTIONS.items():
            status, said = preprocess(entry, options.split())
            if status == 0 or message not in said:
                print(f"{entry['file']}: accepts {options} {said}")
                wrong += 1
    print(f"{len(entries)} sources, {len(OPTIONS)} ways, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
