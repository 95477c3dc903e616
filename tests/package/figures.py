# SPDX-License-Identifier: MIT
"""Ratios told in prose are those of the tables in docs/performance.md. Usage: figures.py SOURCE"""
import os
import re
import sys


def shares(page, title):
    """The percentages of the table under that title."""
    table = page.split(f"**{title}", 1)[1].split("\n\n", 2)[1]
    return [int(share) for share in re.findall(r"\((\d+) %\)", table)]


def main():
    texts = {}
    for name in ("README.md", "docs/performance.md"):
        with open(os.path.join(sys.argv[1], name), encoding="utf-8") as file:
            texts[name] = " ".join(file.read().split("<!-- measured by bench/performance: end -->")[-1].split())
    with open(os.path.join(sys.argv[1], "docs/performance.md"), encoding="utf-8") as file:
        page = file.read()
    wrong = []
    for title, decimal, percent in (
            ("decode, L2", "{} to {} of the machine's store stream in L2", "{} to {} % of the plain store stream in L2"),
            ("decode, RAM", "{} to {} of its streaming stores in memory", "{} to {} % of the cache-bypassing one in RAM"),
            ("encode, L2", None, "{} to {} % of memcpy in L2"),
            ("encode, RAM", None, "From RAM it is at {} to {} %")):
        least, most = min(shares(page, title)), max(shares(page, title))
        told = [("docs/performance.md", percent.format(least, most))]
        if decimal:
            told.append(("README.md", decimal.format(f"{least / 100:.2f}", f"{most / 100:.2f}")))
        wrong += [f"{name} does not say '{text}'" for name, text in told if text not in texts[name]]
    print("\n".join(wrong) or "the prose agrees with the tables")
    return 1 if wrong else 0


sys.exit(main())
