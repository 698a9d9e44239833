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

"""That ``tests.thrash`` would notice: its record against volumes that lie."""

import pathlib
import tempfile
import unittest

from sheepdog.erasure import codec
from sheepdog.testing import checkers
from sheepdog.tests.thrash import record as record_module
from sheepdog.tests.thrash import run
from sheepdog.tests.thrash import strips
from sheepdog.tests.thrash import users as users_module

DISK = record_module.Disk('v', 1, 1 << 20, 16)


class Volume:
    """In memory; ``loses`` writes from then on, and says that it has them.
    """

    def __init__(self):
        self.data = bytearray(DISK.size)
        self.loses = False

    def read(self, offset, length):
        return bytes(self.data[offset:offset + length])

    def write(self, offset, data):
        if not self.loses:
            self.data[offset:offset + len(data)] = data


class RecordTest(unittest.TestCase):

    def setUp(self):
        self.record = record_module.Record()
        self.volume = Volume()

    def write(self, block, lock=0, is_zero=False):
        data, write = self.record.begin_write('w', DISK, block, lock,
                                              is_zero)
        self.volume.write(DISK.offset(block), data)
        self.record.end_write(write)

    def read(self, block):
        return self.record.read('r', DISK, block, self.volume.read)

    def test_what_is_kept_fits(self):
        for block in list(range(16)) * 3:
            self.write(block)
            self.assertNotIn(self.read(block), (checkers.ZERO,
                                                checkers.TORN))
        self.write(3, is_zero=True)
        self.assertEqual(checkers.ZERO, self.read(3))
        self.assertEqual([], self.record.check())

    def test_blocks_do_not_overlap(self):
        places = sorted(map(DISK.offset, range(16)))
        self.assertLessEqual(places[-1], DISK.size - 4096)
        self.assertTrue(all(b - a >= 4096 for a, b in zip(places,
                                                          places[1:])))

    def test_ragged_blocks_share_stripes_and_no_objects(self):
        disk = record_module.Disk('v', 1, run.DISK_BYTES, run.BLOCKS,
                                  is_ragged=True)
        places = list(map(disk.offset, range(disk.count)))
        for first, second in zip(places[::2], places[1::2]):
            self.assertEqual(4096, second - first)
            self.assertTrue(first % 4096)
        self.assertTrue(all(b - a >= 8192 for a, b in zip(places[::2],
                                                          places[2::2])))
        self.assertLessEqual(places[-1], disk.size - 4096)
        self.assertEqual([], [
            place for place in places
            if (place ^ (place + 4095)) >> run.OBJECT_SHIFT])

    def test_a_lost_write_is_found(self):
        self.write(5)
        self.volume.loses = True
        self.write(5)
        self.read(5)
        (register, violation), = self.record.check()
        self.assertEqual(('v', 5), register)
        self.assertIn('missed a write', str(violation))

    def test_a_read_that_goes_back_is_found(self):
        self.write(5)
        old = bytes(self.volume.data)
        _data, _open = self.record.begin_write('w', DISK, 5)
        self.volume.write(DISK.offset(5), _data)
        self.read(5)
        self.assertEqual([], self.record.check())
        self.volume.data[:] = old
        self.read(5)
        self.assertEqual(1, len(self.record.check()))

    def test_half_a_block_and_another_block_are_found(self):
        for spoil in (lambda data, at: data[at + 512:at + 4096],
                      lambda data, at: data[DISK.offset(6) + 512:
                                            DISK.offset(6) + 4096]):
            self.setUp()
            self.write(6)
            self.write(5)
            at = DISK.offset(5)
            old = spoil(bytes(self.volume.data), at)
            self.write(5)
            self.volume.data[at + 512:at + 4096] = old
            self.assertEqual(checkers.TORN, self.read(5))
            self.assertEqual(1, len(self.record.check()))

    def test_a_write_of_an_earlier_lock_that_comes_late_is_found(self):
        data, _open = self.record.begin_write('w', DISK, 5, 1)
        for _ in range(2):
            self.write(5, lock=2)
        self.volume.write(DISK.offset(5), data)
        self.read(5)
        self.assertEqual(1, len(self.record.check()))

    def test_a_new_phase_starts_from_what_is_there(self):
        self.write(5)
        self.record.begin_anew({('v', 5): self.read(5), ('v', 6): 0})
        self.read(5)
        self.read(6)
        self.assertEqual([], self.record.check())
        self.volume.write(DISK.offset(5), bytes(4096))
        self.read(5)
        self.assertEqual(1, len(self.record.check()))


class TurnsTest(unittest.TestCase):

    def test_a_new_number_for_each_change_of_the_sheep(self):
        turns = users_module.Turns(record_module.Record())
        self.assertEqual([1, 1, 2, 3, 3],
                         [turns.number(sheep) for sheep in 'aabaa'])


class StripsTest(unittest.TestCase):
    """An object of VDI 0xabcdef, 2:1, its strips in three directories."""

    OID = '00abcdef00000003'

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.places = [pathlib.Path(directory.name) / str(index)
                       for index in range(3)]
        contents = codec.codec_of(2, 1).encode(
            bytes(range(256)) * 32 + bytes(8192))
        for index, (place, content) in enumerate(zip(self.places, contents)):
            (place / 'obj').mkdir(parents=True)
            # What is zero at the end may be no part of the file; behind the
            # content there may be something.
            self.path(index).write_bytes(
                content[:4096] if index else content + b'sums')

    def path(self, index):
        return self.places[index] / 'obj' / ('%s_%d' % (self.OID, index))

    def wrong(self, vdi_id=0xabcdef):
        return strips.wrong(self.places, vdi_id, 2, 1, 16384)

    def test_they_fit(self):
        self.assertEqual([], self.wrong())

    def test_a_changed_byte_is_found(self):
        for index in range(3):
            content = bytearray(self.path(index).read_bytes())
            content[100] ^= 1
            self.path(index).write_bytes(content)
            found, = self.wrong()
            self.assertIn(self.OID, found)
            self.assertEqual([], self.wrong(vdi_id=0xabcdee))
            content[100] ^= 1
            self.path(index).write_bytes(content)

    def test_a_strip_that_is_missing_or_there_twice_is_found(self):
        twin = self.places[0] / 'obj' / self.path(1).name
        twin.write_bytes(self.path(1).read_bytes())
        self.assertIn('(1, 2)', self.wrong()[0])
        twin.unlink()
        self.path(1).unlink()
        self.assertIn('[(0, 1), (2, 1)]', self.wrong()[0])

    def test_files_that_are_left_are_found(self):
        self.assertEqual([], strips.left(self.places, [1]))
        self.assertEqual({str(self.path(index)) for index in range(3)},
                         set(strips.left(self.places, [1, 0xabcdef])))
