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

from sheepdog.cluster import entries
from sheepdog.cluster import state as state_module
from sheepdog.model import view as view_model
from sheepdog.peer import order as order_module

VDI = 5


class Cluster:
    def __init__(self, members):
        self.state = state_module.State()
        self.view = view_model.View(1, 1, 0.0, members)


class TestOrder(unittest.TestCase):

    def setUp(self):
        self.members = tuple(view_model.Member(
            node='n%d' % n, incarnation='n%d.1' % n, host='10.0.0.%d' % n,
            port=7000, zone=n, vnodes=8 if n < 5 else 0)
            for n in range(1, 6))
        self.cluster = Cluster(self.members)
        self.state = self.cluster.state
        self.state.settings = view_model.ClusterSettings(created=1, copies=2)
        self.order = order_module.Order(self.cluster)
        self.order.begin(self.cluster.view)

    def lock(self, mode, *owners):
        self.state.locks[VDI] = entries.Lock(mode, owners)

    def first(self, oid):
        return self.members[self.order.targets(oid)[0]].incarnation

    def test_copies_are_the_vdis_or_the_clusters(self):
        self.assertEqual(self.order.copies(VDI << 32), 2)
        self.state.vdis[VDI] = entries.VdiEntry(VDI, 'name', copies=4)
        self.assertEqual(self.order.copies(VDI << 32 | 7), 4)
        self.assertEqual(len(self.order.targets(VDI << 32)), 4)
        self.assertEqual(len(self.order.targets(VDI << 32, 1)), 1)
        self.state.settings = None
        self.assertEqual(self.order.copies(9 << 32), 1)

    def test_the_first_target_orders(self):
        for index in range(50):
            oid = VDI << 32 | index
            self.assertEqual(self.order.orderer(oid), self.first(oid))
            # …with however many copies.
            self.assertEqual(self.order.orderer(oid, 4), self.first(oid))

    def test_an_exclusive_owner_orders(self):
        self.lock('exclusive', 'n5.1')
        self.assertEqual(self.order.exclusive_owner(VDI), 'n5.1')
        self.assertEqual(self.order.orderer(VDI << 32), 'n5.1')
        self.assertEqual(self.order.orderer(9 << 32), self.first(9 << 32))

    def test_a_shared_lock_changes_nothing(self):
        self.lock('shared', 'n5.1')
        self.assertIsNone(self.order.exclusive_owner(VDI))
        self.assertEqual(self.order.orderer(VDI << 32), self.first(VDI << 32))
        self.lock('exclusive')
        self.assertIsNone(self.order.exclusive_owner(VDI))

    def test_serials(self):
        self.assertEqual(self.order.serial(VDI), 0)
        self.state.fences[VDI] = (3 << 24) + 7
        self.assertEqual(self.order.serial(VDI), 7)

    def test_nobody_stores_anything(self):
        self.cluster.view = view_model.View(2, 1, 0.0, self.members[4:])
        self.order.begin(self.cluster.view)
        self.assertIsNone(self.order.orderer(VDI << 32))
