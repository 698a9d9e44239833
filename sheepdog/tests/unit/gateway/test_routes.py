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

import asyncio

from sheepdog.gateway import routes as routes_module
from sheepdog.model import ids
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case

VDI = case.VDI


class TestRoutes(case.FlockCase):

    def find(self, sheep, oid=None, copies=0):
        return sheep.gateway.routes.find(self.oid if oid is None else oid,
                                         copies)

    async def test_who_orders_knows_all_copies(self):
        route = self.find(self.a)
        self.assertIsNone(route.orderer)
        self.assertTrue(route.is_local)
        self.assertEqual([link.meant for link in route.links],
                         [self.b.cluster.incarnation,
                          self.c.cluster.incarnation])
        self.assertEqual(route.size, 3)
        self.assertEqual(route.members, tuple(
            s.cluster.incarnation for s in (self.a, self.b, self.c)))

    async def test_others_know_who_orders(self):
        route = self.find(self.b)
        self.assertEqual(route.orderer.meant, self.a.cluster.incarnation)
        self.assertEqual(route.ordered_by, self.a.cluster.incarnation)

    async def test_aux_is_capacity_and_serial(self):
        self.flock.lock(self.b, VDI)
        serial = self.b.cluster.state.fences[VDI]
        for oid, shift in ((self.oid, flock.SHIFT),
                           (ids.vdi_oid(VDI), 24),
                           (ids.attribute_oid(VDI, 5), 17)):
            self.assertEqual(self.find(self.b, oid).aux, shift | serial << 8)
            self.assertEqual(1 << shift, ids.capacity_of(oid, flock.SHIFT))

    async def test_the_catalogue_says_how_many_copies(self):
        self.flock.make_vdi(2, copies=2)
        oid = 2 << 32
        self.assertEqual(len(self.find(self.a, oid).members), 2)
        self.assertEqual(self.find(self.a, 3 << 32, 1).size, 1)
        self.assertNotIn(3 << 32, self.a.gateway.routes.known)

    async def test_a_route_is_kept_until_something_changes(self):
        route = self.find(self.a)
        self.assertIs(self.find(self.a), route)
        self.assertTrue(self.a.gateway.routes.is_current(route))
        self.flock.lock(self.a, VDI)
        self.assertFalse(self.a.gateway.routes.is_current(route))
        again = self.find(self.a)
        self.assertIsNot(again, route)
        self.flock.change_view()
        self.assertFalse(self.a.gateway.routes.is_current(again))
        self.assertEqual(self.find(self.a).epoch, 2)

    async def test_none_while_frozen_or_without_storage(self):
        route = self.find(self.a)
        self.flock.freeze()
        self.assertIsNone(self.find(self.a))
        self.assertFalse(self.a.gateway.routes.is_current(route))
        for sheep in self.flock.alive():
            self.flock.vnodes[sheep.name] = 0
        self.flock.change_view()
        self.assertIsNone(self.find(self.a))

    async def test_no_lease_no_route_is_current(self):
        route = self.find(self.a)
        self.a.cluster.lease = False
        self.assertFalse(self.a.gateway.routes.is_current(route))

    async def test_what_is_known_is_bounded(self):
        routes = self.a.gateway.routes
        route = self.find(self.a)
        routes.known.update(dict.fromkeys(
            range(routes_module.ROUTES_MAX), route))
        self.find(self.a, VDI << 32 | 77)
        self.assertEqual(list(routes.known), [VDI << 32 | 77])

    async def test_a_pause_ends_with_a_change(self):
        routes = self.a.gateway.routes
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = [asyncio.ensure_future(routes.pause(10))
                   for _ in range(3)]
        await flock.turns()
        routes.change()
        await asyncio.gather(*waiting)
        self.assertLess(loop.time() - began,
                        routes_module.RETRY_MAX_SECONDS / 2)

    async def test_pauses_grow_to_a_bound(self):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.a.gateway.routes.pause(0)
        self.assertLess(loop.time() - began, 0.1)
        began = loop.time()
        await self.a.gateway.routes.pause(1000)
        self.assertGreaterEqual(loop.time() - began + 0.01,
                                routes_module.RETRY_MAX_SECONDS)
