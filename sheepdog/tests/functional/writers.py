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


"""Writers that remember what was acknowledged, and the check of it.

Every write is of one block of 4 KiB, filled with its number and with how
often that block was written before. So one look at a block tells which
write it is from, and whether it is from one write at all.
"""

import collections
import random
import struct
import threading
import time

from sheepdog.client import nbd_client
from sheepdog.model import errors

BLOCK_BYTES = 4096
_STAMP = struct.Struct('<8sIIQQ')
_MAGIC = b'ACKWRITE'
_READ_BYTES = 1 << 20
_KEPT_MAX = 20


class Loss(AssertionError):
    """Something that was acknowledged is not there."""


class Ledger:
    """What was issued and what was acknowledged, block by block.

    Numbers count the writes of one block, from 1. ``durable`` are those
    acknowledged as such, or followed by a flush that was.
    """

    def __init__(self, number, blocks):
        self.number = number
        self.blocks = blocks
        self.issued = collections.Counter()
        self.acknowledged = collections.Counter()
        self.durable = collections.Counter()
        self.count = 0
        self.last = time.monotonic()
        self.longest_gap = 0.0

    def issue(self, block) -> bytes:
        """The data of the next write of ``block``."""
        self.issued[block] += 1
        return self.content(block, self.issued[block])

    def content(self, block, write) -> bytes:
        stamp = _STAMP.pack(_MAGIC, self.number, block, write, ~write
                            & 0xFFFFFFFFFFFFFFFF)
        return stamp * (BLOCK_BYTES // _STAMP.size)

    def acknowledge(self, block, write, is_durable):
        self.count += 1
        now = time.monotonic()
        self.longest_gap = max(self.longest_gap, now - self.last)
        self.last = now
        self.acknowledged[block] = max(self.acknowledged[block], write)
        if is_durable:
            self.durable[block] = max(self.durable[block], write)

    def flushed(self, before):
        """A flush was acknowledged; ``before``: a copy of ``acknowledged``
        from before it was asked for."""
        for block, write in before.items():
            self.durable[block] = max(self.durable[block], write)

    def check_block(self, block, data, promised):
        """:raises Loss: neither what was promised nor anything newer"""
        low, high = promised[block], self.issued[block]
        if not any(data):
            write = 0
        else:
            magic, number, named, write, _check = _STAMP.unpack_from(data)
            if (magic, number, named) != (_MAGIC, self.number, block) or (
                    data != self.content(block, write)):
                raise Loss('block %d is no write of ours, or parts of '
                           'several: %s...' % (block, data[:64].hex()))
        if not low <= write <= high:
            raise Loss('block %d has write %d; %d was acknowledged, %d '
                       'issued' % (block, write, low, high))

    def check(self, read, promised=None):
        """Read everything, and compare; somebody may write meanwhile.

        :param read: a function of offset and length
        :param promised: ``acknowledged`` (unless given) or ``durable``
        :raises Loss:
        """
        promised = self.acknowledged if promised is None else promised
        lost = []
        step = _READ_BYTES // BLOCK_BYTES
        for first in range(0, self.blocks, step):
            count = min(step, self.blocks - first)
            # (What is acknowledged while it is read need not be in it.)
            before = collections.Counter(dict(promised))
            data = bytes(read(first * BLOCK_BYTES, count * BLOCK_BYTES))
            for index in range(count):
                start = index * BLOCK_BYTES
                try:
                    self.check_block(first + index,
                                     data[start:start + BLOCK_BYTES],
                                     before)
                except Loss as exc:
                    lost.append(str(exc))
        if lost:
            raise Loss('%d of %d blocks are wrong (%d writes were '
                       'acknowledged):\n%s' % (
                           len(lost), len(promised), self.count,
                           '\n'.join(lost[:_KEPT_MAX])))


class Writer:
    """Writes from a thread of its own until it is told to stop.

    ``troubles`` are the errors that it saw, each as text; they are no
    losses, and whether any may be is the test's to say. ``losses`` are.
    """

    def __init__(self, number, blocks, seed=1):
        self.ledger = Ledger(number, blocks)
        self.troubles = []
        self.losses = []
        self.chance = random.Random(seed)
        self._crash = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def done(self) -> int:
        """How many writes were acknowledged."""
        return self.ledger.count

    @property
    def record(self):
        """What to check: it has ``check(read, promised)``."""
        return self.ledger

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping.is_set()

    def start(self):
        self.ledger.last = time.monotonic()
        self._thread.start()
        return self

    def wait_for(self, count, seconds=180.0):
        """Until so many more writes have been acknowledged."""
        wanted = self.done + count
        deadline = time.monotonic() + seconds
        while self.done < wanted:
            if self._crash is not None:
                raise self._crash
            if time.monotonic() > deadline:
                raise AssertionError(
                    '%d of %d writes acknowledged in %d s; troubles: %s' % (
                        count - wanted + self.done, count, seconds,
                        self.troubles[-5:]))
            time.sleep(0.01)

    def stop(self, seconds=180.0):
        """:raises AssertionError: something read was wrong, meanwhile"""
        self._is_stopping.set()
        self._thread.join(seconds)
        if self._crash is not None:
            raise self._crash
        if self._thread.is_alive():
            raise AssertionError('the writer hangs')
        if self.losses:
            raise Loss('\n'.join(self.losses[:_KEPT_MAX]))

    def abandon(self):
        """At a test's end, whatever it does."""
        self._is_stopping.set()

    def _run(self):
        try:
            self.go()
        except BaseException as exc:
            self._crash = exc

    def pick(self, count) -> list:
        return self.chance.sample(range(self.ledger.blocks), count)


class NbdWriter(Writer):
    """Over NBD: write-back and a flush now and then, or FUA.

    When the connection is lost or refused it goes to the next address.
    The writes that were under way then are overtaken by newer ones to the
    same blocks: the elder must not come after them.
    """

    DEPTH = 8
    FLUSH_EVERY = 10
    patience_seconds = 30.0
    """With one request; then it goes to the next address."""

    def __init__(self, number, addresses, name, blocks=2048, fua=False,
                 seed=1):
        super().__init__(number, blocks, seed)
        self.addresses = collections.deque(addresses)
        self.name = name
        self.fua = fua

    def go(self):
        again = []
        while not self.is_stopping:
            try:
                client = nbd_client.NbdClient(self.addresses[0], self.name,
                                              self.patience_seconds)
            except (OSError, nbd_client.NbdRefused) as exc:
                self._note(exc)
                continue
            under_way = {}
            try:
                with client:
                    self._write_on(client, again, under_way)
            except (OSError, nbd_client.NbdRefused) as exc:
                self._note(exc)
            again = self._give_up(under_way)

    def _give_up(self, under_way):
        """They were not acknowledged; what to write again."""
        return [block for block, _write in under_way.values()]

    def _note(self, exc):
        self.troubles.append('%s: %r' % (self.addresses[0], exc))
        self.addresses.rotate(-1)
        time.sleep(0.1)

    def _write_on(self, client, again, under_way):
        turn = 0
        while not self.is_stopping:
            blocks, again = again or self.pick(self.DEPTH), []
            for block in blocks:
                data = self.ledger.issue(block)
                cookie = client.start_write(block * BLOCK_BYTES, data,
                                            self.fua)
                under_way[cookie] = block, self.ledger.issued[block]
            while under_way:
                reply = client.next_reply()
                if reply.error:
                    raise nbd_client.NbdRefused('write', reply.error)
                block, write = under_way.pop(reply.cookie)
                self.ledger.acknowledge(block, write, self.fua)
            turn += 1
            if not self.fua and turn % self.FLUSH_EVERY == 0:
                before = self.ledger.acknowledged.copy()
                client.flush()
                self.ledger.flushed(before)
            self._look(client, blocks[0])

    def _look(self, client, block):
        """What was acknowledged can be read at once."""
        data = client.read(block * BLOCK_BYTES, BLOCK_BYTES)
        try:
            self.ledger.check_block(block, data, self.ledger.acknowledged)
        except Loss as exc:
            self.losses.append('while writing: %s' % exc)


class LibraryWriter(Writer):
    """Through the client library, which goes to another sheep by itself:
    so it should see no troubles."""

    def __init__(self, number, client, name, blocks=2048, fua=True, seed=1):
        super().__init__(number, blocks, seed)
        self.client = client
        self.name = name
        self.fua = fua

    def go(self):
        with self.client.open(self.name) as volume:
            while not self.is_stopping:
                block, = self.pick(1)
                data = self.ledger.issue(block)
                write = self.ledger.issued[block]
                try:
                    volume.write(block * BLOCK_BYTES, data, self.fua)
                except errors.SheepdogError as exc:
                    self.troubles.append(repr(exc))
                    continue
                self.ledger.acknowledge(block, write, self.fua)


def check_everywhere(cluster, records):
    """What each running sheep answers against what was acknowledged.

    :param records: of the writers, by the VDI's name
    """
    for sheep in cluster.running:
        with sheep.client() as client:
            for name, record in records.items():
                with client.open(name, read_only=True) as volume:
                    try:
                        record.check(volume.read)
                    except Loss as exc:
                        raise Loss('%s through %r: %s' % (
                            name, sheep, exc)) from None
