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

"""What a strip of a coded object knows besides its bytes. Pure.

A strip belongs to a *generation*: (epoch, count, is_birth), the settlement in
which all targets were equal last. Updates have numbers; those applied since
that are not known to be complete everywhere are *open*, with the old bytes
they replaced. ``doc/source/design-erasure.rst`` says what it is for.

Each change is an event in the journal (a HISTORY record). The events that
the journal still has, done in order over what the file's attribute says,
give the state; events that the attribute knows of change nothing but what is
open, and what is said to have changed.
"""

import copy
import struct
from typing import NamedTuple, Optional

from crc32c import crc32c

from sheepdog.store import changed as store_changed

ATTRIBUTE = 'sheepdog.history'
NEXTS_MAX = 8
CHANGED_MAX = 4

UPDATE = 1
ALIGN = 2
SETTLE = 3
REPEAT = 4

_NUMBER_BYTES = 16
_BIRTH = 1 << 31
_GENERATION = struct.Struct('<II')
_UPDATE = struct.Struct('<B8s16s16sII?')
_ALIGN = struct.Struct('<B8sI')
_ATTRIBUTE = struct.Struct('<Q8s8s16sB')
_CRC = struct.Struct('<I')
_KEPT = struct.Struct('<16sI')
_FILE = struct.Struct('<8sII')
_FILE_MAGIC = b'sd-open1'
_CHANGES = struct.Struct('<{0}s{0}s{0}s16sB'.format(
    store_changed.BITS_BYTES))
_CHANGED = struct.Struct('<8s16s%ds' % store_changed.BITS_BYTES)
_NEXTS_END = _ATTRIBUTE.size + NEXTS_MAX * _GENERATION.size
_CHANGES_END = _NEXTS_END + _CHANGES.size
_CHANGED_END = _CHANGES_END + CHANGED_MAX * _CHANGED.size

NONE = (0, 0, False)


class Update(NamedTuple):
    """``old`` are the bytes that were at [offset, offset + size); None: all
    zero. ``token`` names the write for good (see ``peer.tokens``), whoever
    orders it; 0: nobody asks for it."""

    number: int
    generation: tuple
    offset: int
    size: int
    old: Optional[bytes]
    token: int = 0


class Repeat(NamedTuple):
    """An update that was open when this was written, its own record being
    about to go; but for what the records before this one say."""

    update: Update


class Align(NamedTuple):
    """The updates ``undone`` were rolled back; ``generation`` is prepared
    (NONE: nothing is)."""

    generation: tuple
    undone: frozenset


class Settle(NamedTuple):
    generation: tuple


class History:
    """``open``: number → Update; the others as in ``recovery.agreement``.
    ``sequence``: the last event in it, by its number in the journal.
    ``_undone``: updates whose rolling back is among the events; ``_since``:
    those applied behind the last settlement that is, but what was closed.
    (For repetitions that come behind that: in a replay, or while they are
    journalled.)

    What changed is kept as bits (see ``store.changed``). ``now``: while the
    generation is the strip's. Of that, not all targets may have: what was
    rolled back (``left``), and what is open. (In a replay that may lack what
    was open when this was saved: ``held``, by updates below ``held_end``: its
    records go when it is not open any more.) ``changed``: earlier
    generation → (its floor, what perhaps not all had when it ended, and what
    changed since)."""

    __slots__ = ('generation', 'nexts', 'forgotten', 'floor', 'open',
                 'sequence', 'changed', 'now', 'left', 'held', 'held_end',
                 '_undone', '_since')

    def __init__(self):
        self.generation = NONE
        self.nexts = ()
        self.forgotten = NONE
        self.floor = 0
        self.open = {}
        self.sequence = 0
        self.changed = {}
        self.now = 0
        self.left = 0
        self.held = 0
        self.held_end = 0
        self._undone = set()
        self._since = None

    @property
    def is_left_out(self) -> bool:
        """There was no room for the strip: this only says so."""
        return self.generation == NONE and not self.nexts

    @property
    def is_doomed(self) -> bool:
        """It was to be removed, and was not settled since."""
        return bool(self.nexts) and self.nexts[-1][2]

    def doom(self, epoch: int) -> tuple:
        """The birth to prepare before it is removed: the same for all
        strips of its generation."""
        before, count, _ = self.generation
        return epoch, count + 1 if before == epoch else 1, True

    def has(self, number: int) -> bool:
        """That update was applied, and may be rolled back."""
        return number in self.open

    def close(self, below: int) -> bool:
        """Updates below are complete everywhere; True where that was
        news."""
        closed = [number for number in self.open if number < below]
        for number in closed:
            del self.open[number]
            self.floor = max(self.floor, number + 1)
        if closed and self._since:
            self._since.difference_update(closed)
        return bool(closed)

    def moved(self) -> 'History':
        """The same of another file."""
        other = copy.copy(self)
        other.open = dict(self.open)
        other.changed = dict(self.changed)
        other._undone = set(self._undone)
        if self._since is not None:
            other._since = set(self._since)
        return other

    def excess(self, kept) -> list:
        """The open updates that are not to be kept, in the order in which
        they are to be undone."""
        return [self.open[number] for number in sorted(self.open,
                                                       reverse=True)
                if number not in kept]

    def since(self, generation, floor: int = 0) -> Optional[int]:
        """What may have changed since that generation, but for what all its
        targets have; None where nobody knows.

        :param floor: they have what is below
        """
        if generation == self.generation != NONE:
            return self._unsure(floor)
        _, bits = self.changed.get(generation, (0, None))
        return None if bits is None else bits | self.now

    def all_changes(self) -> dict:
        """Generation → (its floor, what may have changed since)."""
        found = {generation: (floor, bits | self.now)
                 for generation, (floor, bits) in self.changed.items()}
        if self.generation != NONE:
            found[self.generation] = self.floor, self.since(self.generation)
        return found

    def _unsure(self, floor: int = 0) -> int:
        """What not all targets of the generation may have."""
        bits = self.left
        for number, update in self.open.items():
            if number >= floor:
                bits |= store_changed.bits_of(update.offset, update.size)
        return bits

    def holds(self) -> tuple:
        """What is open, or may be, as bits, and one more than its greatest
        number."""
        bits, end = self.held, self.held_end
        if self.floor >= end:
            bits = end = 0
        for number, update in self.open.items():
            bits |= store_changed.bits_of(update.offset, update.size)
            end = max(end, number + 1)
        return bits, end

    def note(self, event, sequence: int) -> None:
        """It is about to happen (again): to be called before the file
        changes."""
        if isinstance(event, Update) and sequence > self.sequence:
            self.now |= store_changed.bits_of(event.offset, event.size)

    def inherit(self, changes: dict) -> None:
        """``changes``: as of ``all_changes``, of the strips that this one is
        made of."""
        self.changed = {generation: changes[generation]
                        for generation in sorted(changes)[-CHANGED_MAX:]}

    def forget_changes(self) -> None:
        """All may have changed."""
        self.changed = {}
        self.now = self.left = store_changed.ALL

    def _end_changes(self) -> None:
        """Another generation begins."""
        self.changed = {generation: (floor, bits | self.now) for
                        generation, (floor, bits) in self.changed.items()}
        if self.generation != NONE:
            self.changed[self.generation] = (
                self.floor, self._unsure() | self.holds()[0])
            while len(self.changed) > CHANGED_MAX:
                del self.changed[next(iter(self.changed))]
        self.now = self.left = self.held = self.held_end = 0

    def apply(self, event, sequence: int) -> None:
        """It happened (again, for what the journal repeats)."""
        is_news = sequence > self.sequence
        if is_news:
            self.sequence = sequence
        if isinstance(event, Update):
            if is_news and self.generation == NONE and not self.nexts:
                self.generation = event.generation
            self._open(event)
            self._undone.discard(event.number)
            if self._since is not None and event.number in self.open:
                self._since.add(event.number)
        elif isinstance(event, Repeat):
            number = event.update.number
            if number not in self._undone and (
                    self._since is None or number in self._since):
                self._open(event.update)
        elif isinstance(event, Align):
            for number in event.undone:
                update = self.open.pop(number, None)
                if is_news and update is not None:
                    self.left |= store_changed.bits_of(update.offset,
                                                       update.size)
            self._undone.update(event.undone)
            if is_news:
                if event.undone:
                    self._forget(self.nexts)
                    self.nexts = ()
                if event.generation != NONE:
                    self._prepare(event.generation)
        else:
            if is_news and event.generation != self.generation:
                self._end_changes()
            self.open.clear()
            self._undone.clear()
            self._since = set()
            if is_news:
                self.generation = event.generation
                self.nexts = ()
                self.floor = 0

    def _open(self, update) -> None:
        if update.number >= self.floor \
                or update.generation != self.generation:
            self.open.setdefault(update.number, update)

    def _prepare(self, generation) -> None:
        nexts = self.nexts + (generation,)
        self._forget(nexts[:-NEXTS_MAX])
        self.nexts = nexts[-NEXTS_MAX:]

    def _forget(self, generations) -> None:
        self.forgotten = max((self.forgotten,) + tuple(generations))

    def trim(self) -> None:
        """At the end of a replay: without what is known to be closed, or of
        before the last settlement."""
        self.open = {number: update for number, update in self.open.items()
                     if number >= self.floor
                     and update.generation == self.generation}


def _pack_number(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, 'little')


def _pack_bits(bits: int) -> bytes:
    return bits.to_bytes(store_changed.BITS_BYTES, 'little')


def _number_of(data) -> int:
    return int.from_bytes(data, 'little')


def _pack_generation(generation) -> bytes:
    epoch, count, is_birth = generation
    assert count < _BIRTH
    return _GENERATION.pack(epoch, count | (_BIRTH if is_birth else 0))


def _generation_of(data) -> tuple:
    epoch, count = _GENERATION.unpack(data)
    return epoch, count & ~_BIRTH, bool(count & _BIRTH)


def pack_event(event) -> bytes:
    return b''.join(pack_pieces(event))


def pack_pieces(event) -> tuple:
    """As ``pack_event``, in buffers one behind the other: what an update
    has replaced is long, and not copied."""
    kind = UPDATE
    if isinstance(event, Repeat):
        kind, event = REPEAT, event.update
    if isinstance(event, Update):
        head = _UPDATE.pack(
            kind, _pack_generation(event.generation),
            _pack_number(event.number), _pack_number(event.token),
            event.offset, event.size, event.old is None)
        return (head,) if event.old is None else (head, event.old)
    if isinstance(event, Align):
        numbers = sorted(event.undone)
        return (_ALIGN.pack(ALIGN, _pack_generation(event.generation),
                            len(numbers)), *map(_pack_number, numbers))
    return struct.pack('<B8s', SETTLE,
                       _pack_generation(event.generation)),


def unpack_event(data):
    """The event, or None where it is none."""
    data = bytes(data)
    kind = data[0] if data else 0
    if kind in (UPDATE, REPEAT) and len(data) >= _UPDATE.size:
        _, generation, number, token, offset, size, is_hole = \
            _UPDATE.unpack_from(data)
        old = None if is_hole else data[_UPDATE.size:]
        if len(data) == _UPDATE.size + (0 if is_hole else size):
            update = Update(_number_of(number), _generation_of(generation),
                            offset, size, old, _number_of(token))
            return update if kind == UPDATE else Repeat(update)
    elif kind == ALIGN and len(data) >= _ALIGN.size:
        _, generation, count = _ALIGN.unpack_from(data)
        rest = data[_ALIGN.size:]
        if len(rest) == count * _NUMBER_BYTES:
            return Align(_generation_of(generation), frozenset(
                _number_of(rest[start:start + _NUMBER_BYTES])
                for start in range(0, len(rest), _NUMBER_BYTES)))
    elif kind == SETTLE and len(data) == 1 + _GENERATION.size:
        return Settle(_generation_of(data[1:]))
    return None


def pack_open(histories: dict) -> bytes:
    """The open updates of strips (key → History), to be kept in a file."""
    pieces = []
    for key, history in sorted(histories.items()):
        for number in sorted(history.open):
            event = pack_event(history.open[number])
            pieces.append(_KEPT.pack(key.to_bytes(_NUMBER_BYTES, 'little'),
                                     len(event)) + event)
    data = b''.join(pieces)
    return _FILE.pack(_FILE_MAGIC, len(data), crc32c(data)) + data


def unpack_open(data) -> Optional[dict]:
    """Key → list of updates; None where any of it is damaged: of which
    strips some are missing, nobody can tell then."""
    if len(data) < _FILE.size:
        return None
    magic, size, crc = _FILE.unpack_from(data)
    start = _FILE.size
    if magic != _FILE_MAGIC or len(data) != start + size \
            or crc32c(data[start:]) != crc:
        return None
    found = {}
    while start < len(data):
        if start + _KEPT.size > len(data):
            return None
        key, size = _KEPT.unpack_from(data, start)
        start += _KEPT.size
        event = unpack_event(data[start:start + size])
        start += size
        if not isinstance(event, Update):
            return None
        found.setdefault(_number_of(key), []).append(event)
    return found


def pack_attribute(history: History) -> bytes:
    """All but what is open; always of one length, so that it needs no more
    space later, on a full disk."""
    nexts = b''.join(map(_pack_generation, history.nexts))
    changed = b''.join(
        _CHANGED.pack(_pack_generation(generation), _pack_number(floor),
                      _pack_bits(bits))
        for generation, (floor, bits) in history.changed.items())
    held, held_end = history.holds()
    data = b''.join((
        _ATTRIBUTE.pack(
            history.sequence, _pack_generation(history.generation),
            _pack_generation(history.forgotten), _pack_number(history.floor),
            len(history.nexts)),
        nexts.ljust(NEXTS_MAX * _GENERATION.size, b'\0'),
        _CHANGES.pack(_pack_bits(history.now), _pack_bits(history.left),
                      _pack_bits(held), _pack_number(held_end),
                      len(history.changed)),
        changed.ljust(CHANGED_MAX * _CHANGED.size, b'\0')))
    return data + _CRC.pack(crc32c(data))


def unpack_attribute(value) -> Optional[History]:
    """What the attribute says, or None where it is damaged."""
    if value is None or len(value) - _CRC.size not in (_NEXTS_END,
                                                       _CHANGED_END):
        return None
    data = value[:-_CRC.size]
    if _CRC.pack(crc32c(data)) != value[-_CRC.size:]:
        return None
    sequence, generation, forgotten, floor, count = \
        _ATTRIBUTE.unpack_from(data)
    if count > NEXTS_MAX:
        return None
    history = History()
    history.sequence = sequence
    history.generation = _generation_of(generation)
    history.forgotten = _generation_of(forgotten)
    history.floor = _number_of(floor)
    start = _ATTRIBUTE.size
    width = _GENERATION.size
    history.nexts = tuple(
        _generation_of(data[start + i * width:start + (i + 1) * width])
        for i in range(count))
    if len(data) == _NEXTS_END:
        # An earlier version has written it.
        history.forget_changes()
        return history
    now, left, held, held_end, count = _CHANGES.unpack_from(data, _NEXTS_END)
    if count > CHANGED_MAX:
        return None
    history.left = _number_of(left)
    history.now = _number_of(now)
    history.held = _number_of(held)
    history.held_end = _number_of(held_end)
    for i in range(count):
        generation, floor, bits = _CHANGED.unpack_from(
            data, _CHANGES_END + i * _CHANGED.size)
        history.changed[_generation_of(generation)] = (
            _number_of(floor), _number_of(bits))
    return history
