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

"""A guest that is fio, which writes one block after the other and has each
tell of itself, behind QEMU's block layer.

fio's log says which block each write was to, and a block says the number of
its write, and when it was issued. So what a snapshot holds must be just the
first so many writes.
"""

import math
import struct
import time

from crc32c import crc32c

from sheepdog.tests.functional import harness
from sheepdog.tests.moments import cut
from sheepdog.tests.moments import guest

BLOCK_BYTES = 4096
BLOCKS = 1024
WRITES_PER_SECOND = 250
MOST_SECONDS = 6 * 3600
END_SECONDS = 120.0
SLACK_SECONDS = 0.1

_HEADER = struct.Struct('<HHIQQIIHHII')
"""Magic, kind of check, length, seed, offset, seconds, nanoseconds, thread,
number, crc of the header, crc of what follows. (fio/verify.h)"""
_MAGIC = 0xacca
_HEADER_CRC_AT = 36
_NUMBERS = 1 << 16
_ALL = 0xFFFFFFFF


def header_of(block: int, data: bytes):
    """(number modulo 65536, when it was issued); None of zeroes.

    :raises ValueError: that is no block that fio has written there
    """
    if not any(data):
        return None
    (magic, _kind, length, _seed, offset, seconds, nanoseconds, _thread,
     number, header_crc, crc) = _HEADER.unpack_from(data)
    if (magic, length, offset) != (_MAGIC, BLOCK_BYTES,
                                   block * BLOCK_BYTES) or (
            crc32c(data[:_HEADER_CRC_AT]) ^ _ALL != header_crc) or (
            crc32c(data[_HEADER.size:]) ^ _ALL != crc):
        raise ValueError('block %d: %s...' % (block, data[:48].hex()))
    return number, seconds + nanoseconds / 1e9


class Verified(guest.Guest):

    kind = 'verified'
    size = BLOCKS * BLOCK_BYTES
    shift = 20

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._log = self.directory / 'writes.log'
        self._bridge = None
        self._fio = None
        self._writes = None
        self._issued = []

    def prepare(self):
        self._bridge = guest.Bridge(self.chance.choice(self.cluster.sheep),
                                    self.name, self.directory)

    def go(self):
        self._fio = guest.spawn(
            self.directory / 'fio.out', 'fio', '--name=guest',
            '--ioengine=nbd',
            '--uri=%s' % self._bridge.uri, '--rw=randwrite',
            '--norandommap', '--bs=%d' % BLOCK_BYTES,
            '--size=%d' % self.size, '--iodepth=1', '--fsync=32',
            '--rate_iops=%d' % WRITES_PER_SECOND, '--time_based',
            '--runtime=%d' % MOST_SECONDS, '--verify=crc32c',
            '--do_verify=0', '--verify_state_save=0',
            '--clocksource=clock_gettime', '--randseed=%d'
            % self.chance.randrange(1 << 30), '--write_iolog=%s' % self._log)
        while not self.is_over:
            if self._fio.poll() is not None:
                raise AssertionError('fio has ended: %s' % harness.tail(
                    self.directory / 'fio.out'))
            # (What it logs comes in pieces.)
            self.done = self._log.stat().st_size if self._log.exists() else 0
            time.sleep(guest.PAUSE_SECONDS)
        self._fio.terminate()
        self._fio.wait(END_SECONDS)

    def end(self):
        super().end()
        if self._fio is not None:
            self._fio.kill()
            self._fio.wait()
        if self._bridge is not None:
            self._bridge.end()

    def look(self, uri_name, sheep):
        return {block: header_of(block, data) for block, data
                in self.read_blocks(uri_name, sheep, BLOCKS, BLOCK_BYTES)}

    def judge(self, found, asked, answered):
        if self._writes is None:
            self._read_log()
        numbers = {block: self._number(block, header)
                   for block, header in found.items()}
        wrong = self._writes.judge(numbers, -math.inf, cut.NEVER)
        last = max(numbers.values())
        if wrong or not last:
            return wrong
        moment = max(header[1] for header in found.values() if header)
        if moment > answered:
            return ('it was there at %.6f, and holds what was issued at %.6f'
                    % (answered, moment))
        # It has all writes up to the last one, so it lacks the next: that
        # was acknowledged when the one behind it was issued.
        if last + 1 < len(self._issued):
            until = moment + self._issued[last + 1] - self._issued[last - 1]
            if until + SLACK_SECONDS < asked:
                return ('it was asked for at %.6f, and lacks what was '
                        'acknowledged by %.6f: write %d' % (asked, until,
                                                            last + 1))
        return ''

    def _read_log(self):
        """One write is under way at a time: its place in the order is when
        it was issued, and acknowledged. (The log's times have ms.)"""
        self._writes = cut.Writes()
        for line in self._log.read_text().splitlines():
            words = line.split()
            if 'write' in words:
                place = self._writes.count
                self._writes.issue(int(words[-2]) // BLOCK_BYTES,
                                   place).acknowledged = place + 0.5
                self._issued.append(int(words[0]) / 1000)

    def _number(self, block, header):
        """Of the last write to that block with such a number; the log
        counts from 0."""
        if header is None:
            return 0
        for write in reversed(self._writes.of_block(block)):
            if (write.number - 1) % _NUMBERS == header[0]:
                return write.number
        return -1
