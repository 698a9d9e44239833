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

import hypothesis
from hypothesis import strategies

from sheepdog.model import view as view_model
from sheepdog.placement import moves
from sheepdog.placement import ring


def view_of(epoch, numbers):
    return view_model.View(epoch, 1, 0.0, tuple(
        view_model.Member('n%d' % number, 'n%d.%d' % (number, epoch),
                          '10.0.0.%d' % number, 7000, number, 16)
        for number in numbers))


numbers = strategies.lists(strategies.integers(1, 9), max_size=6,
                           unique=True)


class MovesTest(unittest.TestCase):

    @hypothesis.given(numbers, numbers, strategies.integers(1, 4),
                      strategies.lists(strategies.integers(0, 2 ** 64 - 1),
                                       max_size=20))
    @hypothesis.settings(deadline=None, max_examples=80)
    def test_same_as_one_by_one(self, before, after, copies, oids):
        old, new = view_of(1, before), view_of(2, after)
        old_ring, new_ring = ring.Ring(old), ring.Ring(new)
        result = moves.moves(old_ring, new_ring, oids, copies)
        expected = []
        for oid in oids:
            held = [old.members[index].node
                    for index in old_ring.targets(oid, copies)]
            wanted = [new.members[index].node
                      for index in new_ring.targets(oid, copies)]
            if set(held) != set(wanted):
                expected.append((
                    oid, set(wanted) - set(held), set(held) - set(wanted),
                    set(held) & set(wanted)))
        self.assertEqual(expected, [
            (move.oid, set(move.gains), set(move.losses), set(move.stays))
            for move in result])

    def test_a_new_incarnation_moves_nothing(self):
        old, new = view_of(1, [1, 2, 3, 4]), view_of(2, [4, 3, 2, 1])
        self.assertEqual([], moves.moves(ring.Ring(old), ring.Ring(new),
                                         range(500), 3))

    def test_only_what_the_lost_one_held_moves(self):
        old = ring.Ring(view_of(1, [1, 2, 3, 4, 5]))
        new = ring.Ring(view_of(2, [1, 2, 3, 5]))
        result = moves.moves(old, new, range(500), 3)
        held = [oid for oid in range(500) if 3 in old.targets(oid, 3)]
        self.assertEqual(held, [move.oid for move in result])
        for move in result:
            self.assertEqual(('n4',), move.losses)
            self.assertEqual(1, len(move.gains))
            self.assertEqual(2, len(move.stays))
            # In the order of the ring.
            targets = [new.view.members[index].node
                       for index in new.targets(move.oid, 3)]
            self.assertEqual([node for node in targets
                              if node in move.stays], list(move.stays))
