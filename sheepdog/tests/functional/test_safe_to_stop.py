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

"""sheepdog-manage safe-to-stop, while redundancy is being restored."""

import json
import os

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

OBJECT = 4 << 20
OBJECTS = 8
TRIES = 10


class TestSafeToStop(case.ClusterCase):
    copies = 2
    # One object, then a rest: long enough to look at what is left.
    options = ('-R', 'max=1,interval=3000')

    def ask(self, node, *words, sheep=None):
        """(exit code, the answer)"""
        done = harness.run(
            harness.BIN / 'sheepdog-manage', '-a',
            (sheep or self.cluster.running[0]).address, 'safe-to-stop',
            node.address, '-f', 'json', *words, expect=None,
            env=dict(os.environ,
                     SHEEPDOG_KEY_FILE=str(self.cluster.key_file)))
        return done.returncode, json.loads(done.stdout)

    def fill(self):
        self.create('vm', OBJECTS * OBJECT)
        with self.cluster.client() as client:
            with client.open('vm') as volume:
                for index in range(OBJECTS):
                    volume.write(index * OBJECT, bytes([index + 1]) * 4096,
                                 fua=True)

    def test_only_whole_copies_count(self):
        self.fill()
        first, second, third = self.cluster.sheep
        code, told = self.ask(second)
        self.assertEqual((code, told['safe'], told['none_left']),
                         (0, 'yes', 0), told)
        self.assertEqual(told['objects'], OBJECTS + 1)
        answers = self.ask_without(third, first, second)
        # Some objects are on one of the two only, or on each of them some.
        self.assertIn(1, [code for code, _told in answers], answers)
        for code, told in answers:
            self.assertEqual((code, [one['code'] for one in told['against']]),
                             (1, ['last-copies']) if told['none_left']
                             else (0, []), told)
            self.assertIn('recovering',
                          [one['code'] for one in told['effects']])
        self.cluster.wait_whole()
        for one in first, second:
            code, told = self.ask(one, sheep=first)
            self.assertEqual((code, told['none_left'], told['one_left']),
                             (0, 0, OBJECTS + 1), told)

    def ask_without(self, lost, *rest):
        """What is said of each of the rest, while they recover."""
        for _ in range(TRIES):
            lost.kill()
            harness.wait_until(
                lambda: {info and len(info['epochs'][0]['members'])
                         for info in map(harness.Sheep.info, rest)} == {2},
                60, self.cluster.describe)
            answers = [self.ask(one, sheep=rest[0]) for one in rest]
            if not self.cluster.is_whole():
                return answers
            # They were faster than we: the machine is busy.
            self.cluster.make_whole()
        self.fail('nobody sees them recover')

    def test_clients(self):
        self.create('vm', OBJECT)
        second = self.cluster.sheep[1]
        with second.client() as client, client.open('vm'):
            code, told = self.ask(second)
            self.assertEqual((code, [one['code'] for one in told['against']]),
                             (1, ['clients']), told)
            self.assertIn('vm (tool, 127.0.0.1:', told['against'][0]['text'])
            self.assertEqual(self.ask(second, '--ignore-clients')[0], 0)
            self.assertEqual(self.ask(self.cluster.sheep[0])[0], 0)

    def test_one_that_does_not_answer(self):
        second = self.cluster.sheep[1]
        second.suspend()
        # Until the others go on without it; then it is no member any more.
        self.assertIn(self.ask(second)[0], (0, 2))
