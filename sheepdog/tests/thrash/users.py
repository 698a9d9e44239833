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

"""Users of volumes: each a thread that does one thing after the other.

What goes wrong for them is noted, and they try again elsewhere; that a
cluster in trouble refuses them is no loss.
"""

import random
import threading
import time

from sheepdog.client import nbd_client
from sheepdog.model import errors

PAUSE_SECONDS = 0.2
THINK_SECONDS = 0.004
CALL_SECONDS = 20.0
JOIN_SECONDS = 180.0
ZERO_SHARE = 0.03
FUA_SHARE = 0.3
FLUSH_SHARE = 0.05
READ_SHARE = 0.4
SESSION_OPERATIONS = 40
REFUSALS = (errors.SheepdogError, nbd_client.NbdRefused, OSError)


class User:
    """One thread; ``done`` counts what it was answered."""

    def __init__(self, name, cluster, record, disk, seed):
        self.name = name
        self.cluster = cluster
        self.record = record
        self.disk = disk
        self.chance = random.Random(seed)
        self.done = 0
        self.crash = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name=name)

    def start(self):
        self._thread.start()
        return self

    def tell_to_stop(self):
        self._is_over.set()

    def join(self):
        """:raises AssertionError: it hangs; what it crashed with"""
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            raise AssertionError('%s hangs' % self.name)
        if self.crash is not None:
            raise self.crash

    def _run(self):
        try:
            while not self._is_over.is_set():
                try:
                    self.session()
                except REFUSALS as exc:
                    self.record.note(exc)
                    time.sleep(PAUSE_SECONDS)
        except BaseException as exc:
            self.crash = exc

    def session(self):
        raise NotImplementedError

    def goes_on(self) -> bool:
        time.sleep(self.chance.expovariate(1 / THINK_SECONDS))
        return not self._is_over.is_set()

    def block(self) -> int:
        return self.chance.randrange(self.disk.count)

    def length(self) -> range:
        return range(self.chance.randrange(1, SESSION_OPERATIONS))

    def work(self, volume, lock):
        """Use an open volume of the client library."""
        for _ in self.length():
            if not self.goes_on():
                return
            block, lot = self.block(), self.chance.random()
            if lot < READ_SHARE:
                self.record.read(self.name, self.disk, block, volume.read,
                                 lock)
            elif lot < READ_SHARE + FLUSH_SHARE:
                volume.flush()
            else:
                self._write(volume, block, lock)
            self.done += 1

    def _write(self, volume, block, lock):
        is_zero = self.chance.random() < ZERO_SHARE
        is_durable = self.chance.random() < FUA_SHARE
        data, write = self.record.begin_write(
            self.name, self.disk, block, lock, is_zero)
        if is_zero:
            volume.zero(self.disk.offset(block), len(data), is_durable)
        else:
            volume.write(self.disk.offset(block), data, is_durable)
        self.record.end_write(write)


class NbdVolume:
    """An export over one connection, as the client library's volumes; it
    ends with its connection."""

    TIMEOUT_SECONDS = 10.0

    def __init__(self, sheep, name):
        self.client = nbd_client.NbdClient(sheep.nbd_address, name,
                                           self.TIMEOUT_SECONDS)
        self.read = self.client.read
        self.write = self.client.write
        self.flush = self.client.flush

    def zero(self, offset, length, _is_durable):
        self.client.finish([self.client.start_zeroes(offset, length)])

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.client.close()


class Owner(User):
    """Opens the volume through one of its own sheep, as no other user of it
    does; so each change of the sheep is a change of the lock."""

    def __init__(self, *arguments, sheep, turns):
        super().__init__(*arguments)
        self._sheep = sheep
        self._turns = turns

    def session(self):
        sheep = self.chance.choice(self._sheep)
        with NbdVolume(sheep, self.disk.name) as volume:
            self.work(volume, self._turns.number(sheep))


class Turns:
    """Numbers the exclusive locks of a disk: who opens it through the sheep
    that had it open last may share that one's."""

    def __init__(self, record):
        self._record = record
        self._lock = threading.Lock()
        self._last = None
        self._number = 0

    def number(self, sheep) -> int:
        with self._lock:
            if sheep is not self._last:
                self._last, self._number = sheep, self._record.opened()
            return self._number


class Nomad(User):
    """The only one to write; its client goes to another sheep by itself."""

    def session(self):
        sheep = list(self.cluster.sheep)
        self.chance.shuffle(sheep)
        with self.cluster.client(*sheep, timeout=CALL_SECONDS) as client:
            with client.open(self.disk.name) as volume:
                self.work(volume, 0)


class Reader(User):
    """Reads through any sheep, whoever writes."""

    def session(self):
        sheep = self.chance.choice(self.cluster.sheep)
        with self.cluster.client(sheep, timeout=CALL_SECONDS) as client:
            with client.open(self.disk.name, read_only=True) as volume:
                for _ in self.length():
                    if not self.goes_on():
                        return
                    self.record.read(self.name, self.disk, self.block(),
                                     volume.read)
                    self.done += 1


class Hasty(User):
    """Several writes under way at once, through any sheep."""

    DEPTH = 6

    def session(self):
        sheep = self.chance.choice(self.cluster.sheep)
        with NbdVolume(sheep, self.disk.name) as volume:
            for _ in self.length():
                if not self.goes_on():
                    return
                self._turn(volume.client)

    def _turn(self, client):
        blocks = self.chance.sample(range(self.disk.count), self.DEPTH)
        under_way = {}
        for block in blocks:
            data, write = self.record.begin_write(self.name, self.disk,
                                                  block)
            under_way[client.start_write(
                self.disk.offset(block), data,
                self.chance.random() < FUA_SHARE)] = write
        failure = None
        while under_way:
            reply = client.next_reply()
            write = under_way.pop(reply.cookie)
            if reply.error:
                # (The outcome stays open.)
                failure = nbd_client.NbdRefused('write', reply.error)
                continue
            self.record.end_write(write)
            self.done += 1
        if failure:
            raise failure
        if self.chance.random() < 0.3:
            client.flush()
        self.record.read(self.name, self.disk, blocks[0], client.read)
