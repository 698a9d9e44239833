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


import time
import unittest

from sheepdog.cmd.dog import branches


def vdi(vdi_id, name, parent=0, snap_id=0):
    return {'vdi_id': vdi_id, 'name': name, 'parent': parent,
            'snap_id': snap_id, 'snapshot': bool(snap_id),
            'snapped': time.mktime((2026, 11, 22, 8, snap_id, 0, 0, 0, -1))}


class TreeTest(unittest.TestCase):
    def check(self, vdis, *lines):
        self.assertEqual(list(lines), list(branches.drawn(vdis)))

    def test_as_in_the_reference(self):
        self.check([vdi(9, 'cl', 1), vdi(1, 'test', 0, 13),
                    vdi(2, 'test', 1)],
                   'cl---(you are here)',
                   'test---[2026-11-22 08:13]---(you are here)')

    def test_several_that_follow_one(self):
        self.check(
            [vdi(1, 'v', 0, 1), vdi(2, 'v', 1, 2), vdi(3, 'v', 2, 3),
             vdi(4, 'v', 1, 4), vdi(5, 'v', 1)],
            'v---[2026-11-22 08:01]-+-[2026-11-22 08:02]---'
            '[2026-11-22 08:03]',
            '                       |-[2026-11-22 08:04]',
            '                       `-(you are here)')

    def test_one_whose_vdi_was_deleted(self):
        self.check([vdi(2, 'v', 1, 2)], 'v---[2026-11-22 08:02]')

    def test_a_long_chain(self):
        line, = branches.drawn([vdi(number, 'v', number - 1, number % 60 or 1)
                                for number in range(1, 3000)])
        self.assertEqual(2999, line.count('---['))
