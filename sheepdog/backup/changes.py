# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What differs between two snapshots. Pure.

Objects that both have in common are the same, so nobody reads them. Of the
others what counts is what is in them: a first write copies a whole object
for 4 KiB.
"""

from typing import Iterator, NamedTuple

from sheepdog.backup import stream

BLOCK_BYTES = 4096
_ZEROES = bytes(BLOCK_BYTES)


class Range(NamedTuple):
    """Which of both have objects there that differ."""

    offset: int
    length: int
    is_new: bool
    is_old: bool


def ranges(new, new_size, old, old_size, object_bytes) -> Iterator[Range]:
    """Where something may differ, in order; neighbours of one kind together.

    :param new: for each index the id of who owns the object; 0: there is
        none
    :param old: the same of what is compared with; may be shorter
    """
    begin = kind = None
    count = -(-new_size // object_bytes)
    # What was beyond the end of the old one is not said to be zero.
    edge = old_size // object_bytes if 0 < old_size < new_size else -1
    for index in range(count):
        ours = new[index] if index < len(new) else 0
        theirs = old[index] if index < len(old) else 0
        now = ((bool(ours), bool(theirs))
               if ours != theirs or (ours and index == edge) else None)
        if now != kind:
            if kind:
                yield Range(begin, index * object_bytes - begin, *kind)
            begin, kind = index * object_bytes, now
    if kind:
        yield Range(begin, new_size - begin, *kind)


def differing(offset, new, old) -> Iterator[stream.Piece]:
    """Pieces of ``new``, in whole blocks, where it is not as ``old``.

    :param new: bytes; None: zeroes of the length of the other
    :param old: the same
    """
    if new is None:
        if old.count(0) < len(old):
            yield stream.Piece(offset, len(old))
        return
    if new == old:
        return
    begin = 0
    before = None
    for start in range(0, len(new) + BLOCK_BYTES, BLOCK_BYTES):
        kind = _kind(new, old, start) if start < len(new) else None
        if kind != before:
            if before:
                end = min(start, len(new))
                yield stream.Piece(
                    offset + begin, end - begin,
                    new[begin:end] if before == stream.DATA else None)
            begin, before = start, kind


def _kind(new, old, start):
    """Of one block: DATA, ZERO, or None where both are the same."""
    block = new[start:start + BLOCK_BYTES]
    is_zero = block == _ZEROES[:len(block)]
    if old is None:
        return None if is_zero else stream.DATA
    if block == old[start:start + BLOCK_BYTES]:
        return None
    return stream.ZERO if is_zero else stream.DATA


def joined(pieces) -> Iterator[stream.Piece]:
    """Zeroes beside zeroes become one piece."""
    last = None
    for piece in pieces:
        if (last and last.data is None and piece.data is None
                and last.offset + last.length == piece.offset):
            last = stream.Piece(last.offset, last.length + piece.length)
            continue
        if last:
            yield last
        last = piece
    if last:
        yield last


def merged(first, second) -> Iterator[tuple]:
    """``(length, first's, second's)`` of two lists of ``(length, value)``
    that cover the same."""
    first, second = iter(first), iter(second)
    one, mine = next(first, (0, None))
    other, theirs = next(second, (0, None))
    while one and other:
        length = min(one, other)
        yield length, mine, theirs
        one -= length
        other -= length
        if not one:
            one, mine = next(first, (0, None))
        if not other:
            other, theirs = next(second, (0, None))
