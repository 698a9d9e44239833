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

import numpy

from sheepdog.model import view as view_model
from sheepdog.placement import moves
from sheepdog.placement import ring
from sheepdog.tests.unit.placement import test_ring

MEMBERS = 1000
OBJECTS = 60000
COPIES = 3


def oids_of(count):
    """Objects of several VDIs."""
    return numpy.array([(1 + number % 7) << 32 | number // 7
                        for number in range(count)], dtype=numpy.uint64)


def without(view, *lost):
    return view_model.View(view.epoch + 1, 1, 0.0, tuple(
        member for index, member in enumerate(view.members)
        if index not in lost))


class HeldTest(unittest.TestCase):

    def setUp(self):
        self.ring = ring.Ring(test_ring.view_of(
            [('10.0.0.%d' % n, 7000, n % 4, 20 * (n != 3))
             for n in range(9)]))
        self.oids = oids_of(300)

    def test_as_one_by_one(self):
        for copies in (1, 3, 9):
            shares = moves.Shares(self.ring, self.oids, copies)
            for index in range(9):
                expected = [oid for oid in self.oids.tolist()
                            if index in self.ring.targets(oid, copies)]
                held = moves.held(self.ring, self.oids, copies, index)
                self.assertEqual(expected, self.oids[held].tolist())
                self.assertEqual(expected, shares.of(index).tolist())

    def test_nothing_and_nobody(self):
        self.assertEqual(0, len(moves.Shares(self.ring, [], 2).of(0)))
        nobody = ring.Ring(test_ring.view_of([('10.0.0.1', 7000, 1, 0)]))
        self.assertEqual([False] * 300, moves.held(
            nobody, self.oids, 2, 0).tolist())
        self.assertEqual(0, len(moves.Shares(nobody, self.oids, 2).of(0)))


class MovedTest(unittest.TestCase):
    """A thousand members: what moves is what was lost, and little more."""

    def moved(self, before, after):
        """Copies that come to be elsewhere, by member of ``after``."""
        return moves.moved(ring.Ring(before), ring.Ring(after),
                           oids_of(OBJECTS), COPIES)

    def lost(self, view, index):
        return int(moves.held(ring.Ring(view), oids_of(OBJECTS), COPIES,
                              index).sum())

    def check_loss(self, view, lost):
        moved = self.moved(view, without(view, lost))
        ideal = self.lost(view, lost)
        self.assertGreater(ideal, OBJECTS * COPIES / MEMBERS / 2)
        self.assertGreaterEqual(moved.sum(), ideal)
        self.assertLessEqual(moved.sum(), 1.1 * ideal)
        # And many share the work: nobody has more than a tenth of it.
        self.assertLessEqual(moved.max(), ideal / 10)

    def test_one_lost_each_in_a_zone_of_its_own(self):
        view = test_ring.uniform_view(MEMBERS)
        for lost in (0, 499, 999):
            self.check_loss(view, lost)

    def test_one_lost_of_ten_in_each_zone(self):
        self.check_loss(test_ring.view_of(
            ('10.%d.%d.7' % divmod(n, 256), 7000, n // 10, 128)
            for n in range(MEMBERS)), 500)

    def test_one_lost_of_members_of_unlike_weight(self):
        self.check_loss(test_ring.view_of(
            ('10.%d.%d.7' % divmod(n, 256), 7000, n, 64 + n % 4 * 64)
            for n in range(MEMBERS)), 502)

    def test_one_joins(self):
        view = test_ring.uniform_view(MEMBERS)
        moved = self.moved(without(view, 700), view)
        ideal = self.lost(view, 700)
        self.assertLessEqual(moved.sum(), 1.1 * ideal)
        # All of it to the one that has come.
        self.assertEqual(ideal, moved[700])

    def test_nothing_moves_without_a_change(self):
        view = test_ring.uniform_view(50)
        self.assertEqual(0, self.moved(view, without(view)).sum())
