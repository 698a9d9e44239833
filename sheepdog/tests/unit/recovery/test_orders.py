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
import types
import unittest

from sheepdog.model import errors
from sheepdog.recovery import agreement
from sheepdog.recovery import orders
from sheepdog.recovery import told
from sheepdog.store import history as store_history
from sheepdog.wire import peer as wire

OLD = agreement.Generation(4, 1)
NEW = agreement.Generation(6, 2)
BAD = 1, 2
TARGETS = {0: 0, 1: 1, 2: 2, 3: 4, 4: 5, 5: 3}
"""Sheep → the strip that it is to have."""
HAVE = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
"""…and has. The strip 5 died with its sheep."""


class Sheep:
    """What ``orders`` sees of a settlement, and histories of strips that
    obey. ``full``: sheep that have no room."""

    def __init__(self, full):
        self.full = full
        self.built = []
        self.settled = set()
        self.strips = {}
        for place in HAVE.items():
            self.strips[place] = history = store_history.History()
            history.generation = tuple(OLD)
        self.order = types.SimpleNamespace(code=lambda oid: (4, 2))
        self.replica = types.SimpleNamespace(
            tokens=types.SimpleNamespace(here=lambda token: None))
        self.cluster = types.SimpleNamespace(incarnation=0)

    def check(self, view):
        pass

    async def give(self, view, incarnation, oid, opcode, order):
        place = incarnation, order.index
        if opcode == wire.STRIP_ALIGN:
            self.strips[place].apply(store_history.Align(
                order.generation, frozenset()), 1)
        elif opcode == wire.STRIP_SETTLE:
            self.strips[place].apply(store_history.Settle(
                order.generation), 1)
            self.settled.add(incarnation)
        else:
            self.build(place, order)

    def build(self, place, order):
        if order.sources and place[0] in self.full:
            raise errors.NoRoom('full')
        before = self.strips.get(place, store_history.History())
        self.strips[place] = history = store_history.History()
        history.forgotten = max((before.forgotten, before.generation)
                                + before.nexts)
        if order.sources:
            history.nexts = (order.generation,)
            self.built.append(place[0])
        else:
            history.forgotten = max(history.forgotten, order.generation)

    def told(self):
        states = {}
        for (name, index), history in self.strips.items():
            states.setdefault(name, []).append(told.strip(
                index, history, types.SimpleNamespace(
                    capacity=1 << 18, version=1), name in BAD))
        return {name: told.State(tuple(states.get(name, ())), (), 0, 1)
                for name in TARGETS}

    def decide(self):
        return agreement.decide(
            [strip.seen_by(str(name)) for name, state in self.told().items()
             for strip in state.strips], 4, frozenset(map(str, TARGETS)),
            lambda epoch: frozenset(map(str, TARGETS))
            if epoch == NEW.epoch else frozenset('01234x'))

    def run(self):
        view = types.SimpleNamespace(members=[
            types.SimpleNamespace(node=str(name), incarnation=name)
            for name in TARGETS])
        asyncio.run(orders.Orders(
            self, 1, view, TARGETS, self.told(), self.decide(), NEW).run())


class BadBlocksTest(unittest.TestCase):
    """Some strips are to be built, others to be made anew."""

    def test_those_that_are_missing_are_first(self):
        sheep = Sheep(full=())
        sheep.run()
        self.assertEqual([3, 4, 5], sorted(sheep.built[:3]))
        self.assertEqual([1, 2], sorted(sheep.built[3:]))
        self.assertEqual(set(TARGETS), sheep.settled)

    def test_too_many_have_no_room(self):
        """It can be decided again, nevertheless."""
        sheep = Sheep(full=(3, 4, 5))
        self.assertRaises(errors.NoRoom, sheep.run)
        verdict = sheep.decide()
        self.assertEqual('', verdict.wait)
        self.assertEqual([0, 1, 2, 3, 4], sorted(
            strip.index for strip in verdict.usable))
        sheep.full = ()
        sheep.run()
        self.assertEqual(set(TARGETS), sheep.settled)

    def test_there_is_no_room_to_make_it_anew(self):
        sheep = Sheep(full=(1, 5))
        sheep.run()
        self.assertEqual({0, 2, 3, 4}, sheep.settled)
        for place in (1, 1), (5, 3):
            self.assertTrue(sheep.strips[place].is_left_out)
        sheep = Sheep(full=(1, 2, 5))
        self.assertRaises(errors.NoRoom, sheep.run)
        verdict = sheep.decide()
        self.assertEqual(('', NEW), (verdict.wait, verdict.generation))
        self.assertEqual(5, len(verdict.usable))
