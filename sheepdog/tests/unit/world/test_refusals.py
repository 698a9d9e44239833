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

import logging
import unittest

from sheepdog.world import refusals

LOG = logging.getLogger('sheepdog.tests.refusals')


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


class RefusalsTest(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        self.refusals = refusals.Refusals(self.clock, LOG)

    def said(self, *sources):
        """What is logged of these, in order."""
        with self.assertLogs(LOG, 'WARNING') as logs:
            LOG.warning('first')
            for source in sources:
                self.refusals.note(source, 'refused')
        return [line.split(':')[2] for line in logs.output[1:]]

    def test_once_a_minute_for_each(self):
        self.assertEqual(['a', 'b'], self.said('a', 'a', 'b', 'a', 'b'))
        self.clock.now += 59
        self.assertEqual([], self.said('a', 'b'))
        self.clock.now += 1
        self.assertEqual(['b', 'a'], self.said('b', 'a', 'b', 'a'))

    def test_each_kind_has_its_minute(self):
        with self.assertLogs(LOG, 'WARNING') as logs:
            for kind in 'one', 'two', 'one', 'two':
                self.refusals.note('a', 'refused for ' + kind, kind)
        self.assertEqual(2, len(logs.output))

    def test_many_sources_take_bounded_memory(self):
        with self.assertLogs(LOG, 'WARNING'):
            for number in range(5000):
                self.refusals.note('source %d' % number, 'refused')
        self.assertEqual(refusals.SOURCES_MAX, len(self.refusals._said))
        # Those heard of last are remembered.
        self.assertEqual(['a'], self.said('source 4999', 'a',
                                          'source 4001'))
