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

"""Makes a crowd of VDIs, measures, and removes it again."""

import concurrent.futures
import contextlib
import os
import pathlib
import random
import re
import resource
import statistics
import time

from sheepdog.tests.functional import harness

MIB = 1 << 20
SHIFT = 20
CHAIN_OBJECTS = 16
BLOCK = 4096
SIZES = {'1 GiB': 1 << 30, '10 TiB': 10 << 40}
ROUNDS = 15
AT_ONCE = 4
GONE_SECONDS = 600.0
LIST_SECONDS = 2.0
MEMORY_BYTES = 300 * 10**6
"""What an operator was promised."""


class Crowd:
    """
    :param tell: gets each line of the story
    """

    def __init__(self, cluster, seed, tell=print):
        self.cluster = cluster
        self.tell = tell
        self.chance = random.Random(seed)
        self.figures = {}
        self._before = data_files(cluster)
        self._chain = 0

    def note(self, name, value, unit):
        self.figures[name] = value
        self.tell('%-52s %9.3f %s' % (name, value, unit))

    @contextlib.contextmanager
    def timed(self, name, count=1):
        begin = time.monotonic()
        yield
        seconds = time.monotonic() - begin
        self.note(name, seconds / count * (1000 if count > 1 else 1),
                  'ms each' if count > 1 else 's')

    # -- what there is --------------------------------------------------

    def create(self, count):
        names = ['vdi-%05d' % number for number in range(count)]
        with self.timed('create a VDI', count):
            self._all(names, lambda client, name: client.vdis.create(
                name, 64 << 20))

    def grow_chain(self, length):
        """Each snapshot has one object that the one before has not."""
        self._chain = length
        times = []
        with self.cluster.client(timeout=120.0) as client:
            client.vdis.create('chain', CHAIN_OBJECTS * MIB,
                               block_size_shift=SHIFT)
            with client.open('chain') as volume:
                for number in range(1, length + 1):
                    volume.write(number % CHAIN_OBJECTS * MIB,
                                 number.to_bytes(8, 'big'), fua=True)
                    begin = time.monotonic()
                    client.vdis.snapshot('chain', 's%d' % number)
                    times.append(1000 * (time.monotonic() - begin))
        tenth = max(1, length // 10)
        self.note('snapshot in a chain, first tenth',
                  statistics.median(times[:tenth]), 'ms')
        self.note('snapshot in a chain, last tenth',
                  statistics.median(times[-tenth:]), 'ms')

    def clone(self, count):
        tag = 's%d' % (self._chain // 2 or 1)
        names = ['clone-%05d' % number for number in range(count)]
        with self.timed('clone one snapshot', count):
            self._all(names, lambda client, name: client.vdis.clone(
                'chain', tag, name))

    def _all(self, names, function):
        with self.cluster.client(timeout=120.0) as client:
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                for done in [pool.submit(function, client, name)
                             for name in names]:
                    done.result()

    # -- what it costs --------------------------------------------------

    def look(self):
        """Every snapshot of the chain has what was there then."""
        with self.cluster.client(timeout=120.0) as client:
            begin = time.monotonic()
            with client.open('chain', read_only=True) as volume:
                volume.read(0, BLOCK)
            self.note('open the end of the chain, and read',
                      1000 * (time.monotonic() - begin), 'ms')
            for number in self.chance.sample(
                    range(1, self._chain + 1), min(self._chain, 20)):
                with client.open('chain', tag='s%d' % number,
                                 read_only=True) as volume:
                    self._check(volume, number)

    @staticmethod
    def _check(volume, number):
        for index in range(CHAIN_OBJECTS):
            expected = number - (number - index) % CHAIN_OBJECTS
            found = int.from_bytes(volume.read(index * MIB, 8), 'big')
            if found != max(0, expected):
                raise AssertionError('snapshot %d, object %d: %d, not %d' % (
                    number, index, found, expected))

    def list(self):
        with self.cluster.client() as client:
            with self.timed('list all VDIs'):
                count = len(client.vdis.list())
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        with self.timed('dog vdi list'):
            lines = self.cluster.dog('vdi', 'list').stdout.count('\n')
        self.note('VDIs', count, '')
        if lines < count:
            raise AssertionError('%d VDIs, %d lines' % (count, lines))
        with self.timed('dog vdi tree'):
            drawn = self.cluster.dog('vdi', 'tree', 'chain').stdout
        if drawn.count('---[') != self._chain:
            raise AssertionError('no tree of %d snapshots: %.200s' % (
                self._chain, drawn))
        after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if after > before:
            self.note('memory of dog', after / 1000, 'MB')

    def branch(self, sizes=SIZES):
        """Snapshots and clones among all these."""
        for text, size in sizes.items():
            name = 'sized-%s' % text.replace(' ', '')
            with self.cluster.client() as client:
                client.vdis.create(name, size, block_size_shift=24)
                with client.open(name) as volume:
                    for offset in (0, size // 2, size - BLOCK):
                        volume.write(offset, b'data', fua=True)
                    self._measure('snapshot of %s, open' % text, lambda n: (
                        client.vdis.snapshot(name, 'open%d' % n)))
                self._measure('snapshot of %s, closed' % text, lambda n: (
                    client.vdis.snapshot(name, 'closed%d' % n)))
                self._measure('clone of %s' % text, lambda n: (
                    client.vdis.clone(name, 'open0', '%s-copy%d' % (name,
                                                                    n))))

    def _measure(self, what, function):
        times = []
        for number in range(ROUNDS):
            begin = time.monotonic()
            function(number)
            times.append(1000 * (time.monotonic() - begin))
        self.note(what, statistics.median(times), 'ms')

    def memory(self, when):
        """The most that any sheep has taken so far."""
        self.note('memory of a sheep at most, %s' % when, max(
            peak_bytes(sheep.process.pid)
            for sheep in self.cluster.running) / 1e6, 'MB')

    # -- and all of it goes ---------------------------------------------

    def remove(self):
        """Delete all, in any order."""
        with self.cluster.client() as client:
            listed = client.vdis.list()
        self.chance.shuffle(listed)
        with self.timed('delete one', len(listed)):
            self._all(listed, lambda client, vdi: client.vdis.delete(
                vdi['name'], vdi['tag'], vdi['snap_id']))
        with self.timed('until all space is back'):
            harness.wait_until(
                lambda: data_files(self.cluster) <= self._before,
                GONE_SECONDS, lambda: 'objects to go: %s' % sorted(
                    data_files(self.cluster) - self._before)[:10])

    def judge(self):
        """:raises AssertionError: more than was promised"""
        for name in ('list all VDIs', 'dog vdi list'):
            if self.figures[name] > LIST_SECONDS:
                raise AssertionError('%s took %.1f s' % (
                    name, self.figures[name]))
        for name, value in self.figures.items():
            if name.startswith('memory') and value * 1e6 > MEMORY_BYTES:
                raise AssertionError('%s: %d MB' % (name, value))


def data_files(cluster) -> set:
    """Files of objects that are not empty."""
    found = set()
    for sheep in cluster.sheep:
        with os.scandir(sheep.meta / 'obj') as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_blocks:
                        found.add((sheep.number, entry.name))
    return found


def peak_bytes(pid) -> int:
    """The most memory that a process has had."""
    status = pathlib.Path('/proc/%d/status' % pid).read_text()
    return int(re.search(r'VmHWM:\s*(\d+) kB', status)[1]) << 10
