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

"""Checkers: do operations on registers fit one order, and does it last?

A register is one block of a volume. Each write has a value of its own (but
zero, which any number of writes may make). ``first_violation`` asks whether
the operations of one register are linearizable: each seems to happen at one
moment between its begin and its end, and a read returns the last write
before it.

For distinct values this is decided in O(n log n) by the zones of Gibbons
and Korach ("Testing Shared Memories", 1997): all operations of one value
form a zone; from its earliest end to its latest begin (if the former is
earlier: a *forward* zone) the register must have held that value; a
*backward* zone only needs a moment somewhere in it. Two forward zones must
not overlap, and no backward zone may lie within a forward one.

Moments are the numbers of a counter, so no two are the same.
"""

import collections
import dataclasses
from typing import Iterable, Optional

NEVER = float('inf')
BEFORE_ALL = float('-inf')

WRITE = 'write'
READ = 'read'

ZERO = 0
"""The value that several writes may make (a discard, a fresh block)."""

TORN = -1
"""What a read returns that saw parts of several writes."""


@dataclasses.dataclass
class Operation:
    """``end`` is NEVER while the outcome is not known: a write may then
    take effect at any later moment, or not at all; but not after
    ``expires``. ``durable`` is the moment at which a write was known to
    survive a loss of power. ``lock``: the number of the exclusive lock that
    it was asked for under, 0 for none: a write that was asked for under an
    earlier one does not take effect after an answer to what was asked for
    under a later one."""

    kind: str
    value: int
    begin: float
    end: float = NEVER
    durable: float = NEVER
    who: str = ''
    lock: int = 0
    expires: float = NEVER

    def __str__(self):
        return '%s %d by %s from %s to %s%s' % (
            self.kind, self.value, self.who or '?', self.begin, self.end,
            '' if self.durable == NEVER else ', durable %s' % self.durable)


@dataclasses.dataclass
class Violation:
    what: str
    operations: tuple

    def __str__(self):
        return '%s:\n%s' % (self.what, '\n'.join(
            '    %s' % operation for operation in self.operations))


def expire(operations: Iterable[Operation]) -> None:
    """Set ``expires`` of all that were asked for under a lock. The others'
    stays."""
    moment, above = NEVER, NEVER
    lock = None
    for operation in sorted(operations, key=lambda o: -o.lock):
        if not operation.lock:
            break
        if operation.lock != lock:
            lock, moment = operation.lock, above
        operation.expires = moment
        above = min(above, operation.end)


class _Zone:
    """What the operations of one value say."""

    def __init__(self, write: Operation, reads: list):
        self.operations = [write] + reads
        self.first_end = min(self.operations, key=lambda o: o.end)
        self.last_begin = max(self.operations, key=lambda o: o.begin)
        self.is_forward = self.first_end.end < self.last_begin.begin
        self.low = min(self.first_end.end, self.last_begin.begin)
        self.high = max(self.first_end.end, self.last_begin.begin)

    def witnesses(self) -> list:
        write = self.operations[0]
        return [write] + [operation for operation in
                          (self.first_end, self.last_begin)
                          if operation is not write]


def first_violation(operations: Iterable[Operation],
                    initial: int = ZERO) -> Optional[Violation]:
    """Why the operations of one register have no order, or None.

    Reads without an end are ignored.
    """
    operations = [_in_time(operation) for operation in operations
                  if operation.kind == WRITE or operation.end != NEVER]
    writes = [operation for operation in operations
              if operation.kind == WRITE]
    for write in writes:
        if write.expires < write.begin and write.end != NEVER:
            return Violation('a write under a lock that was lost', (write,))
    values = collections.Counter(write.value for write in writes)
    values[initial] += 1
    reads = collections.defaultdict(list)
    for operation in operations:
        if operation.kind == READ:
            if operation.value not in values:
                return Violation('a value that was never written',
                                 (operation,))
            reads[operation.value].append(operation)
    if any(count > 1 for count in values.values()):
        return _search(operations, initial)
    return _compare_zones(writes, reads, initial)


def _in_time(operation: Operation) -> Operation:
    """A write that was answered after its lock was another one's, was done
    before. (A read may see what is there also without one.)"""
    if (operation.kind == WRITE and
            operation.expires < operation.end < NEVER):
        return dataclasses.replace(operation, end=operation.expires)
    return operation


def _compare_zones(writes, reads, initial) -> Optional[Violation]:
    first = Operation(WRITE, initial, BEFORE_ALL, BEFORE_ALL, who='before')
    zones = []
    for write in [first] + writes:
        for read in reads[write.value]:
            if read.end < write.begin:
                return Violation('read before it was written',
                                 (write, read))
        if write.end == NEVER:
            if not reads[write.value]:
                continue  # as if it had never been
            if write.expires < write.begin:
                return Violation('what a lock that was lost let in',
                                 (write, reads[write.value][0]))
            write = dataclasses.replace(write, end=write.expires)
        zones.append(_Zone(write, reads[write.value]))
    zones.sort(key=lambda zone: zone.low)
    latest = None
    for zone in zones:
        if latest is not None and zone.low < latest.high and (
                zone.is_forward or zone.high < latest.high):
            return Violation(
                'a read went back in time, or missed a write',
                tuple(latest.witnesses() + zone.witnesses()))
        if zone.is_forward and (latest is None or
                                zone.high > latest.high):
            latest = zone
    return None


def _search(operations, initial) -> Optional[Violation]:
    """Try orders, one operation after the other (Wing and Gong), never the
    same set with the same value twice (Lowe).

    Two things keep it short. A read that fits is taken at once: it changes
    nothing. A write without an end is of use only directly before a read of
    its value, so it is taken only then, the first to expire first.
    """
    ended = sorted((operation for operation in operations
                    if operation.end != NEVER), key=lambda o: o.begin)
    open_writes = collections.defaultdict(list)
    for operation in sorted(operations, key=lambda o: (o.expires, o.begin)):
        if operation.end == NEVER:
            open_writes[operation.value].append(operation)
    numbers = {value: number for number, value in enumerate(open_writes)}
    everything = (1 << len(ended)) - 1
    seen = set()
    stack = [(0, (0,) * len(numbers), initial)]
    # For each value, which of its writes are used, bit by bit.
    most_done, stuck_at = -1, ()
    while stack:
        state = stack.pop()
        if state in seen:
            continue
        seen.add(state)
        done, used, value = state
        if done == everything:
            return None
        candidates, limit = _candidates(ended, done)
        if done.bit_count() > most_done:
            most_done = done.bit_count()
            stuck_at = tuple(ended[i] for i in candidates)
        for i in candidates:
            if ended[i].kind == READ and ended[i].value == value:
                stack.append((done | 1 << i, used, value))
                break
        else:
            for i in candidates:
                operation = ended[i]
                if operation.kind == WRITE:
                    stack.append((done | 1 << i, used, operation.value))
                    continue
                number = numbers.get(operation.value)
                if number is None:
                    continue
                bit = _usable(open_writes[operation.value], used[number],
                              ended[done.bit_length() - 1].begin
                              if done else BEFORE_ALL, limit)
                if bit:
                    stack.append((
                        done | 1 << i,
                        used[:number] + (used[number] | bit,) +
                        used[number + 1:], operation.value))
    return Violation('no order fits these and what came before', stuck_at)


def _usable(writes: list, used: int, low: float, limit: float) -> int:
    """The bit of a write that may take effect between two moments; 0 if
    there is none."""
    for number, write in enumerate(writes):
        if (not used >> number & 1 and write.begin < limit and
                write.expires > max(low, write.begin)):
            return 1 << number
    return 0


def _candidates(ended: list, done: int) -> tuple:
    """Which may come next: those that begin before all others that are
    left end. Their indexes, and the earliest end."""
    limit = NEVER
    candidates = []
    for i in range((~done & (done + 1)).bit_length() - 1, len(ended)):
        if done >> i & 1:
            continue
        operation = ended[i]
        if operation.begin > limit:
            break
        limit = min(limit, operation.end)
        candidates.append(i)
    return [i for i in candidates if ended[i].begin <= limit], limit


class Agreement:
    """One thing said about each key, by whoever says it: the member list of
    each epoch, the one winner of each term."""

    def __init__(self, what: str):
        self._what = what
        self._said = {}
        self.violations = []

    def say(self, who: str, key, value) -> None:
        first_who, first = self._said.setdefault(key, (who, value))
        if first != value:
            self.violations.append(
                '%s %s is %r to %s, but %r to %s' % (
                    self._what, key, first, first_who, value, who))

    def get(self, key):
        return self._said[key][1]

    def __len__(self):
        return len(self._said)
