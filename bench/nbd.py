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

"""The NBD client of the benchmark: fixed newstyle, simple replies."""

import itertools
import os
import random
import struct

from bench import flood

_OPTION = struct.Struct('>8sII')
_OPTION_REPLY = struct.Struct('>QIII')
_REQUEST = struct.Struct('>IHHQQI')
_REPLY = struct.Struct('>IIQ')
_HAVE_OPTION = b'IHAVEOPT'
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_REQUEST_MAGIC = 0x25609513
_REPLY_MAGIC = 0x67446698
_OPT_GO = 7
_REP_ACK = 1
_REP_INFO = 3
_INFO_EXPORT = 0
_FIXED_NEWSTYLE_NO_ZEROES = 3
_CMD_READ, _CMD_WRITE, _CMD_DISC, _CMD_FLUSH = 0, 1, 2, 3
_FLAG_FUA = 1
_PATTERN_LENGTH = 8192


class NbdClient:
    """An export, opened over one connection."""

    def __init__(self, link):
        self.size = 0
        self.link = link

    @classmethod
    async def open(cls, host: str, port: int, name: str) -> 'NbdClient':
        """Connect and negotiate up to transmission.

        :raises BenchError: it did not work
        """
        self = cls(await flood.Link.open(host, port))
        try:
            await self._negotiate(name)
        except BaseException:
            self.link.close()
            raise
        return self

    async def _negotiate(self, name):
        greeting = await self.link.receive(18)
        if greeting[:16] != b'NBDMAGIC' + _HAVE_OPTION:
            raise flood.BenchError('no NBD server: %r' % greeting)
        export = name.encode()
        payload = struct.pack('>I', len(export)) + export + bytes(2)
        self.link.send(
            struct.pack('>I', _FIXED_NEWSTYLE_NO_ZEROES),
            _OPTION.pack(_HAVE_OPTION, _OPT_GO, len(payload)), payload)
        while True:
            magic, _, kind, length = _OPTION_REPLY.unpack(
                await self.link.receive(_OPTION_REPLY.size))
            data = await self.link.receive(length) if length else b''
            if magic != _OPTION_REPLY_MAGIC or kind & 1 << 31:
                raise flood.BenchError('the export %r is refused: 0x%x %r'
                                       % (name, kind, data))
            if kind == _REP_ACK:
                return
            if kind == _REP_INFO and data[:2] == _INFO_EXPORT.to_bytes(2):
                self.size = int.from_bytes(data[2:10])

    async def _call(self, command, offset=0, length=0, data=b''):
        self.link.send(_REQUEST.pack(_REQUEST_MAGIC, 0, command, 1, offset,
                                     length), data)
        magic, error, cookie = _REPLY.unpack(
            await self.link.receive(_REPLY.size))
        if (magic, error, cookie) != (_REPLY_MAGIC, 0, 1):
            raise flood.BenchError('error %d (magic %x, cookie %d)'
                                   % (error, magic, cookie))

    async def fill(self):
        """Write all of it, so that what follows is in place."""
        data = os.urandom(4 << 20)
        for offset in range(0, self.size, len(data)):
            length = min(len(data), self.size - offset)
            await self._call(_CMD_WRITE, offset, length, data[:length])
        await self.flush()

    async def flush(self):
        await self._call(_CMD_FLUSH)

    async def close(self):
        self.link.send(_REQUEST.pack(_REQUEST_MAGIC, 0, _CMD_DISC, 0, 0, 0))
        self.link.close()

    def flood(self, row, seed: int = 1) -> flood.Flood:
        """The load that ``row`` describes (see ``bench.rows``)."""
        count = self.size // row.size
        if row.is_random:
            chance = random.Random(seed)
            places = [chance.randrange(count) * row.size
                      for _ in range(_PATTERN_LENGTH)]
        else:
            places = range(0, count * row.size, row.size)
        places = itertools.cycle(places)
        size, pack = row.size, _REQUEST.pack
        if row.is_write:
            flags = _FLAG_FUA if row.is_durable else 0
            data = itertools.cycle([os.urandom(size) for _ in range(8)])

            def make(slot):
                return (pack(_REQUEST_MAGIC, flags, _CMD_WRITE, slot,
                             next(places), size), next(data))
        else:
            def make(slot):
                return (pack(_REQUEST_MAGIC, 0, _CMD_READ, slot,
                             next(places), size),)
        return flood.Flood(self.link, make,
                           parser(0 if row.is_write else size), row.depth)


def parser(expected: int):
    """``Flood``'s parse, for replies with ``expected`` bytes each."""
    unpack_from = _REPLY.unpack_from

    def parse(view, start, end, done):
        slot = 0
        while end - start >= 16:
            magic, error, slot = unpack_from(view, start)
            if magic != _REPLY_MAGIC or error:
                raise flood.BenchError('error %d (magic %x)' % (error, magic))
            start += 16 + expected
            if start > end:
                break
            done.append(slot)
        return start, slot

    return parse
