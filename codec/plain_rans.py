"""CompressAI's entropy coder (rANS) a second time, in Python: for installations without it. Some 5 times as slow.

The section "rANS stream" of FORMAT.md; ryg_rans with a state of 64 bits, words of 32 and frequencies of 16. The classes
have the methods of `compressai.ans` that rans.py calls, and give the same bytes.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

LOW = 2**31  # a state below it takes in a word
PRECISION = 16


class BufferedRansEncoder:
    """Takes symbols from the first to the last; the state machine runs from the last to the first."""

    def __init__(self) -> None:
        self._coded: list[tuple[int, int]] = []  # start and width out of 2^PRECISION; of a nibble itself and 0

    def encode_with_indexes(
        self, symbols: list[int], indexes: list[int], cdfs: list[list[int]], lengths: list[int], offsets: list[int]
    ) -> None:
        for symbol, i in zip(symbols, indexes):
            cdf, escape, value = cdfs[i], lengths[i] - 2, symbol - offsets[i]
            if 0 <= value < escape:
                self._coded.append((cdf[value], cdf[value + 1] - cdf[value]))
                continue
            self._coded.append((cdf[escape], cdf[escape + 1] - cdf[escape]))
            beyond = -2 * value - 1 if value < 0 else 2 * (value - escape)
            digits = [beyond >> at & 15 for at in range(0, beyond.bit_length(), 4)]
            count = [15] * (len(digits) // 15) + [len(digits) % 15]  # as a sum that ends with less than 15
            self._coded += [(nibble, 0) for nibble in count + digits]

    def flush(self) -> bytes:
        state, words = LOW, []
        for start, width in reversed(self._coded):
            if state >= (width or 1 << PRECISION - 4) << 47:
                words.append(state & 0xFFFFFFFF)
                state >>= 32
            state = (state // width << PRECISION) + state % width + start if width else state << 4 | start
        words += [state >> 32, state & 0xFFFFFFFF]
        self._coded = []
        return np.array(words[::-1], "<u4").tobytes()


class RansDecoder:
    """Behind its stream there are zeros without end."""

    def set_stream(self, stream: bytes) -> None:
        words = iter(np.frombuffer(stream, "<u4").tolist())
        self._next = lambda: next(words, 0)
        self._state = self._next() | self._next() << 32

    def decode_stream(
        self, indexes: list[int], cdfs: list[list[int]], lengths: list[int], offsets: list[int]
    ) -> list[int]:
        state, out = self._state, []
        for i in indexes:
            cdf, low = cdfs[i], state & 0xFFFF
            value = bisect_right(cdf, low) - 1
            state = (cdf[value + 1] - cdf[value]) * (state >> PRECISION) + low - cdf[value]
            if state < LOW:
                state = state << 32 | self._next()
            if value == lengths[i] - 2:
                self._state = state
                beyond = self._beyond()
                state = self._state
                value = -(beyond >> 1) - 1 if beyond % 2 else value + (beyond >> 1)
            out.append(value + offsets[i])
        self._state = state
        return out

    def _beyond(self) -> int:
        """An escaped number, of 32 bits with a sign; nibbles beyond the eighth begin at its lowest bits again."""
        count = nibble = self._nibble()
        while nibble == 15:
            nibble = self._nibble()
            count += nibble
        number = 0
        for at in range(count):
            number |= self._nibble() << 4 * (at % 8)
        return number - (number >> 31 << 32)

    def _nibble(self) -> int:
        nibble, self._state = self._state & 15, self._state >> 4
        if self._state < LOW:
            self._state = self._state << 32 | self._next()
        return nibble
