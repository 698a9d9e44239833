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

"""Blocks of a copy, from the first of the other sheep who has them good."""

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.recovery import calls
from sheepdog.store import checksums
from sheepdog.wire import peer as wire

PIECE_BYTES = 256 << 10
"""What is moved at once; a client's read waits while one is dealt with."""


class Fetch:
    """Blocks of one object: ``pieces`` are ``(offset, data)``, ``lost`` the
    numbers of blocks that nobody can read.

    :param helpers: an iterable, which is not begun before one is needed
    """

    def __init__(self, mover, oid, epoch, sources, helpers, table):
        self.mover = mover
        self.oid = oid
        self.epoch = epoch
        self.sources = sources
        self.helpers = helpers
        self._asked = None
        self.table = table
        self.pieces = []
        self.lost = []

    async def fetch(self, offset, size):
        data = await self._read(offset, size)
        if data is not None:
            self.mover.moved_bytes += size
            self.pieces.append((offset, data))
        elif size > limits.BLOCK_BYTES:
            for start in range(offset, offset + size, limits.BLOCK_BYTES):
                await self.fetch(start, min(limits.BLOCK_BYTES,
                                            offset + size - start))
        else:
            self.lost.append(offset // limits.BLOCK_BYTES)

    async def _read(self, offset, size):
        """From the first who has it good; None when nobody has."""
        for member in self.sources:
            try:
                return await self._ask(member, offset, size)
            except errors.StorageError as exc:
                self.mover.complaints.note(
                    'object %s' % ids.hex_oid(self.oid),
                    '%s:%s, at %d: %s' % (*member.address, offset, exc))
        first = offset // limits.BLOCK_BYTES
        if self._asked is None:
            self._asked = list(self.helpers)
        for member in list(self._asked):
            try:
                data = await self._ask(member, offset, size)
            except errors.NoObject:
                self._asked.remove(member)
                continue
            except (errors.StorageError, errors.InvalidParameters,
                    errors.Unreachable):
                continue
            found = numpy.frombuffer(checksums.entries(data), dtype='u4')
            if (found == self.table[first:first + len(found)]).all():
                return data
        return None

    async def _ask(self, member, offset, size):
        _, _, data = await self.mover.links.data(member).call(
            wire.READ, epoch=self.epoch, oid=self.oid, offset=offset,
            aux=size, flags=wire.FLAG_RECOVERY, timeout=calls.CALL_SECONDS)
        if len(data) != size:
            raise errors.CorruptFrame('%d bytes instead of %d'
                                      % (len(data), size))
        return data


def runs(blocks, table):
    """``(first, count, is_zero)`` of runs of adjacent blocks, none longer
    than PIECE_BYTES, zero blocks apart from others."""
    longest = PIECE_BYTES // limits.BLOCK_BYTES
    first = None
    count = 0
    is_zero = False
    for block in blocks.tolist():
        zero = table[block] == 0
        if (first is not None and block == first + count and zero == is_zero
                and (zero or count < longest)):
            count += 1
            continue
        if first is not None:
            yield first, count, is_zero
        first, count, is_zero = block, 1, zero
    if first is not None:
        yield first, count, is_zero
