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

import unittest

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.peer import answers
from sheepdog.wire import peer as wire

STATE = {'exists': True, 'version': 1, 'capacity': 1 << 20, 'digest': '00',
         'bad': 0,
         'uncertain': 0, 'power_lost': False, 'clean': True, 'through': 1,
         'behind': 0, 'apart': [0, -1, False], 'marks': [5], 'serial': 0,
         'spoilt': False, 'torn': False}
LATER = 'behind', 'apart', 'spoilt', 'torn'


class AnswersTest(unittest.TestCase):

    def test_extents(self):
        extents = [(0, 4096), (1 << 22, 1 << 20)]
        self.assertEqual(answers.unpack_extents(
            answers.pack_extents(extents)), extents)
        self.assertEqual(answers.unpack_extents(b''), [])
        with self.assertRaises(errors.CorruptFrame):
            answers.unpack_extents(bytes(9))

    def test_list(self):
        packed = answers.pack_list([7, 1])
        self.assertEqual(answers.unpack_list(packed).tolist(), [7, 1])
        with self.assertRaises(errors.CorruptFrame):
            answers.unpack_list(bytes(9))

    def test_state(self):
        self.assertEqual(STATE, answers.unpack_state(wire.pack_json(STATE)))
        elder = {name: value for name, value in STATE.items()
                 if name not in LATER}
        self.assertEqual(STATE, answers.unpack_state(wire.pack_json(elder)))
        self.assertTrue(answers.unpack_state(wire.pack_json(
            dict(STATE, of_a_later_version=1))))

    def test_what_is_no_state(self):
        wrong = [b'', b'[]', b'{}', b'\xff']
        for name in STATE:
            wrong.append(wire.pack_json(dict(STATE, **{name: None})))
            if name not in LATER:
                wrong.append(wire.pack_json(
                    {one: STATE[one] for one in STATE if one != name}))
        for more in ({'capacity': -1}, {'capacity': 1 << 60},
                     {'marks': ['5']}, {'marks': [True]},
                     {'apart': []}, {'apart': [1, 2, 0]}):
            wrong.append(wire.pack_json(dict(STATE, **more)))
        for payload in wrong:
            with self.subTest(payload):
                with self.assertRaises(errors.CorruptFrame):
                    answers.unpack_state(payload)

    def test_table(self):
        answers.check_table(bytes(4 * 256), 256 * limits.BLOCK_BYTES)
        for size in (0, 3, 4 * 255, 4 * 256 + 1):
            with self.subTest(size):
                with self.assertRaises(errors.CorruptFrame):
                    answers.check_table(bytes(size),
                                        256 * limits.BLOCK_BYTES)
