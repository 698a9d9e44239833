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

import types
import unittest
from unittest import mock

import numpy

from sheepdog.cluster import entries
from sheepdog.model import ids
from sheepdog.model import view as view_model
from sheepdog.peer import answers
from sheepdog.placement import ring
from sheepdog.recovery import standing as standing_module
from sheepdog.recovery import wanted as wanted_module
from sheepdog.wire import peer as wire

COPIES = {1: 2, 2: 3, 3: 2}
DELETED = 3
OIDS = sorted([vdi << 32 | number for vdi in COPIES for number in range(60)]
              + [ids.vdi_oid(1), ids.vdi_oid(2)])


def view(epoch, nodes):
    return view_model.View(epoch, 1, 0.0, tuple(
        view_model.Member('n%d' % n, 'n%d.1' % n, '10.0.0.%d' % n, 7000, n,
                          20) for n in nodes))


class Peers:
    """Stands in for ``links``, ``order``, ``store`` and ``cluster`` of n0:
    whoever was a target in the view before has the object."""

    incarnation = 'n0.1'

    def __init__(self, before):
        self.before = ring.Ring(before)
        self.view = None
        self.coded = None
        self.asked = []
        self.answering = None
        self.gone = {ids.data_oid(DELETED, 0): (entries.EVERY_INDEX, ())}
        self.state = types.SimpleNamespace(
            gone_below=lambda oid: self.gone.get(oid, (0, ())))

    def copies(self, oid):
        return COPIES[ids.vdi_of(oid)]

    def copies_at(self, oid, epoch):
        return self.copies(oid)

    def code(self, oid):
        return (2, 1) if ids.vdi_of(oid) == self.coded else None

    def copies_max(self):
        return max(COPIES.values())

    def of(self, node):
        return [oid for oid in OIDS if node in
                [self.before.view.members[index].node for index
                 in self.before.targets(oid, self.copies(oid))]]

    def oids(self):
        return self.of('n0')

    def data(self, member):
        async def call(opcode, epoch, aux, offset, timeout):
            self.asked.append((opcode, epoch, aux, offset, member.node))
            return 0, 0, answers.pack_list(self.of(member.node))

        return types.SimpleNamespace(call=call)


class WantedTest(unittest.IsolatedAsyncioTestCase):

    def setUp(self):
        self.before, self.now = view(4, range(6)), view(5, range(5))
        self.peers = peers = Peers(self.before)
        self.standing = standing_module.Standing(
            None, lambda *args: self.wanted.are_targets(*args))
        self.wanted = wanted_module.Wanted(
            peers, peers, peers, peers, self.standing, ring.Ring,
            lambda view, oid: view is self.now or oid & 1)
        peers.view = self.now
        self.standing.begin(self.before, is_trusted=True)
        self.standing.begin(self.now)

    def is_held(self, view, oid):
        return 'n0' in [view.members[index].node for index in
                        ring.Ring(view).targets(oid, self.peers.copies(oid))]

    async def find(self):
        return await self.wanted.find(self.now, lambda: False)

    async def test_are_targets(self):
        for view in (self.before, self.now):
            self.assertEqual(
                [self.is_held(view, oid) for oid in OIDS],
                self.wanted.are_targets(view, OIDS).tolist())
        self.assertFalse(self.wanted.are_targets(
            wanted_view_without_us(), OIDS).any())

    async def test_strips_of_other_targets(self):
        """Where a strip was kept in a view of before it may be another."""
        self.peers.coded = ids.vdi_of(OIDS[0])
        for view, is_now in (self.before, False), (self.now, True):
            self.assertEqual(
                [self.is_held(view, oid) and (
                    is_now or ids.vdi_of(oid) != self.peers.coded
                    or bool(oid & 1)) for oid in OIDS],
                self.wanted.are_targets(view, OIDS).tolist())

    async def test_what_comes_here(self):
        expected = [oid for oid in OIDS if self.is_held(self.now, oid)
                    and not self.is_held(self.before, oid)
                    and ids.vdi_of(oid) != DELETED]
        self.assertTrue(expected)
        self.assertEqual(expected, await self.find())
        self.assertEqual([(wire.LIST, 5, 3, 0, 'n%d' % n)
                          for n in range(1, 5)], self.peers.asked)

    async def test_what_was_lost_here(self):
        """It is looked for as it is now: it may have come to be only a
        moment ago."""
        expected = await self.find()
        lost = [oid for oid in OIDS if self.is_held(self.now, oid)
                and self.is_held(self.before, oid)
                and ids.vdi_of(oid) != DELETED][:3]
        self.standing.lose(lost)
        self.peers.asked.clear()
        self.assertEqual(sorted(expected + lost), await self.find())
        self.assertEqual([1] * 4, [asked[3] for asked in self.peers.asked])

    async def test_all_that_is_not_known_to_be_whole(self):
        self.standing.lapse()
        self.assertEqual([oid for oid in OIDS if self.is_held(self.now, oid)
                          and ids.vdi_of(oid) != DELETED], await self.find())

    async def test_what_is_turned_into_another_form(self):
        self.standing.lapse()
        self.peers.gone[ids.data_oid(1, 0)] = 40, (7, 20, 39)
        self.assertEqual(
            [oid for oid in OIDS if self.is_held(self.now, oid)
             and ids.vdi_of(oid) != DELETED
             and (not ids.is_data(oid) or ids.vdi_of(oid) != 1
                  or ids.index_of(oid) in (7, 20, 39, *range(40, 60)))],
            await self.find())

    async def test_in_batches(self):
        expected = await self.find()
        for size in (1, 7):
            with mock.patch.object(wanted_module, 'BATCH', size):
                self.assertEqual(expected, await self.find())

    async def test_it_ends_when_another_view_has_come(self):
        self.assertIsNone(await self.wanted.find(self.now, lambda: True))

    def test_batches(self):
        found = [batch.tolist() for batch in wanted_module.batches(
            [5, 3], [numpy.array([9, 3], numpy.uint64)])]
        self.assertEqual([[3, 5, 9]], found)
        self.assertEqual([[]], [batch.tolist() for batch
                                in wanted_module.batches([], [])])


def wanted_view_without_us():
    return view(6, range(1, 4))
