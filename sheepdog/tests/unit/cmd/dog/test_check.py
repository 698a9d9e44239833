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

"""dog cluster check and dog vdi check, against a fake sheep."""

import json
from unittest import mock

from sheepdog.cmd.dog import check
from sheepdog.model import errors
from sheepdog.tests.unit.cmd.dog import test_dog


def found(port=7000, **changes):
    """What one sheep answers."""
    one = {'state': 'done', 'began': 1.0, 'ended': 2.0, 'total': 2,
           'objects': 2, 'bytes': 8 << 20, 'bad_blocks': 0, 'mended': 0,
           'settled': 0, 'counts': {'irreparable': 0, 'differs': 0},
           'problems': []}
    one.update(changes)
    return {'host': '10.0.0.1', 'port': port, 'check': one}


class CheckTest(test_dog.DogCase):
    def setUp(self):
        super().setUp()
        patch = mock.patch.object(check, 'POLL_SECONDS', 0.001)
        patch.start()
        self.addCleanup(patch.stop)
        self.answer([found()], [])
        self.cluster.answers['vdi.missing'] = {
            'missing': [], 'next': None, 'total': 1}

    def answer(self, *rounds):
        """What all sheep say, each time that they are asked."""
        self.rounds = list(rounds)

        def say(arguments):
            self.names.append(arguments['name'])
            return (self.rounds.pop(0) if len(self.rounds) > 1
                    else self.rounds[0])

        self.names = []
        self.cluster.answers['cluster.check'] = say

    def test_all_is_well(self):
        self.answer([found(state='running', objects=0), found(7001)],
                    [found(), found(7001)])
        self.assertEqual(
            'checked the cluster: 4 copies, 16 MB read\nall is well\n',
            self.dog('cluster check'))
        self.assertEqual(1, len(set(self.names)))

    def test_raw_and_json(self):
        self.answer([found(bad_blocks=3, mended=1, settled=1)])
        self.assertEqual('2 8388608 3 2 0\n', self.dog('cluster check -r',
                                                       code=6))
        told = json.loads(self.dog('vdi check v --json', code=6))
        self.assertEqual((3, 1, 1), (told['bad_blocks'], told['mended'],
                                     told['settled']))
        self.assertEqual('10.0.0.1:7000', told['nodes'][0]['address'])

    def test_mended(self):
        self.answer([found(bad_blocks=3, mended=1)])
        self.assertIn('3 bad blocks were found; 1 copies are good again\n',
                      self.dog('vdi check v', code=6))

    def test_what_is_left(self):
        self.answer([found(counts={'irreparable': 1}, problems=[
            {'kind': 'irreparable', 'object': '00ab', 'detail': 'blocks 3'}
        ])])
        self.assertIn('1 objects are not well\n',
                      self.dog('vdi check v', code=2))
        self.assertEqual(
            'dog: object 00ab (10.0.0.1:7000): bad, and no copy is good: '
            'blocks 3\n', self.streams.complaint)

    def test_missing(self):
        self.cluster.answers['vdi.missing'] = lambda arguments: {
            'missing': ['00%02x' % arguments['first']],
            'next': arguments['first'] + 5
            if arguments['first'] < 10 else None, 'total': 12}
        self.dog('vdi check -e -s tag v', code=2)
        self.assertEqual(3, self.streams.complaint.count('no sheep has it'))
        self.assertEqual([], self.names)

    def test_no_such_vdi(self):
        self.cluster.answers['vdi.missing'] = errors.NoVdi('none')
        self.dog('vdi check v', code=5)
        self.assertEqual([], self.names)

    def test_one_that_goes_away(self):
        for gone in ({'host': '10.0.0.1', 'port': 7001, 'error': 'away'},
                     {'host': '10.0.0.1', 'port': 7001, 'check': None}):
            with self.subTest(gone), mock.patch.object(
                    check, 'LOST_SECONDS', 0.05):
                self.answer([found(), found(7001, state='running')],
                            [found(), gone])
                self.dog('cluster check', code=2)
                self.assertIn('10.0.0.1:7001 did not finish',
                              self.streams.complaint)

    def test_interrupted(self):
        actions = []

        def say(arguments):
            actions.append(arguments['action'])
            return [found(state='running')]

        self.cluster.answers['cluster.check'] = say
        with mock.patch.object(check.time, 'sleep',
                               side_effect=KeyboardInterrupt):
            self.dog('cluster check', code=130)
        self.assertEqual(['start', 'stop'], actions)

    def test_progress(self):
        with mock.patch.object(check.progress, 'BEGIN_SECONDS', 0):
            self.answer([found(state='running', objects=1)], [found()])
            self.dog('cluster check', terminal=True)
        self.assertIn('50 %  1 objects of 2 objects',
                      self.streams.complaint)
