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

"""Tests of sheepdog.gateway.watch."""

import types
import unittest

from sheepdog.gateway import operation
from sheepdog.gateway import watch
from sheepdog.model import errors
from sheepdog.wire import peer as wire

OID = 5 << 32 | 1
HERE = '10.0.0.1:7000'


class Link:
    address = ('10.0.0.2', 7000)

    def __init__(self):
        self.owes = {}

    def owed(self, callback):
        return [number for number, one in self.owes.items()
                if one == callback]


class WatchTest(unittest.TestCase):
    def setUp(self):
        self.now = 100.0
        self.link = Link()
        self.route = types.SimpleNamespace(orderer=None, links=[self.link])
        self.changes = types.SimpleNamespace(mine={})
        self.reads = types.SimpleNamespace(under_way={})
        self.watch = watch.Watch(
            types.SimpleNamespace(clock=types.SimpleNamespace(
                monotonic=lambda: self.now)),
            types.SimpleNamespace(changes=self.changes, reads=self.reads),
            HERE, 5.0)

    def write(self, count):
        change = operation.Change(None, wire.WRITE, OID, 0, 4096, b'', True,
                                  False, 0, None)
        change.route = self.route
        self.changes.mine[count] = change
        return change

    def read(self):
        read = operation.Read(None, OID, 0, 512, None)
        read.route = self.route
        self.reads.under_way[read] = None
        return read

    def look(self, seconds=1):
        """The lines that were logged meanwhile."""
        self.now += seconds
        with self.assertLogs('sheepdog.gateway.watch', 'INFO') as logs:
            watch.LOG.info('end')
            self.watch.look()
        return [record.getMessage() for record in logs.records[1:]]

    def test_quick_ones_are_not_told(self):
        for count in range(20):
            self.write(count)
            self.assertEqual([], self.look())
            self.changes.mine.clear()
        self.assertEqual((0, []), self.watch.slowest())

    def test_a_slow_write_is_told_once_and_its_end(self):
        change = self.write(7)
        self.link.owes[33] = change
        self.look(0)
        self.assertEqual([], self.look(4))
        line, = self.look(2)
        self.assertEqual(
            'slow: 10.0.0.1:7000/7: write of object 0000000500000001, bytes '
            '0 to 4096, takes 6 s: no answer yet from 10.0.0.2:7000', line)
        self.assertEqual([], self.look(2))
        count, (told,) = self.watch.slowest()
        self.assertEqual((1, HERE + '/7', 8.0, 5, ['10.0.0.2:7000']), (
            count, told['id'], told['seconds'], told['vdi_id'],
            told['waits_for']))
        del self.changes.mine[7]
        self.assertEqual((0, []), self.watch.slowest())
        self.assertEqual(['10.0.0.1:7000/7 ended after 9 s'], self.look())

    def test_a_slow_read(self):
        read = self.read()
        self.link.owes[34] = read.answered
        self.look(0)
        line, = self.look(6)
        self.assertIn('10.0.0.1:7000#34: read of object', line)

    def test_causes(self):
        for attribute, value, words in (
                ('blockers', 2, 'behind 2 others of the same bytes'),
                ('attempts', 3, 'tried 3 times'),
                ('attempts', 0, 'the own disk')):
            change = self.write(1)
            setattr(change, attribute, value)
            self.look(0)
            self.look(6)
            self.assertIn(words, self.watch.slowest()[1][0]['text'])
            self.changes.mine.clear()
            self.look()

    def test_why_the_way_is_blocked(self):
        change = self.write(1)
        change.attempts = 2
        change.failures = [errors.Unreachable('it is gone')]
        self.look(0)
        self.assertIn('tried 2 times, the way is blocked (it is gone)',
                      self.look(6)[0])

    def test_without_a_route(self):
        self.write(1).route = None
        self.look(0)
        self.assertEqual(1, len(self.look(6)))

    def test_one_that_someone_else_orders(self):
        self.route.orderer, self.route.links = self.link, []
        self.link.owes[1] = self.write(1)
        self.look(0)
        self.assertIn('from 10.0.0.2:7000', self.look(6)[0])

    def test_many_are_told_of_together(self):
        for count in range(30):
            self.write(count)
        self.look(0)
        lines = self.look(6)
        self.assertEqual(watch.TOLD_MAX + 1, len(lines))
        self.assertIn('20 more', lines[-1])
        count, told = self.watch.slowest()
        self.assertEqual((30, 10, HERE + '/0'),
                         (count, len(told), told[0]['id']))
        self.changes.mine.clear()
        self.assertEqual(watch.TOLD_MAX, len(self.look()))

    def test_never(self):
        self.watch.slow_seconds = 0
        self.write(1)
        self.look(0)
        self.assertEqual([], self.look(60))
        self.assertEqual(1, self.watch.slowest()[0])
