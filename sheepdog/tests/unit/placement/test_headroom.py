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

from sheepdog.placement import headroom

GB = 1 << 30


def nodes(*rooms, used=60 * GB, zones=None, weights=None):
    """One for each room; each in a zone of its own."""
    return [headroom.Node(
        'n%d' % number, zones[number] if zones else number,
        weights[number] if weights else 128, used, room)
        for number, room in enumerate(rooms)]


class TestHeadroom(unittest.TestCase):

    def test_enough(self):
        self.assertIsNone(headroom.worst_lack(nodes(*[20 * GB] * 4), 3))

    def test_lacking(self):
        """What one of four has goes to the three others."""
        self.assertEqual(
            headroom.Lack(0, 'n2', 20 * GB, 12 * GB),
            headroom.worst_lack(nodes(20 * GB, 20 * GB, 12 * GB, 20 * GB),
                                3))

    def test_only_the_reserve_is_left(self):
        self.assertEqual(
            headroom.Lack(0, 'n1', 20 * GB, 0),
            headroom.worst_lack(nodes(20 * GB, -5, 12 * GB, 20 * GB), 3))

    def test_with_no_zone_to_spare_nothing_is_made(self):
        self.assertIsNone(headroom.worst_lack(nodes(0, 0, 0), 3))
        self.assertIsNone(headroom.worst_lack(nodes(0), 1))
        self.assertIsNone(headroom.worst_lack([], 3))
        self.assertIsNotNone(headroom.worst_lack(nodes(0, 0), 1))

    def test_zones_of_several_nodes(self):
        """Two nodes go at once; each zone left has two to take it."""
        four = nodes(*[50 * GB] * 8, zones=[0, 0, 1, 1, 2, 2, 3, 3])
        self.assertIsNone(headroom.worst_lack(four, 3))
        four[5] = four[5]._replace(room=19 * GB)
        self.assertEqual(headroom.Lack(0, 'n5', 20 * GB, 19 * GB),
                         headroom.worst_lack(four, 3))

    def test_by_weight(self):
        rooms = 40 * GB, 15 * GB, 15 * GB, 30 * GB
        self.assertIsNone(headroom.worst_lack(
            nodes(*rooms, weights=[128, 64, 64, 128]), 3))
        self.assertEqual(
            headroom.Lack(0, 'n1', 20 * GB, 15 * GB),
            headroom.worst_lack(nodes(*rooms), 3))

    def test_without_one_node(self):
        """…the others of its zone take their share."""
        some = nodes(50 * GB, 20 * GB, 19 * GB, 50 * GB,
                     zones=[0, 0, 1, 2])
        self.assertEqual(headroom.Lack(0, 'n2', 20 * GB, 19 * GB),
                         headroom.lack_without(some, 3, 'n0'))
        self.assertIsNone(headroom.lack_without(some, 4, 'n0'))
        self.assertIsNone(headroom.lack_without(some, 3, 'n2'))
        self.assertIsNone(headroom.lack_without(some, 3, 'n9'))

    def test_for_what_is_new(self):
        some = nodes(10 * GB, 30 * GB, weights=[64, 128])
        self.assertIsNone(headroom.lack_for(some, 30 * GB))
        self.assertEqual(headroom.Lack(0, 'n0', 11 * GB, 10 * GB),
                         headroom.lack_for(some, 33 * GB))
        self.assertIsNone(headroom.lack_for([], 1))

    def test_gateways_take_nothing(self):
        self.assertIsNone(headroom.worst_lack(
            nodes(0, 0, 0, 0, weights=[1, 1, 1, 0]), 3))
