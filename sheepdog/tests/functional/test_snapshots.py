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


"""Snapshots of a VDI that is written, on real sheep."""

import json
import os
import threading

from sheepdog.client import nbd_client
from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import images
from sheepdog.tests.scale import crowd
from sheepdog.wire import nbd

MIB = 1 << 20
OBJECTS = 8
BLOCK = 4096
SNAPSHOTS = 12
SECONDS = 60


class Counter:
    """Writes 1, 2, 3, … one after the other, each to the next of eight
    objects: so what is there at any one moment are eight numbers in a row.
    """

    def __init__(self, address, name):
        self._client = nbd_client.NbdClient(address, name, timeout=60.0)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0
        self.error = None

    def start(self):
        self._thread.start()

    def _run(self):
        try:
            while not self._is_over:
                number = self.count + 1
                self._client.write(
                    number % OBJECTS * MIB, number.to_bytes(8, 'big')
                    * (BLOCK // 8), fua=number % 3 == 0)
                self.count = number
        except Exception as exc:
            self.error = exc

    def wait_for(self, more):
        wanted = self.count + more
        harness.wait_until(
            lambda: self.count >= wanted or self.error, SECONDS,
            lambda: '%d of %d' % (self.count, wanted))
        if self.error:
            raise self.error

    def stop(self):
        self._is_over = True
        self._thread.join(SECONDS)
        self._client.close()
        if self.error:
            raise self.error


class _File:
    """Read as a volume is."""

    def __init__(self, file):
        self._file = file

    def read(self, offset, length):
        self._file.seek(offset)
        return self._file.read(length)


class SnapshotTest(case.ClusterCase):
    count = 4
    copies = 2

    def numbers(self, volume):
        found = []
        for index in range(OBJECTS):
            block = volume.read(index * MIB, BLOCK)
            number = int.from_bytes(block[:8], 'big')
            self.assertEqual(number.to_bytes(8, 'big') * (BLOCK // 8), block)
            found.append(number)
        return found

    def check_moment(self, numbers, low, high):
        """They are of one moment between two counts."""
        last = max(numbers)
        self.assertEqual(sorted(numbers),
                         list(range(last - OBJECTS + 1, last + 1)))
        self.assertEqual([number % OBJECTS for number in numbers],
                         list(range(OBJECTS)))
        self.assertTrue(low <= last <= high + 1, (low, last, high))

    def dog(self, *words, **how):
        return self.cluster.dog('vdi', *words, **how)

    def data_files(self):
        return {name for sheep in self.cluster.sheep
                for name in os.listdir(sheep.meta / 'obj')
                if name[0] == '0' and os.stat(
                    sheep.meta / 'obj' / name).st_blocks}

    def test_while_it_is_written(self):
        self.before = self.data_files()
        self.create('load', OBJECTS * MIB, block_size_shift=20)
        counter = Counter(self.cluster.sheep[0].nbd_address, 'load')
        self.addCleanup(lambda: setattr(counter, '_is_over', True))
        counter.start()
        counter.wait_for(20)
        seen = {}
        for number in range(SNAPSHOTS):
            if number == SNAPSHOTS // 2:
                victim = self.cluster.sheep[3]
                victim.kill()
            low = counter.count
            self.dog('snapshot', 'load', '-s', 's%d' % number,
                     sheep=self.cluster.sheep[1])
            seen['s%d' % number] = low, counter.count
            counter.wait_for(OBJECTS // 2)
        victim.start()
        victim.wait_answering()
        counter.stop()
        with self.cluster.sheep[2].client() as client:
            contents = {}
            for tag, (low, high) in seen.items():
                with client.open('load', tag=tag,
                                 read_only=True) as volume:
                    contents[tag] = self.numbers(volume)
                self.check_moment(contents[tag], low, high)
            with client.open('load', read_only=True) as volume:
                last = self.numbers(volume)
            self.check_moment(last, counter.count - 1, counter.count)
        # Over NBD, by tag; nobody writes there.
        with nbd_client.NbdClient(self.cluster.sheep[1].nbd_address,
                                  'load@s3') as export:
            self.assertEqual(contents['s3'], self.numbers(export))
            with self.assertRaises(nbd_client.NbdRefused):
                export.write(0, bytes(BLOCK))
        self.check_deletion(contents, last)

    def check_deletion(self, contents, last):
        """Of any of them, and of a clone: others stay as they are."""
        self.dog('clone', 'load', 'copy', '-s', 's5')
        contents['copy'] = contents['s5']
        self.dog('snapshot', 'load', '-s', 's0', expect=3)
        self.dog('clone', 'load', 'copy', '-s', 's5', expect=3)
        self.dog('clone', 'load', 'other', '-s', 'none', expect=5)
        self.dog('rollback', 'load', '-s', 's7', '-f')
        for tag in ('s5', 's0', 's11', 's8', 's1', 's2', 's10', 's9', 's4'):
            self.dog('delete', 'load', '-s', tag)
            del contents[tag]
        with self.cluster.client() as client:
            for tag, wanted in contents.items():
                name = ('copy', '') if tag == 'copy' else ('load', tag)
                with client.open(name[0], tag=name[1],
                                 read_only=True) as volume:
                    self.assertEqual(wanted, self.numbers(volume), tag)
            with client.open('load', read_only=True) as volume:
                self.assertEqual(contents['s7'], self.numbers(volume))
            self.assertEqual(3, sum(vdi['snapshot'] for vdi
                                    in client.vdis.list('load')))
        self.cluster.dog('vdi', 'check', 'load')
        self.cluster.dog('vdi', 'check', 'copy')
        self.assertEqual('copy---(you are here)\n',
                         self.dog('tree', 'copy').stdout)
        self.assertRegex(self.dog('tree', 'load').stdout,
                         r'^load---\[[-0-9 :]+\]---\[[-0-9 :]+\]---'
                         r'\[[-0-9 :]+\]---\(you are here\)\n$')
        for words in (('load', '-s', 's6'), ('copy',), ('load',),
                      ('load', '-s', 's3'), ('load', '-s', 's7')):
            self.dog('delete', *words)
        harness.wait_until(lambda: self.data_files() <= self.before,
                           SECONDS, self.data_files)

    @case.needs('qemu-img', 'qemu-io', 'nbdinfo', 'nbdcopy')
    def test_read_by_others_while_the_vdi_is_written(self):
        self.create('load', OBJECTS * MIB, block_size_shift=20)
        counter = Counter(self.cluster.sheep[0].nbd_address, 'load')
        self.addCleanup(lambda: setattr(counter, '_is_over', True))
        counter.start()
        counter.wait_for(OBJECTS)
        low = counter.count
        self.dog('snapshot', 'load', '-s', 'then')
        high = counter.count
        counter.wait_for(OBJECTS)
        uri = self.cluster.sheep[2].nbd_uri('load@then')
        other = self.cluster.sheep[0].nbd_uri('load@then')

        copy, image = self.directory / 'copy', self.directory / 'image'
        harness.run('nbdcopy', uri, copy)
        harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', other,
                    image)
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', uri,
                    image)
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', copy,
                    other)
        with open(copy, 'rb') as file:
            self.check_moment(self.numbers(_File(file)), low, high)
        # Only the blocks that were written take room.
        self.assertEqual(OBJECTS * BLOCK, images.allocated_bytes(uri))
        info, = json.loads(harness.run('nbdinfo', '--json', uri).stdout)[
            'exports']
        self.assertEqual((OBJECTS * MIB, True),
                         (info['export-size'], info['is_read_only']))

        number = int.from_bytes(copy.read_bytes()[:8], 'big')
        self.assertIn('read %d/%d' % (BLOCK, BLOCK), harness.run(
            'qemu-io', '-r', '-f', 'raw', '-c', 'read -P %d 7 1' % (
                number & 255), '-c', 'read 0 %d' % BLOCK, uri).stdout)
        refused = harness.run('qemu-io', '-f', 'raw', '-c', 'write 0 512',
                              uri, expect=1)
        self.assertRegex(refused.stdout + refused.stderr, 'Permission denied')
        with nbd_client.NbdClient(self.cluster.sheep[2].nbd_address,
                                  'load@then') as export:
            for change in (lambda: export.write(0, bytes(BLOCK)),
                           lambda: export.trim(0, MIB)):
                with self.assertRaises(nbd_client.NbdRefused) as caught:
                    change()
                self.assertEqual(nbd.EPERM, caught.exception.code)
        counter.wait_for(OBJECTS)
        counter.stop()
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', uri,
                    image)
        self.dog('delete', 'load', '-s', 'then')

    def test_a_chain_and_a_crowd_of_clones(self):
        """`make scale`, as long as a test may take."""
        one = crowd.Crowd(self.cluster, 1, tell=lambda line: None)
        one.create(30)
        one.grow_chain(40)
        one.clone(20)
        one.list()
        one.look()
        one.memory('with all')
        one.remove()
        one.judge()

    def test_its_cost_does_not_grow_with_the_size(self):
        for name, size in (('small', 1 << 30), ('large', 1 << 42)):
            self.create(name, size)
            with self.cluster.client() as client:
                with client.open(name) as volume:
                    volume.write(0, b'first', fua=True)
                    volume.write(size - BLOCK, b'last', fua=True)
                client.vdis.snapshot(name, 's1')
                client.vdis.clone(name, 's1', name + '-copy')
                with client.open(name + '-copy') as volume:
                    self.assertEqual(b'last', volume.read(size - BLOCK, 4))
                    volume.write(0, b'other', fua=True)
                with client.open(name, tag='s1', read_only=True) as volume:
                    self.assertEqual(b'first', volume.read(0, 5))
                with self.assertRaises(errors.VdiExists):
                    client.vdis.snapshot(name, 's1')
                client.vdis.delete(name, 's1')
                client.vdis.delete(name + '-copy')
