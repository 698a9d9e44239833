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

from sheepdog.model import errors
from sheepdog.peer import links as links_module
from sheepdog.peer import server as server_module
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.wire import peer as wire


class Cluster:
    """The other sheep's."""

    view = None

    def __init__(self, incarnation):
        self.incarnation = incarnation
        self.heard = []
        self.answer = {'ok': True}

    async def handle(self, sender, message):
        self.heard.append((sender, message))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TestLinks(jumping.Case):

    async def asyncSetUp(self):
        self.fabric = flock.Fabric()
        self.world = flock.World('10.0.0.1', self.fabric)
        self.ours = 'n1.1'
        self.links = links_module.Links(
            self.world, lambda: self.ours, flock.open_access(self.world))
        self.others = {}
        self.members = [self.add(n) for n in (2, 3)]

    def add(self, number, life=1):
        host = '10.0.0.%d' % number
        cluster = Cluster('n%d.%d' % (number, life))
        world = flock.World(host, self.fabric)
        server = server_module.Server(world, cluster,
                                      flock.open_access(world))
        world.listen(lambda: flock.Door(server))
        self.others[cluster.incarnation] = cluster, server, world
        return flock.view_model.Member(
            node='n%d' % number, incarnation=cluster.incarnation, host=host,
            port=flock.PORT, zone=number, vnodes=1)

    async def asyncTearDown(self):
        self.links.close()
        await flock.turns()
        for _, _, world in self.others.values():
            await world.close()
            self.assertEqual(world.failures, [])
        await self.world.close()
        self.assertEqual(self.world.failures, [])

    async def test_one_of_each_kind(self):
        one, two = self.members
        self.assertIs(self.links.data(one), self.links.data(one))
        self.assertIsNot(self.links.data(one), self.links.data(two))
        self.assertIsNot(self.links.data(one), self.links.control(one))

    async def test_data_goes_over_the_second_network(self):
        member = flock.view_model.Member(
            node='n9', incarnation='n9.1', host='10.0.0.9', port=7000,
            zone=9, vnodes=1, data_host='10.1.0.9', data_port=7001)
        self.assertEqual(self.links.data(member).address,
                         ('10.1.0.9', 7001))
        self.assertEqual(self.links.control(member).address,
                         ('10.0.0.9', 7000))

    async def test_messages(self):
        one = self.members[0]
        cluster = self.others['n2.1'][0]
        self.assertEqual(
            await self.links.call(one, {'kind': 'ping'}, 1), {'ok': True})
        self.assertEqual(cluster.heard, [('n1.1', {'kind': 'ping'})])
        cluster.answer = errors.VdiLocked('by somebody')
        with self.assertRaisesRegex(errors.VdiLocked, 'by somebody'):
            await self.links.call(one, {'kind': 'ping'}, 1)

    async def test_a_message_that_takes_too_long(self):
        cluster = self.others['n2.1'][0]

        async def handle(sender, message):
            await asyncio.sleep(10)

        cluster.handle = handle
        with self.assertRaises(errors.Unreachable):
            await self.links.call(self.members[0], {}, 0.01)

    async def test_a_younger_incarnation_does_not_answer_for_the_elder(self):
        elder = self.members[0]
        self.add(2, life=2)
        with self.assertRaises(errors.Transient):
            await self.links.call(elder, {'kind': 'ping'}, 1)
        self.assertEqual(self.others['n2.2'][0].heard, [])

    async def test_keep_only(self):
        one, two = self.members
        for member in self.members:
            await self.links.data(member).call(wire.PING)
            await self.links.call(member, {'kind': 'ping'}, 1)
        kept, gone = self.links.data(one), self.links.data(two)
        self.links.keep_only({one.incarnation})
        self.assertTrue(gone.closed)
        self.assertFalse(kept.closed)
        self.assertEqual(self.links.ready(), [kept])
        await flock.turns()
        server = self.others['n3.1'][1]
        self.assertEqual(server._sessions, {})
        again = self.links.data(two)
        self.assertIsNot(again, gone)
        await again.call(wire.PING)

    async def heard_by(self, member):
        """The incarnation of ours that a member takes a data link for."""
        await self.links.data(member).call(wire.PING)
        server = self.others[member.incarnation][1]
        session, = server._sessions.values()
        return session.incarnation

    async def test_a_new_life_has_links_of_its_own(self):
        """Also where the other side stayed the same, and between two lives
        somebody went on asking."""
        one = self.members[0]
        self.assertEqual(await self.heard_by(one), 'n1.1')
        self.links.keep_only(())
        await flock.turns()
        self.assertEqual(await self.heard_by(one), 'n1.1')
        before = self.links.data(one)
        self.ours = 'n1.2'
        self.links.keep_only({one.incarnation})
        self.assertTrue(before.closed)
        await flock.turns()
        self.assertEqual(await self.heard_by(one), 'n1.2')

    async def test_nobody_asks_in_the_name_of_an_earlier_life(self):
        one = self.members[0]
        before = self.links.data(one)
        await before.call(wire.PING)
        self.ours = 'n1.2'
        self.assertIsNot(self.links.data(one), before)
        self.assertTrue(before.closed)
        await flock.turns()
        self.assertEqual(await self.heard_by(one), 'n1.2')

    async def test_who_cannot_be_reached_is_told_of(self):
        one, two = self.members
        self.fabric.listeners.pop((one.host, flock.PORT))
        await self.links.data(two).call(wire.PING)
        for _ in range(4):
            with self.assertRaises(errors.Unreachable):
                await self.links.data(one).call(wire.PING)
            await asyncio.sleep(0.11)
        self.assertEqual(self.links.in_trouble(0.2), [one.incarnation])
        self.assertEqual(self.links.in_trouble(20), [])

        class Told(list):
            patience = 0.2

            async def complain(self, incarnation):
                self.append(incarnation)

        told = Told()
        complaining = asyncio.ensure_future(
            self.links.complain_forever(told))
        await asyncio.sleep(1.2)
        complaining.cancel()
        self.assertEqual(told, [one.incarnation])

    async def test_trouble_that_is_over(self):
        one = self.members[0]
        world = self.others['n2.1'][2]
        self.fabric.listeners.pop((one.host, flock.PORT))
        for _ in range(2):
            with self.assertRaises(errors.Unreachable):
                await self.links.data(one).call(wire.PING)
            await asyncio.sleep(0.11)
        self.assertEqual(self.links.in_trouble(0.01), [one.incarnation])
        world.listen(lambda: flock.Door(self.others['n2.1'][1]))
        await self.links.data(one).call(wire.PING)
        self.assertEqual(self.links.in_trouble(0.01), [])
