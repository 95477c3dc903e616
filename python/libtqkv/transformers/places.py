# SPDX-License-Identifier: MIT
"""Where the positions of a batch's rows go in a layer on a device: what tq_cache decides on the CPU, as numbers of
slots for all rows at once. No device is asked for anything.

Letters: B rows, n new columns of each, of which the first may be padding; a row's positions are counted without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np


@dataclass(frozen=True)
class Rule:
    """Positions in float16, and centres of stretches; 0: none. A `stretch` of 0 is one without end."""

    sinks: int = 0
    recent: int = 0
    learn: int = 0
    stretch: int = 0

    @property
    def kept(self) -> int:
        """Rows of a ring of what is not yet encoded."""
        return max(self.recent, self.learn)

    @property
    def length(self) -> int:
        """Positions of a stretch."""
        return self.stretch or 1 << 62

    def begin(self, position: int, first: int) -> tuple[int, int]:
        """(the first key that the centre of a position's stretch is learned from, how many)"""
        begin = max(position // self.length * self.length, first)
        return begin, min(self.learn, self.length - begin % self.length)

    def knows(self, encoded: int, position: int) -> bool:
        """Whether that stretch has a centre: of what is encoded some lies in it."""
        return encoded > self.sinks and position // self.length <= (encoded - 1) // self.length

    def encoded(self, before: int, length: int) -> int:
        """Positions that are encoded or sinks at a length, where `before` are: what has aged, up to a stretch whose first
        keys are not all there."""
        end, first = max(before, min(length, self.sinks), length - self.recent), max(before, self.sinks)
        if self.learn == 0 or end <= first:
            return end
        begin, keys = self.begin(end - 1, first)
        known = begin <= first and self.knows(before, first)
        return end if known or length - begin >= keys else begin


class Move:
    """What a piece of n columns does, arrays of int64. Columns of padding have the slot -1.

    Slot: row * slots + position % slots, of codes. Source of a key: its row in the ring of float16, or ring + column.
    Number of a centre: row * centres + stretch % centres.

    starts     positions of each row before the piece
    counts     new ones of each: the last columns
    encoded    of each before; `ends` after
    """

    def __init__(self, rule: Rule, starts: Sequence[int], counts: Sequence[int], encoded: Sequence[int], n: int, slots: int,
                 centres: int) -> None:
        rows, at = np.arange(len(starts))[:, None], np.arange(n)
        first, last = (np.array(x)[:, None] for x in (starts, [s + m for s, m in zip(starts, counts)]))
        positions = last - n + at
        real = positions >= first
        self.slots = np.where(real, rows * slots + positions % slots, -1).ravel()
        self.ends = [rule.encoded(e, s + m) for s, m, e in zip(starts, counts, encoded)]
        self.sinks = self._columns(real & (positions < rule.sinks), positions)
        self.recent = self._columns(real & (positions >= last - rule.kept), positions % max(rule.kept, 1))
        self.lessons, self.aged = [], np.empty((4, 0), np.int64)
        self.mixed = False  # whether keys of the piece itself are encoded, or learned from
        if rule.kept == 0:
            return
        aged, lessons = [], {}
        for row, (start, count, before, end) in enumerate(zip(starts, counts, encoded, self.ends)):
            p = np.arange(max(before, rule.sinks), end)
            if p.size == 0:
                continue
            number = row * centres + p // rule.length % max(centres, 1)
            aged.append([np.full(p.size, row), self._source(p, start, n - count, rule.kept), row * slots + p % slots, number])
            for position in self._entered(rule, before, p):
                begin, keys = rule.begin(position, int(p[0]))
                source = self._source(np.arange(begin, begin + keys), start, n - count, rule.kept)
                lessons.setdefault(keys, []).append([row * centres + position // rule.length % centres, row, *source])
        if aged:
            self.aged = np.concatenate(aged, 1)  # row, source, slot, number
        self.lessons = [np.array(x) for x in lessons.values()]  # [..][number, row, sources ..]
        self.mixed = any((x >= rule.kept).any() for x in (self.aged[1], *(lesson[:, 2:] for lesson in self.lessons)))

    @staticmethod
    def _columns(which: Any, places: Any) -> Any:
        """[3][..]: row, column and place."""
        row, column = which.nonzero()
        return np.stack([row, column, np.broadcast_to(places, which.shape)[row, column]])

    @staticmethod
    def _source(positions: Any, start: int, padding: int, kept: int) -> Any:
        return np.where(positions < start, positions % kept, kept + padding + positions - start)

    @staticmethod
    def _entered(rule: Rule, before: int, positions: Any) -> list[int]:
        """A position of each stretch that is begun."""
        if rule.learn == 0:
            return []
        entered = np.unique(positions // rule.length)
        if rule.knows(before, int(positions[0])):
            entered = entered[1:]
        return [int(max(s * rule.length, positions[0])) for s in entered]
