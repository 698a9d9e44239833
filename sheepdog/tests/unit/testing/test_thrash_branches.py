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

"""That ``tests.thrash`` would notice what becomes of snapshots and clones: its
operator and judge before a cluster in memory, which is true, or lies."""

import contextlib
import pathlib
import random
import tempfile
import time
import unittest
from unittest import mock

from sheepdog.model import errors
from sheepdog.tests.functional import ordeal
from sheepdog.tests.moments import numbered
from sheepdog.tests.thrash import branches
from sheepdog.tests.thrash import family
from sheepdog.tests.thrash import record

STEPS = 150
REFUSED = 0.15


class Volume:
    def __init__(self, cluster, key):
        self._cluster = cluster
        self._blocks = cluster.vdis[key][1]
        self.size = cluster.vdis[key][0]

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        pass

    def read(self, offset, length):
        data = bytearray(length)
        for block, number in self._blocks.items():
            start = numbered.offset_of(block) - offset
            if number and 0 <= start < length:
                data[start:start + numbered.BLOCK_BYTES] = (
                    numbered.content(number))
        return data

    def write(self, offset, data, _fua):
        with self._cluster.doing():
            self._blocks[offset // numbered.offset_of(1)] = (
                numbered.number_of(data))

    def zero(self, offset, length):
        with self._cluster.doing():
            for block in list(self._blocks):
                if offset <= numbered.offset_of(block) < offset + length:
                    del self._blocks[block]


class Cluster:
    """Also its own client, and what that calls of VDIs. What is refused may
    have been done all the same."""

    sheep = ()

    def __init__(self, seed):
        self.vdis = {}
        self.calls = self
        self.is_calm = False
        self._chance = random.Random(seed)

    @contextlib.contextmanager
    def doing(self):
        lot = self._chance.random() + self.is_calm
        if lot < REFUSED / 2:
            raise errors.Unreachable('before')
        yield
        if lot < REFUSED:
            raise errors.Unreachable('behind')

    @contextlib.contextmanager
    def client(self, *_sheep, timeout=None):
        client = mock.Mock()
        client.vdis = self.calls
        client.open = self.open
        yield client

    def open(self, name, tag='', read_only=False):
        return Volume(self, (name, tag))

    def create(self, name, size, **_how):
        self.vdis[name, ''] = size, {}

    def list(self):
        return [{'name': name, 'tag': tag} for name, tag in self.vdis]

    def _copy(self, key, to):
        size, blocks = self.vdis[key]
        self.vdis[to] = size, dict(blocks)

    def snapshot(self, name, tag):
        self.snapshot_group([name], tag)

    def snapshot_group(self, names, tag):
        with self.doing():
            for name in names:
                self._copy((name, ''), (name, tag))

    def clone(self, source, tag, name, _shares_nothing):
        with self.doing():
            self._copy((source, tag), (name, ''))

    def rollback(self, name, tag):
        with self.doing():
            self._copy((name, tag), (name, ''))

    def delete(self, name, tag):
        with self.doing():
            del self.vdis[name, tag]

    def resize(self, name, size):
        with self.doing():
            self.vdis[name, ''] = size, self.vdis[name, ''][1]


class FamilyTest(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.chance = random.Random(1)
        self.cluster = Cluster(1)
        self.family = family.Family(
            self.cluster, record.Record(), pathlib.Path(directory.name),
            list, 1, 1)
        self.operator = self.family.operator
        sleep = mock.patch.object(branches.time, 'sleep')
        sleep.start()
        self.addCleanup(sleep.stop)

    def write(self, guest):
        size, blocks = self.cluster.vdis[guest.name, '']
        block = self.chance.randrange(size // numbered.offset_of(1))
        is_zero = self.chance.random() < 0.3
        write = guest.writes.issue(block, time.monotonic(), is_zero)
        blocks[block] = 0 if is_zero else write.number
        if self.chance.random() < 0.9:
            write.acknowledged = time.monotonic()

    def go_on(self, steps=STEPS):
        for _ in range(steps):
            for guest in self.family.guests:
                self.write(guest)
            with contextlib.suppress(errors.Unreachable):
                self.operator.session()

    def judge(self):
        self.cluster.is_calm = True
        return self.family.judge()

    def check_failure(self, text):
        with self.assertRaises(ordeal.Failure) as caught:
            self.judge()
        self.assertIn(text, str(caught.exception))

    def there(self, is_clone):
        return [made for made in self.operator.made
                if made.is_there and bool(made.tag) != is_clone]

    def test_what_is_true_is_well(self):
        self.go_on()
        self.assertIn('are as they were', self.judge())
        self.assertTrue(any(made.changed for made in self.operator.made))
        self.assertTrue(any(len(group) > 1
                            for group in self.operator.groups))
        self.assertTrue(all(guest.grown() > branches.SIZE_BYTES
                            for guest in self.family.guests))

    def test_a_snapshot_or_clone_with_another_block_is_found(self):
        for is_clone in (False, True):
            self.setUp()
            self.go_on()
            made = self.there(is_clone)[0]
            _, blocks = self.cluster.vdis[made.name, made.tag]
            blocks[7] = branches.CLONES_FROM - 1
            self.check_failure('block 7 ')

    def test_a_discard_or_write_in_a_clone_that_is_lost_is_found(self):
        for is_write in (False, True):
            self.setUp()
            self.go_on()
            made = self.there(True)[0]
            block = 0
            with mock.patch.object(self.operator.chance, 'random',
                                   return_value=1.0 if is_write else 0.0), (
                    mock.patch.object(self.operator.chance, 'randrange',
                                      return_value=block)):
                self.cluster.is_calm = True
                self.operator._change(self.cluster.open(made.name), made)
            self.cluster.vdis[made.name, made.tag][1][block] = 5
            self.check_failure('block %d of %s' % (block, made.name))

    def test_what_is_gone_or_came_back_is_found(self):
        self.go_on()
        made = self.there(False)[0]
        kept = self.cluster.vdis.pop((made.name, made.tag))
        self.check_failure('it is gone')
        self.cluster.vdis[made.name, made.tag] = kept
        deleted = next(made for made in self.operator.made
                       if made.is_there is False)
        self.cluster.vdis[deleted.name, deleted.tag] = kept
        self.check_failure('it is there')
        del self.cluster.vdis[deleted.name, deleted.tag]
        self.cluster.vdis['clone-999', ''] = kept
        self.check_failure('nobody has made it')

    def test_a_snapshot_of_no_moment_is_found(self):
        guest = self.family.guests[0]
        self.cluster.is_calm = True
        blocks = self.cluster.vdis[guest.name, ''][1]
        for block in (1, 2):
            write = guest.writes.issue(block, time.monotonic())
            write.acknowledged = time.monotonic()
            blocks[block] = write.number
        with self.cluster.client() as client:
            self.operator._snapshot(client, guest)
        made = self.operator.made[0]
        self.assertIn('as they were', self.judge())
        del self.cluster.vdis[made.name, made.tag][1][1]
        made.moment.found.clear()
        self.check_failure('lacks what was acknowledged before')

    def test_half_a_group_is_found(self):
        self.cluster.is_calm = True
        guests = self.family.guests
        moments = [branches.Moment(guest, time.monotonic())
                   for guest in guests]
        self.operator.groups.append(moments)
        self.operator.made += [branches.Made(guest.name, 's', moment)
                               for guest, moment in zip(guests, moments)]
        self.assertIn('as they were', self.judge())
        for made in self.operator.made:
            made.is_there = None
        self.cluster.snapshot(guests[1].name, 's')
        self.check_failure('not all of the group')

    def test_growth_that_is_lost_is_found(self):
        self.go_on()
        guest = self.family.guests[0]
        _, blocks = self.cluster.vdis[guest.name, '']
        self.cluster.vdis[guest.name, ''] = branches.SIZE_BYTES, blocks
        self.check_failure('block -1 ')
