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


"""Writes, zeroes and trims of any size and place, and what may be read then.

Where ``writers`` counts the writes of whole blocks, this keeps for each
sector of 512 bytes the operations that it may be from: the last that was
acknowledged, and those after it that never were. A read settles it: what
was seen once must be seen again.
"""

import struct

from sheepdog.client import nbd_client
from sheepdog.tests.functional import writers

SECTOR_BYTES = 512
_STAMP = struct.Struct('<QQ')
_READ_BYTES = 1 << 20
_KEPT_MAX = 20
_MAGIC = 0x5EC708 << 40

DATA, ZEROES, TRIM = 'data', 'zeroes', 'trim'


class Operation:
    """``number`` counts from 1; 0 is the emptiness of the beginning."""

    __slots__ = ('number', 'kind', 'first', 'count')

    def __init__(self, number, kind, first, count):
        self.number = number
        self.kind = kind
        self.first = first
        self.count = count

    def content(self):
        return b''.join(
            _STAMP.pack(_MAGIC | self.number, sector) * (
                SECTOR_BYTES // _STAMP.size)
            for sector in range(self.first, self.first + self.count))


class Sectors:
    """What each sector may hold: numbers of operations."""

    def __init__(self, count):
        self.count = count
        self.issued = 0
        self.acknowledged = 0
        self._allowed = [frozenset((0,))] * count
        self._empty = {0}

    def issue(self, kind, first, count) -> Operation:
        self.issued += 1
        if kind != DATA:
            self._empty.add(self.issued)
        return Operation(self.issued, kind, first, count)

    def acknowledge(self, operation):
        self.acknowledged += 1
        if operation.kind == TRIM:
            # It may be done, or left, or done in part.
            self.fail(operation)
            return
        only = frozenset((operation.number,))
        for sector in range(operation.first,
                            operation.first + operation.count):
            self._allowed[sector] = only

    def fail(self, operation):
        """It was not acknowledged: done, or not, or in part."""
        also = frozenset((operation.number,))
        for sector in range(operation.first,
                            operation.first + operation.count):
            self._allowed[sector] |= also

    def look(self, first, data):
        """Settle what these sectors hold.

        :raises Loss: one of them is none of what it may be
        """
        wrong = []
        for index in range(len(data) // SECTOR_BYTES):
            sector = first + index
            found = data[index * SECTOR_BYTES:(index + 1) * SECTOR_BYTES]
            allowed = self._allowed[sector]
            if not any(found):
                possible = allowed & self._empty
            else:
                number, named = _STAMP.unpack_from(found)
                possible = allowed & {number & ~_MAGIC}
                if named != sector or found != found[:_STAMP.size] * (
                        SECTOR_BYTES // _STAMP.size):
                    possible = ()
            if possible:
                self._allowed[sector] = frozenset(possible)
            else:
                wrong.append('sector %d may be of %s, but is %s...' % (
                    sector, sorted(allowed), found[:16].hex()))
        if wrong:
            raise writers.Loss('%d sectors are wrong:\n%s' % (
                len(wrong), '\n'.join(wrong[:_KEPT_MAX])))

    def check(self, read, _promised=None):
        """As ``writers.Ledger.check``."""
        for start in range(0, self.count * SECTOR_BYTES, _READ_BYTES):
            size = min(_READ_BYTES, self.count * SECTOR_BYTES - start)
            self.look(start // SECTOR_BYTES, bytes(read(start, size)))


class RangeWriter(writers.NbdWriter):
    """Over NBD, write-back, flushing now and then.

    :param sectors: the size of the VDI
    """

    DEPTH = 4
    LARGEST = 600

    def __init__(self, number, addresses, name, sectors=16384, seed=1):
        super().__init__(number, addresses, name, seed=seed)
        self.sectors = Sectors(sectors)

    @property
    def done(self):
        return self.sectors.acknowledged

    @property
    def record(self):
        return self.sectors

    def _plan(self):
        """Some operations that do not touch each other."""
        planned, chance = [], self.chance
        while len(planned) < self.DEPTH:
            count = chance.choice((1, 3, 8, 8, 8, 64, 160,
                                   chance.randrange(1, self.LARGEST)))
            first = chance.randrange(self.sectors.count - count)
            if chance.random() < 0.5:
                first &= ~7
            if all(first + count <= other[1] or other[1] + other[2] <= first
                   for other in planned):
                kind = chance.choices((DATA, ZEROES, TRIM), (8, 1, 1))[0]
                planned.append((kind, first, count))
        return planned

    def _write_on(self, client, again, under_way):
        turn = 0
        while not self.is_stopping:
            planned = [(DATA, old.first, old.count) for old in again] or (
                self._plan())
            again = []
            for kind, first, count in planned:
                operation = self.sectors.issue(kind, first, count)
                under_way[self._send(client, operation)] = operation
            while under_way:
                reply = client.next_reply()
                if reply.error:
                    raise nbd_client.NbdRefused('write', reply.error)
                self.sectors.acknowledge(under_way.pop(reply.cookie))
            turn += 1
            if turn % self.FLUSH_EVERY == 0:
                client.flush()
            kind, first, count = planned[0]
            data = client.read(first * SECTOR_BYTES, count * SECTOR_BYTES)
            try:
                self.sectors.look(first, data)
            except writers.Loss as exc:
                self.losses.append('while writing: %s' % exc)

    def _send(self, client, operation):
        offset = operation.first * SECTOR_BYTES
        if operation.kind == DATA:
            return client.start_write(offset, operation.content(),
                                      self.chance.random() < 0.2)
        length = operation.count * SECTOR_BYTES
        if operation.kind == ZEROES:
            return client.start_zeroes(offset, length)
        return client.start_trim(offset, length)

    def _give_up(self, under_way):
        for operation in under_way.values():
            self.sectors.fail(operation)
        return list(under_way.values())
