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

"""A guest with many writes under way, which goes from sheep to sheep. Each
write has a number, and leaves it in its block; now and then one is a discard,
of a whole object or of some blocks."""

import struct
import time

from sheepdog.client import nbd_client
from sheepdog.tests.moments import cut
from sheepdog.tests.moments import guest

BLOCK_BYTES = 4096
BLOCKS = 1024
STRIDE = 4
"""Blocks lie so far apart, in blocks: so that objects are small, but many."""
DEPTH = 12
PATIENCE_SECONDS = 30.0
FUA_SHARE = 0.2
FLUSH_SHARE = 0.05
DISCARD_SHARE = 0.02
DISCARDED_MAX = 40
_STAMP = struct.Struct('<QQ')


def content(number: int) -> bytes:
    return _STAMP.pack(number, ~number & 0xFFFFFFFFFFFFFFFF) * (
        BLOCK_BYTES // _STAMP.size)


def number_of(data: bytes) -> int:
    """0 of zeroes; -1: from no single write."""
    number = _STAMP.unpack_from(data)[0]
    if data == (content(number) if number else bytes(BLOCK_BYTES)):
        return number
    return -1


def offset_of(block: int) -> int:
    return block * STRIDE * BLOCK_BYTES


def choose_extent(chance, shift: int, blocks: int) -> tuple:
    """Something to discard: ``(blocks, (offset, length))``; an object of
    2^``shift`` bytes, or some blocks and of what lies around them a part."""
    if chance.random() < 0.5:
        count = (1 << shift) // offset_of(1)
        first = chance.randrange(blocks // count) * count
        return (range(first, first + count),
                (offset_of(first), offset_of(count)))
    count = chance.randrange(1, min(blocks, DISCARDED_MAX))
    first = chance.randrange(blocks - count)
    before, behind = (chance.randrange((STRIDE - 1) * BLOCK_BYTES)
                      for _ in range(2))
    start = max(0, offset_of(first) - before)
    end = offset_of(first + count - 1) + BLOCK_BYTES + behind
    return range(first, first + count), (start, end - start)


class Numbered(guest.Guest):

    kind = 'numbered'
    size = BLOCKS * STRIDE * BLOCK_BYTES
    shift = 20
    pause_seconds = 0.02
    """Between as many writes as are under way at once, on average."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.writes = cut.Writes()
        self.longest_wait = 0.0
        self._again = []

    def go(self):
        while not self.is_over:
            sheep = self.chance.choice(self.cluster.sheep)
            try:
                with nbd_client.NbdClient(sheep.nbd_address, self.name,
                                          PATIENCE_SECONDS) as client:
                    self._write_on(client)
            except (OSError, nbd_client.NbdRefused):
                time.sleep(guest.PAUSE_SECONDS)

    def _write_on(self, client):
        under_way = {}
        try:
            while not self.is_over:
                self._fill(client, under_way)
                self._take_reply(client, under_way)
                if self.chance.random() < FLUSH_SHARE:
                    self._drain(client, under_way)
                    client.flush()
                time.sleep(self.chance.expovariate(
                    1 / self.pause_seconds) / DEPTH)
            self._drain(client, under_way)
        finally:
            # Nobody knows what became of these: they are written over.
            self._again += [write.block for writes in under_way.values()
                            for write in writes]

    def _fill(self, client, under_way):
        busy = {write.block for writes in under_way.values()
                for write in writes}
        blocks = client.size // (STRIDE * BLOCK_BYTES)
        while len(under_way) < DEPTH:
            extent = None
            if self._again:
                chosen = range(self._again[-1], self._again.pop() + 1)
            elif self.chance.random() < DISCARD_SHARE:
                chosen, extent = choose_extent(self.chance, self.shift,
                                               blocks)
            else:
                block = self.chance.randrange(blocks)
                chosen = range(block, block + 1)
            if busy.isdisjoint(chosen):
                busy.update(chosen)
                self._start(client, under_way, chosen, extent)

    def _start(self, client, under_way, chosen, extent):
        """:param extent: (offset, length) to discard; None: a write"""
        now = time.monotonic()
        writes = [self.writes.issue(block, now, extent is not None)
                  for block in chosen]
        try:
            if extent is not None:
                cookie = client.start_trim(*extent)
            else:
                cookie = client.start_write(
                    offset_of(chosen[0]), content(writes[0].number),
                    self.chance.random() < FUA_SHARE)
        except BaseException:
            self._again += chosen
            raise
        under_way[cookie] = writes

    def _take_reply(self, client, under_way):
        reply = client.next_reply()
        writes = under_way[reply.cookie]
        if reply.error:
            raise nbd_client.NbdRefused('write', reply.error)
        del under_way[reply.cookie]
        now = time.monotonic()
        for write in writes:
            write.acknowledged = now
        self.longest_wait = max(self.longest_wait, now - writes[0].issued)
        self.done += 1

    def _drain(self, client, under_way):
        while under_way:
            self._take_reply(client, under_way)

    def look(self, uri_name, sheep):
        return {block // STRIDE: number_of(data) for block, data
                in self.read_blocks(uri_name, sheep, BLOCKS * STRIDE,
                                    BLOCK_BYTES) if not block % STRIDE}

    def judge(self, found, asked, answered):
        torn = [block for block, number in found.items() if number < 0]
        if torn:
            return 'blocks are from no single write: %s' % torn[:10]
        return self.writes.judge(found, asked, answered)
