#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Joins what bench_cuda and baseline.py told, and makes tables of it.

Usage: report.py GPU.json     the tables of a run that bench/gpu/run wrote, as Markdown
"""
import json
import math
import statistics
import sys
import textwrap

SHAPE = ("heads", "kv_heads", "dim", "batch", "positions", "queries")
PAGES_ASKED, SWITCHED_ASKED = 0.95, 0.9
TOKEN_ASKED_US, ENCODE_ASKED, DECODE_ASKED = 3.5, 0.65, 0.8

SWITCHED = {
    "tails": "lengths that are no multiples of 16",
    "window-edge": "a window, all but 8 positions",
    "window-4096": "a window of 4,096 (plain: T 4,096)",
    "softcap": "softcap",
    "logits": "a sink logit a head",
    "centre": "a centre",
    "centres": "a centre for 256 positions",
    "recent": "the last 64 in float16",
    "sinks": "the first one in float16",
}


def shape_of(row):
    return tuple(row[name] for name in SHAPE)


def asked_of(shape, k, v, accuracy):
    """How many times as fast as bf16 the row is to be; None: it is told and no more."""
    heads, kv_heads, dim, batch, positions, queries = shape
    if queries != 1:
        return 0.5 if queries == 512 and (k, v, accuracy) == ("tq4", "tq4", "fast") else None
    long = positions == 32768 and batch in (8, 32) and (heads, kv_heads, dim) in ((32, 8, 128), (16, 8, 256))
    if (k, v) == ("tq6", "tq4") and long:
        return 2.5
    if (k, v) == ("tq8", "tq8") and long:
        return 1.75
    if (k, v) != ("tq4", "tq4"):
        return None
    if accuracy == "exact":
        return 2.8 if long else None
    if long:
        return 3.3 if dim == 128 else 3.6
    others = {(16, 2, 512, 8, 32768): 3.2, (64, 8, 64, 8, 32768): 3.0, (32, 8, 64, 8, 32768): 3.0,
              (32, 8, 128, 8, 4096): 2.5, (32, 8, 128, 1, 4096): 1.0}
    return others.get(shape[:5])


def readings(samples, row):
    """The clock (median) and the power (most) that were read while the row ran."""
    near = [s for s in samples if row["began"] - 0.05 <= s["time"] <= row["ended"] + 0.15]
    clocks = [s["sm_mhz"] for s in near if s.get("sm_mhz") is not None]
    watts = [s["watts"] for s in near if s.get("watts") is not None]
    return {"sm_mhz": statistics.median(clocks) if clocks else None, "watts": max(watts) if watts else None}


def summary(rows, samples):
    """Repetitions of a row as one: their medians, or why there is none."""
    good = [row for row in rows if "us" in row]
    if not good:
        return {"failed": rows[0].get("failed", "not told")}
    told = {"us": statistics.median([row["us"] for row in good]),
            "spread": statistics.median([(row["p90"] - row["p10"]) / row["us"] for row in good]),
            "replays": sum(row["replays"] for row in good)}
    told.update(readings(samples, good[0]))
    for name in ("bytes", "source_bytes", "stored_bytes", "sets", "error", "origin", "plan_seconds", "registers",
                 "warps", "shared_bytes", "workspace_bytes"):
        if name in good[0]:
            told[name] = good[0][name]
    return told


def grouped(rows, names):
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def best_peers(rows):
    """For each shape the fastest bf16 way, by the medians of both runs, and all the others."""
    best = {}
    for (*shape, name), same in grouped(rows, (*SHAPE, "name")).items():
        times = [row["us"] for row in same if "us" in row]
        if times:
            best.setdefault(tuple(shape), {})[name] = statistics.median(times)
    return {shape: {"name": min(ways, key=ways.get), "us": min(ways.values()), "ways": ways}
            for shape, ways in best.items()}


def limits_of(rows):
    limits = {}
    for row in rows:
        limits[row["name"]] = max(limits.get(row["name"], 0), row["gb_per_s"])
    return limits


def peer_of(shape, peers, read):
    """At D = 512 nothing of bf16 is near what its bytes cost: those are what is compared with."""
    _, kv_heads, dim, batch, positions, _ = shape
    if dim <= 256:
        return peers.get(shape)
    return {"name": "floor", "us": 4 * batch * kv_heads * positions * dim / read / 1e3} if read else None


def attention_rows(ours, samples, peers, read):
    table = {}
    names = (*SHAPE, "k", "v", "accuracy", "options", "page_rows")
    for (*key, options, page_rows), same in grouped(ours, names).items():
        if options not in ("plain", "helpers"):
            continue
        row = table.setdefault((*key, options), {**dict(zip(names, key)), "options": options})
        told = summary(same, samples)
        peer = peer_of(shape_of(row), peers, read)
        row["asked"] = asked_of(shape_of(row), row["k"], row["v"], row["accuracy"])
        row["bf16"] = peer
        if "us" in told:
            told["times"] = peer["us"] / told["us"] if peer else None
            told["of_read"] = told["bytes"] / told["us"] / 1e3 / read if read else None
        row["pages" if page_rows else "contiguous"] = told
    for row in table.values():
        both = [row.get(name, {}).get("us") for name in ("contiguous", "pages")]
        row["pages_share"] = both[0] / both[1] if all(both) else None
    return list(table.values())


def switched_rows(ours, samples):
    table = []
    groups = grouped(ours, (*SHAPE, "k", "v", "accuracy", "page_rows", "options"))
    for (*key, options), same in groups.items():
        if options not in SWITCHED:
            continue
        beside = list(key)
        if options == "window-4096":
            beside[SHAPE.index("positions")] = 4096
        told = summary(same, samples)
        plain = summary(groups.get((*beside, "plain"), [{}]), samples)
        if "us" in told and "us" in plain:
            told["plain_us"], told["share"] = plain["us"], plain["us"] / told["us"]
        table.append({**dict(zip(SHAPE, key)), "options": options, "asked": SWITCHED_ASKED, **told})
    return table


def encode_row(row, samples, read):
    told = summary([row], samples)
    one = row["tokens"] == 1
    many = row["tokens"] > 1024 and row["type"] == "f32"
    told["asked"] = TOKEN_ASKED_US if one else ENCODE_ASKED if many else None
    told["asked_of"] = "us" if one else "share"
    if "us" in told and not one:
        told["share"] = told["source_bytes"] / told["us"] / 1e3 / read if read and row["tokens"] > 1024 else None
    formats = f"K {row['k']}, V {row['v']}" + (", centres" if row["centres"] else "")
    return {"what": f"encode, {row['tokens']:,} token{'s' if not one else ''}, {formats}, {row['type']}",
            "kv_heads": row["kv_heads"], "dim": row["dim"], "limit": "read", **told}


def decode_row(row, samples, store):
    told = summary([row], samples)
    told["asked"] = DECODE_ASKED if row["format"] == "tq4" else None
    told["asked_of"] = "share"
    if "us" in told:
        told["share"] = told["stored_bytes"] / told["us"] / 1e3 / store if store else None
    return {"what": f"decode, {row['positions']:,} positions, {row['format']} to {row['type']}, {row['domain']}",
            "kv_heads": row["kv_heads"], "dim": row["dim"], "limit": "store", **told}


def join(ours, baselines, samples):
    """All of a run as one object: rows of bench_cuda, of baseline.py (both runs), and nvidia-smi's readings."""
    of = lambda rows, kind: [row for row in rows if row.get("kind") == kind]
    limits = limits_of(of(ours, "limit") + of(baselines, "limit"))
    read, store = limits.get("read"), limits.get("store")
    peers = best_peers(of(baselines, "baseline"))
    attention = of(ours, "attention")
    return {"bench": (of(ours, "card") or [None])[0], "peers": (of(baselines, "peers") or [None])[0], "limits": limits,
            "attention": attention_rows(attention, samples, peers, read),
            "switched": switched_rows(attention, samples),
            "codec": [encode_row(row, samples, read) for row in of(ours, "encode")]
                     + [decode_row(row, samples, store) for row in of(ours, "decode")],
            "bf16": [{**dict(zip(SHAPE, shape)), **told} for shape, told in peers.items()]}


# Tables

def time_cell(told):
    if "us" not in told:
        return "failed" if told else "-"
    doubt = f" ±{50 * told['spread']:.0f} %" if told["spread"] >= 0.05 else ""
    return f"{told['us']:,.{1 if told['us'] < 1000 else 0}f}{doubt}"


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value):
    return "-" if value is None else f"{100 * value:.0f} %"


def reaches(value, asked, least=True):
    return value is not None and (value >= asked if least else value <= asked)


def asked_cell(value, asked, least=True, show="{:g}"):
    """What is asked, and plainly where it is not reached."""
    if asked is None:
        return "-"
    text = f"{'>=' if least else '<='} " + show.format(asked)
    if value is None:
        return f"**not measured: {text}**"
    return text if reaches(value, asked, least) else f"**{'below' if least else 'above'}: {text}**"


def markdown(columns, rows):
    """Aligned, text to the left and the rest to the right."""
    lines = [columns, *[[str(cell) for cell in row] for row in rows]]
    width = [max(3, *(len(line[i]) for line in lines)) for i in range(len(columns))]
    pad = lambda line: [line[0].ljust(width[0])] + [cell.rjust(w) for cell, w in zip(line[1:], width[1:])]
    rule = ["-" * width[0]] + ["-" * (w - 1) + ":" for w in width[1:]]
    return "".join("| " + " | ".join(line) + " |\n" for line in [pad(lines[0]), rule, *map(pad, lines[1:])]) + "\n"


def formats_cell(row):
    formats = row["k"] if row["k"] == row["v"] else f"K {row['k']}, V {row['v']}"
    more = [row["accuracy"]] if row["accuracy"] != "fast" else []
    more += ["all defaults"] if row["options"] == "helpers" else []
    return ", ".join([formats, *more])


def attention_table(run):
    columns = ["formats", "heads", "D", "B", "T", "n", "bf16, us", "by", "us", "times", "asked", "of read", "pages, us",
               "pages, times", "over contiguous", "asked", "MHz", "W"]
    rows = []
    for row in run["attention"]:
        at, pages = row.get("contiguous", {}), row.get("pages", {})
        peer = row["bf16"] or {"name": "-", "us": None}
        rows.append([formats_cell(row), f"{row['heads']}/{row['kv_heads']}", row["dim"], row["batch"],
                     f"{row['positions']:,}", row["queries"], number(peer["us"], 1), peer["name"], time_cell(at),
                     number(at.get("times")), asked_cell(at.get("times"), row["asked"]), percent(at.get("of_read")),
                     time_cell(pages), number(pages.get("times")), number(row["pages_share"]),
                     asked_cell(row["pages_share"], PAGES_ASKED) if pages else "-", number(at.get("sm_mhz"), 0),
                     number(at.get("watts"), 0)])
    return markdown(columns, rows)


def switched_table(run):
    rows = [[SWITCHED[row["options"]], time_cell(row), number(row.get("plain_us"), 1), number(row.get("share")),
             asked_cell(row.get("share"), row["asked"])] for row in run["switched"]]
    return markdown(["switched on", "us", "plain, us", "plain over it", "asked"], rows)


def codec_table(run):
    rows = []
    for row in run["codec"]:
        by_time = row["asked_of"] == "us"
        value = row.get("us") if by_time else row.get("share")
        of = f" of {row['limit']}" if row.get("share") is not None else ""
        rows.append([row["what"], row["dim"], time_cell(row), percent(row.get("share")) + of,
                     asked_cell(value, row["asked"], not by_time, "{:g} us" if by_time else "{:.0%}"),
                     number(row.get("sm_mhz"), 0), number(row.get("watts"), 0)])
    return markdown(["8 KV heads", "D", "us", "share", "asked", "MHz", "W"], rows)


def verdicts(run):
    """What was asked of each figure and whether it is reached: (words, reached)."""
    told = []

    def judge(words, value, asked, least=True):
        if asked is not None:
            told.append((f"{words} ({number(value)}, asked {asked:g})", reaches(value, asked, least)))
    for row in run["attention"]:
        name = (f"{formats_cell(row)} at {row['heads']}/{row['kv_heads']}, D {row['dim']}, B {row['batch']}, "
                f"T {row['positions']:,}")
        judge(name, row.get("contiguous", {}).get("times"), row["asked"])
        if "pages" in row:
            judge(f"pages, {name}", row["pages_share"], PAGES_ASKED)
    for row in run["switched"]:
        judge(SWITCHED[row["options"]], row.get("share"), row["asked"])
    for row in run["codec"]:
        by_time = row["asked_of"] == "us"
        value = row.get("us") if by_time else row.get("share")
        judge(f"{row['what']}, D {row['dim']}", value, row["asked"], not by_time)
    return told


def span(values, digits=1):
    values = [value for value in values if value is not None]
    if not values:
        return "?"
    least, most = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return least if least == most else f"{least} to {most}"


def meaning(run):
    """A sentence for those who read no table. It names what falls short."""
    long = [row for row in run["attention"] if row["positions"] == 32768 and row["batch"] >= 8
            and row["queries"] == 1 and 128 <= row["dim"] <= 256 and row["accuracy"] == "fast"]
    default = [row.get("contiguous", {}) for row in long if row["options"] == "helpers"]
    tq4 = [row.get("contiguous", {}) for row in long if (row["k"], row["v"]) == ("tq4", "tq4")]
    shares = [100 * at["of_read"] for at in default + tq4 if at.get("of_read") is not None]
    verdict = verdicts(run)
    below = [words for words, reached in verdict if not reached]
    text = ("32,768 positions in batches of 8 and 32 are attended to "
            f"{span([at.get('times') for at in default])} times as fast from a cache with all defaults, and "
            f"{span([at.get('times') for at in tq4])} times from tq4, as by the fastest attention in bf16 of the same "
            f"run, reading codes at {span(shares, 0)} % of the card's bandwidth; of {len(verdict)} figures of which "
            f"something is asked, {len(verdict) - len(below)} reach it")
    text += ", and these do not: " + "; ".join(below) + "." if below else "."
    return textwrap.fill(text, 116, break_on_hyphens=False) + "\n"


def heading(run):
    smi, bench, peers, limits = run.get("smi") or {}, run["bench"] or {}, run["peers"] or {}, run["limits"]
    loaded = [s for s in run.get("samples", []) if (s.get("watts") or 0) > 200]
    clocks = [s["sm_mhz"] for s in loaded if s.get("sm_mhz") is not None]
    lines = [
        ("card", smi.get("name") or bench.get("name")),
        ("driver", smi.get("driver_version")),
        ("at most", smi.get("power.limit") and f"SM {smi['clocks.max.sm']} MHz, memory {smi['clocks.max.memory']} MHz, "
                                               f"{smi['power.limit']} W"),
        ("under load", clocks and f"SM {span(clocks, 0)} MHz, up to {max(s['watts'] for s in loaded):.0f} W"),
        ("tqkv", bench.get("version") and f"{bench['version']}, commit {run.get('commit', '?')}"),
        ("PyTorch", peers.get("torch") and f"{peers['torch']}, cuDNN {peers.get('cudnn')}"),
        ("FA3", peers.get("fa3")),
        ("read, store", limits.get("read") and f"{limits['read']:,.0f} and {limits.get('store', 0):,.0f} GB/s")]
    told = "".join(f"    {name + ':':21}{value}\n" for name, value in lines if value)
    return f"Measured {run.get('date', '?')} in {run.get('seconds', math.nan):.0f} seconds.\n\n{told}\n"


def problems(run):
    failed = []
    for row in run["attention"]:
        for layout in ("contiguous", "pages"):
            if "failed" in row.get(layout, {}):
                failed.append(f"{formats_cell(row)} at {row['heads']}/{row['kv_heads']}, D {row['dim']}, "
                              f"B {row['batch']}, T {row['positions']:,}, n {row['queries']}, {layout}: "
                              f"{row[layout]['failed']}")
    failed += [f"{SWITCHED[row['options']]}: {row['failed']}" for row in run["switched"] if "failed" in row]
    failed += [f"{row['what']}, D {row['dim']}: {row['failed']}" for row in run["codec"] if "failed" in row]
    failed += run.get("problems", [])
    return "Not measured:\n\n" + "".join(f"- {words}\n" for words in failed) + "\n" if failed else ""


def page(run):
    return "".join([
        heading(run),
        "**Attention.** Medians of graph replays, ± half of what lies between the 10th and the 90th of 100. Times:\n"
        "the fastest attention in bf16, measured before and after, over ours. Of read: codes and norms a second over\n"
        "what the card reads. Pages: of 64 positions, in random order. At D = 512 bf16 is its bytes at the card's\n"
        "speed of reading. n > 1: verification, and 512 a chunk of prefill, bf16 without a mask. All defaults: a\n"
        "centre for each 256 positions, one sink and the last 64 positions in float16.\n\n",
        attention_table(run),
        "**Switched on**, one by one: tq4, 32/8 heads, D = 128, B 8, T 32,768.\n\n", switched_table(run),
        "**Encoding and decoding**: keys and values of a layer in one launch; decoding of one side.\n\n",
        codec_table(run),
        problems(run), meaning(run)])


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        print(page(json.load(file)), end="")


if __name__ == "__main__":
    main()
