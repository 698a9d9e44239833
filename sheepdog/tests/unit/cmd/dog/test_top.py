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

"""dog top: what it works out, its columns, and a terminal."""

import copy
import json
import os
from unittest import mock

from sheepdog.cmd import activity
from sheepdog.cmd.dog import top
from sheepdog.model import errors
from sheepdog.tests.unit.cmd.dog import test_dog


def node(number, count=0, **changes):
    counts = {key: count for key in (*activity.COUNTS, 'active')}
    return dict({
        'id': number, 'host': '127.0.0.1', 'port': 7000 + number,
        'incarnation': 'i%d' % number, 'stat': {'client': counts},
        'space': {'used': 25, 'total': 100},
        'progress': {'is_running': False, 'done': 0, 'total': 0},
        'waits': {'read': [count, count * 0.002], 'write': [0, 0.0],
                  'write_back': [count, count * 0.001]}}, **changes)


def answer(*nodes):
    return {'epoch': 3, 'nodes': list(nodes)}


class BetweenTest(test_dog.DogCase):

    def test_paces_and_means(self):
        rows = activity.between(
            answer(node(0, 100), node(1)), answer(node(0, 300), node(1)),
            2.0)
        self.assertEqual(['127.0.0.1:7000', '127.0.0.1:7001', ''],
                         [row['node'] for row in rows])
        for row in rows[0], rows[2]:
            self.assertEqual([100.0] * 4,
                             [row[key] for key in activity.COUNTS])
            self.assertAlmostEqual(2.0, row['read_ms'])
            self.assertAlmostEqual(1.0, row['write_ms'])
        self.assertIsNone(rows[1]['read_ms'])
        self.assertEqual((50, 200), (rows[2]['used'], rows[2]['total']))

    def test_who_came_and_who_does_not_answer(self):
        rows = activity.between(
            answer(node(0, 100, incarnation='before'),
                   node(1, error='time is up')),
            answer(node(0, 7), node(1, 9), node(2, error='time is up')),
            1.0)
        self.assertEqual([0.0, 0.0], [row['read'] for row in rows[:2]])
        self.assertEqual('time is up', rows[2]['error'])
        self.assertEqual('', rows[3]['error'])


class TopTest(test_dog.DogCase):

    def setUp(self):
        super().setUp()
        patch = mock.patch('time.sleep', self.sleep)
        patch.start()
        self.addCleanup(patch.stop)
        self.count = 0
        self.ends_after = 3
        self.fails = False
        self.cluster.answers['cluster.activity'] = self.answer

    def answer(self, _arguments):
        self.count += 1
        if self.fails and self.count == 3:
            raise errors.InvalidParameters('not now')
        return copy.deepcopy(answer(
            node(0, 10 * self.count), node(1, error='time is up'),
            node(2, progress={'is_running': True, 'done': 1,
                              'total': 4})))

    def sleep(self, _seconds):
        self.ends_after -= 1
        if self.ends_after < 0:
            raise KeyboardInterrupt

    def test_once(self):
        lines = self.dog('top', code=2).splitlines()
        self.assertEqual(
            '  Id   Host:Port              Read/s  Write/s    RD BW    WR BW'
            '   Read ms  Write ms  Active  Use%  Recovery', lines[0])
        self.assertIn('   0   127.0.0.1:7000  ', lines[1])
        self.assertTrue(lines[1].endswith('   25%  -'), lines[1])
        self.assertEqual('   1   127.0.0.1:7001        does not answer',
                         lines[2])
        self.assertTrue(lines[3].endswith('  25.0%'), lines[3])
        self.assertIn('       Total  ', lines[4])
        self.assertEqual('dog: 127.0.0.1:7001: time is up\n',
                         self.streams.complaint)
        self.assertEqual(2, self.count)

    def test_for_scripts(self):
        lines = self.dog('top -r', code=2).splitlines()
        self.assertEqual('1 127.0.0.1:7001 error', lines[1])
        self.assertTrue(lines[3].startswith('-1 all '), lines[3])
        self.assertEqual({13}, {len(lines[place].split())
                                for place in (0, 2, 3)})
        found = json.loads(self.dog('top --json', code=2))
        self.assertEqual(3, len(found['nodes']))
        self.assertEqual(4, found['all']['objects'])

    def live(self):
        size = mock.patch('shutil.get_terminal_size',
                          lambda: os.terminal_size((60, 5)))
        with mock.patch.object(test_dog.streams._Text, 'isatty',
                               lambda self: True), size:
            return self.dog('top')

    def test_on_a_terminal(self):
        shown = self.live()
        self.assertTrue(shown.startswith(top._BEGIN))
        self.assertTrue(shown.endswith(top._END))
        frames = shown.split('\x1b[H')[1:]
        self.assertEqual(4, len(frames))
        self.assertIn('epoch 3', frames[1])
        self.assertIn('… 3 more', frames[1])
        for line in frames[1].split(top._LINE_END):
            self.assertLessEqual(
                len(line.replace('\x1b[K', '').replace('\x1b[J', '')
                    .replace(top._END, '')), 60)

    def test_it_goes_on_when_a_look_fails(self):
        self.fails = True
        shown = self.live()
        self.assertIn('not now', shown)
        self.assertIn('epoch 3', shown.split('\x1b[H')[-1])

    def test_a_frame(self):
        self.assertEqual('\x1b[Habc\x1b[K\r\nd\x1b[K\x1b[J',
                         top.frame(['abcdef', 'd'], 3, 24))
        self.assertEqual('\x1b[H… 3 more\x1b[K\x1b[J'.replace(
            '… 3 more', 'a\x1b[K\r\n… 2 more'),
            top.frame(['a', 'b', 'c'], 80, 2))
