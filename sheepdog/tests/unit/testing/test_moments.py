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

"""That ``tests.moments`` would notice: its judge before snapshots that are of
no moment."""

import math
import pathlib
import struct
import tempfile
import unittest

from crc32c import crc32c

from sheepdog.tests.moments import cut
from sheepdog.tests.moments import files
from sheepdog.tests.moments import numbered
from sheepdog.tests.moments import verified


class CutTest(unittest.TestCase):

    def setUp(self):
        self.writes = cut.Writes()
        # Three blocks; the second write overlaps the first and the third.
        for block, issued, acknowledged in (
                (0, 1, 3), (1, 2, 5), (0, 4, 6), (2, 7, 8), (1, 9, math.inf)):
            self.writes.issue(block, issued).acknowledged = acknowledged

    def judge(self, *numbers, asked=0.0, answered=100.0):
        return self.writes.judge(dict(enumerate(numbers)), asked, answered)

    def test_what_there_was(self):
        for numbers in ((0, 0, 0), (1, 0, 0), (0, 2, 0), (1, 2, 0),
                        (3, 0, 0), (3, 2, 0), (3, 2, 4), (3, 5, 4)):
            self.assertEqual('', self.judge(*numbers), numbers)

    def test_what_never_was(self):
        for numbers in ((0, 0, 4), (1, 2, 4), (3, 0, 4), (1, 5, 4),
                        (3, 5, 0)):
            self.assertIn('no one moment', self.judge(*numbers), numbers)

    def test_neither_earlier_nor_later_than_it_was_made(self):
        self.assertEqual('', self.judge(3, 2, 0, asked=7.5, answered=7.9))
        self.assertIn('lacks', self.judge(3, 2, 0, asked=8.5))
        self.assertIn('lacks', self.judge(1, 0, 0, asked=5.5))
        self.assertIn('later', self.judge(3, 2, 4, answered=6.5))
        self.assertEqual('', self.judge(3, 2, 4, answered=7.5))
        # One whose outcome nobody knows may be there or not, for ever.
        self.assertEqual('', self.judge(3, 2, 4, asked=50))
        self.assertEqual('', self.judge(3, 5, 4, asked=50))

    def test_a_write_of_another_block(self):
        self.assertIn('none of it', self.judge(2, 0, 0))
        self.assertIn('none of it', self.judge(-1, 0, 0))

    def test_zeroes_may_be_from_before_or_from_a_discard(self):
        self.writes.issue(0, 10, is_zero=True).acknowledged = 11
        self.writes.issue(0, 12).acknowledged = 13
        for numbers in ((0, 0, 0), (0, 2, 4), (0, 5, 4), (7, 5, 4)):
            self.assertEqual('', self.judge(*numbers), numbers)
        self.assertIn('no one moment', self.judge(0, 2, 0, asked=4))
        self.assertIn('none of it', self.judge(6, 0, 0))
        self.assertIn('lacks', self.judge(0, 2, 4, asked=14))

    def test_a_group_is_of_one_moment(self):
        other = cut.Writes()
        other.issue(0, 6.5).acknowledged = 6.8
        for here, there in (((1, 2, 0), 0), ((3, 2, 4), 1), ((3, 2, 0), 1)):
            found = dict(enumerate(here))
            for numbers, wrong in (({0: there}, False),
                                   ({0: 1 - there}, here != (3, 2, 0))):
                self.assertEqual(wrong, bool(cut.judge(
                    [(self.writes, found), (other, numbers)], 0, 100)))

    def test_what_was_seen_stays(self):
        self.assertEqual('', self.judge(3, 2, 4, asked=50))
        self.writes.was_seen({1: 5}, 40)
        self.assertIn('lacks', self.judge(3, 2, 4, asked=50))
        self.assertEqual('', self.judge(3, 2, 4, asked=30))

    def test_blocks_say_which_write_they_are_from(self):
        block = numbered.content(7)
        self.assertEqual(7, numbered.number_of(block))
        self.assertEqual(0, numbered.number_of(bytes(4096)))
        self.assertEqual(-1, numbered.number_of(
            block[:2048] + numbered.content(8)[2048:]))
        self.assertEqual(-1, numbered.number_of(bytes(2048) + block[2048:]))


def block_of_fio(block, number, moment):
    """As fio writes it with --verify=crc32c."""
    data = bytes([number]) * (4096 - 44)
    header = struct.pack('<HHIQQIIHH', 0xacca, 5, 4096, 99, block * 4096,
                         int(moment), int(moment % 1 * 1e9), 1, number)
    return header + struct.pack('<II', crc32c(header) ^ 0xFFFFFFFF,
                                crc32c(data) ^ 0xFFFFFFFF) + data


class GuestCase(unittest.TestCase):

    def guest(self, kind):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return kind(None, 'guest', pathlib.Path(directory.name), 1)


class VerifiedTest(GuestCase):
    """Writes 0, 1, 2… of fio, a second apart, to blocks 0, 1, 0, 2."""

    def judge(self, *numbers, asked=0.0, answered=1000.0):
        guest = self.guest(verified.Verified)
        guest._log.write_text('fio version 3 iolog\n10 nbd add\n' + ''.join(
            '%d nbd write %d 4096\n' % (1000 * number, 4096 * block)
            for number, block in enumerate((0, 1, 0, 2))))
        return guest.judge({
            block: verified.header_of(block, bytes(4096) if number is None
                                      else block_of_fio(block, number,
                                                        100 + number))
            for block, number in enumerate(numbers)}, asked, answered)

    def test_the_first_so_many_writes(self):
        for numbers in ((None, None, None), (0, None, None), (0, 1, None),
                        (2, 1, None), (2, 1, 3)):
            self.assertEqual('', self.judge(*numbers), numbers)
        for numbers in ((None, 1, None), (2, None, None), (0, 1, 3),
                        (2, None, 3)):
            self.assertIn('no one moment', self.judge(*numbers), numbers)
        self.assertIn('none of it', self.judge(1, None, None))

    def test_neither_earlier_nor_later(self):
        self.assertEqual('', self.judge(0, 1, None, asked=102.9))
        self.assertIn('lacks', self.judge(0, 1, None, asked=103.5))
        self.assertEqual('', self.judge(2, 1, None, answered=102.5))
        self.assertIn('holds', self.judge(2, 1, None, answered=101.5))

    def test_what_fio_has_not_written(self):
        whole = block_of_fio(3, 7, 1.0)
        self.assertEqual(7, verified.header_of(3, whole)[0])
        for data in (whole[:2048] + bytes(2048), bytes(2048) + whole[2048:],
                     block_of_fio(4, 7, 1.0),
                     whole[:20] + b'?' + whole[21:]):
            with self.assertRaises(ValueError):
                verified.header_of(3, data)


class FilesTest(GuestCase):

    def test_what_was_synced_is_there_and_nothing_from_later(self):
        guest = self.guest(files.Files)
        guest._begun = {1: 1.0, 2: 3.0, 3: 5.0}
        guest._synced = {1: 2.0, 2: 4.0}
        guest._removed = {1: 4.5}
        one, two = files.content(1), files.content(2)
        for found, moment in (({}, 0.5), ({1: b''}, 1.5), ({1: one}, 2.5),
                              ({1: one, 2: b''}, 3.5), ({1: one, 2: two}, 4.2),
                              ({2: two}, 5.5), ({2: two, 3: b''}, 5.5)):
            self.assertEqual('', guest.judge(found, moment, moment))
        for found, moment, wrong in (
                ({1: one}, 0.5, 'later'), ({1: one[:-1]}, 2.5, 'not what'),
                ({}, 2.5, 'missing'), ({1: one, 3: b''}, 4.7, 'later'),
                ({1: one}, 4.7, 'missing')):
            self.assertIn(wrong, guest.judge(found, moment, moment))
