# SPDX-License-Identifier: MIT
"""Tables in the documents, between marks that stay."""
import pathlib

import files

TITLES = {"smollm2": "SmolLM2-135M", "gemma3": "Gemma 3 270M", "qwen2.5": "Qwen2.5-Coder-1.5B"}  # of models, in tables


def markdown(columns, rows):
    lines = [columns, ["---"] + ["--:"] * (len(columns) - 1), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def put(path, parts):
    """parts: (mark before, mark after, what is to be between them) each."""
    path = pathlib.Path(path)
    page = path.read_text(encoding="utf-8")
    for begin, end, text in parts:
        if begin not in page or end not in page:
            raise files.Refused(f"{path.name} has no place for a table: {begin.strip()} and {end.strip()} are missing")
        page = page[:page.index(begin) + len(begin)] + text + page[page.index(end):]
    with files.whole(path) as out:
        out.write(page.encode())
