# SPDX-License-Identifier: MIT
"""What the servers of bench/peers/attention.c share. They read commands on standard input, and answer each on
standard output:

    scene H G D T THREADS   then q [H][D], k [G][T][D], v likewise as float32: a line with what is worth telling
    run KIND PASSES         the seconds that so many passes took
    result KIND             [H][D] float32, what a pass gives

A line with the library's name and version comes first, by itself.
"""
import os
import sys


def floats(stream, *shape):
    """So many float32, as bytes."""
    n = 4
    for length in shape:
        n *= length
    data = bytearray(n)
    view, at = memoryview(data), 0
    while at < n:
        got = stream.readinto(view[at:])
        if not got:
            sys.exit(f"{sys.argv[0]}: the data end early")
        at += got
    return data


def serve(version, scene_of):
    """scene_of(q, k, v, heads, kv_heads, dim, positions, threads): an object with `note`, run(kind, passes) and
    result(kind), which gives bytes. Whatever the library prints goes to standard error."""
    stream, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    scene = None

    def say(text):
        answers.write(text.encode() + b"\n")
        answers.flush()

    say(version)
    for line in iter(stream.readline, b""):
        command, *words = line.decode().split()
        if command == "scene":
            scene = None  # its memory first
            heads, kv_heads, dim, positions, threads = map(int, words)
            data = [floats(stream, *shape) for shape in ((heads, dim), (kv_heads, positions, dim),
                                                         (kv_heads, positions, dim))]
            scene = scene_of(*data, heads, kv_heads, dim, positions, threads)
            say(scene.note)
        elif command == "run":
            say(repr(scene.run(words[0], int(words[1]))))
        elif command == "result":
            answers.write(scene.result(words[0]))
            answers.flush()
        else:
            sys.exit(f"{sys.argv[0]}: what is '{command}'?")
