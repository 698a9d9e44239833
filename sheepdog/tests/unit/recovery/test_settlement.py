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
from unittest import mock

from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.placement import slots
from sheepdog.recovery import agreement
from sheepdog.recovery import recovery
from sheepdog.recovery import settlement
from sheepdog.recovery import told

BORN = agreement.Generation(2, 1, True)
BEFORE = agreement.Generation(3, 2)
BROKEN_OFF = agreement.Generation(4, 3)
BUILT = agreement.Generation(5, 4)


def strip(index, generation, nexts=(), forgotten=agreement.NONE):
    return told.Told(index, generation, tuple(nexts), forgotten, 0, {}, 1,
                     4096, False)


def view_of(epoch, nodes):
    return view_model.View(epoch, 1, 0.0, tuple(
        view_model.Member(node=node, incarnation=node + '.1', host=node,
                          port=7000, zone=ord(node), vnodes=1)
        for node in nodes))


class Asking(settlement.Settlement):
    """Of one object of 2:2; hears what it is given. ``states``: node →
    its strips."""

    def __init__(self, states):
        view = view_of(6, states)
        cluster = types.SimpleNamespace(view=view, views=[view],
                                        incarnation='a.1')
        super().__init__(
            cluster, mock.Mock(), None, mock.Mock(), None, mock.Mock(),
            lambda epoch, oid: frozenset('abc'), None, None, None, {}, None,
            None)
        self.order.code.return_value = 2, 2
        self.untold.return_value = 'somebody'
        self._states = {node + '.1': told.State(tuple(strips), [], 0, 1)
                        for node, strips in states.items()}

    def check(self, view):
        pass

    def _targets(self, oid, view):
        return dict(zip(self._states, range(4)))

    async def _ask_all(self, oid, view):
        return self._states


class UntoldTest(unittest.TestCase):
    """What is told of those who know what earlier views have written."""

    def asked(self, **states):
        one = Asking(states)
        with self.assertRaises(errors.NotRecovered):
            asyncio.run(one.settle(1))
        return one.untold.call_args

    def test_who_has_forgotten_its_strip(self):
        found = self.asked(
            a=[strip(0, BORN)], b=[strip(1, BORN)],
            c=[strip(2, agreement.NONE, [BUILT], forgotten=BEFORE)], d=[])
        self.assertEqual(BORN.epoch, found.args[1])
        # What is being built is not what was there.
        self.assertEqual({'a': {0}, 'b': {1}, 'c': set(), 'd': set()},
                         found.kwargs['strips'])
        self.assertEqual({'c': BUILT.epoch}, found.kwargs['replaced'])

    def test_what_was_forgotten_is_no_more_than_what_counts(self):
        found = self.asked(
            a=[strip(0, BEFORE)], b=[strip(1, BEFORE)],
            c=[strip(2, agreement.NONE, [BUILT], forgotten=BORN)], d=[])
        self.assertEqual({}, found.kwargs['replaced'])

    def test_who_prepared_another_settlement_had_looked(self):
        found = self.asked(
            a=[strip(0, BEFORE)], b=[strip(1, BEFORE, [BUILT])],
            c=[strip(2, agreement.NONE, [BUILT], forgotten=BROKEN_OFF)],
            d=[])
        self.assertEqual(BUILT.epoch - 1, found.args[1])


class LostStripsTest(unittest.TestCase):
    """Who has lost a disk stands for what it has still, in its place."""

    def test_each_view_has_its_own_place(self):
        views = [view_of(3, 'abcd'), view_of(4, 'dcba'), view_of(5, 'dcba')]
        oid, then, now = next(
            (oid, then, now) for oid in range(99) for then, now in [[
                slots.strips_of(nodes, oid, 4)[nodes.index('c')]
                for nodes in ('abcd', 'dcba')]] if then != now)
        asked = types.SimpleNamespace(
            cluster=types.SimpleNamespace(
                views=views, state=types.SimpleNamespace(lost={'c': 4})),
            order=types.SimpleNamespace(code=lambda oid: (2, 2)),
            _members=lambda view, oid: view.members)
        for has, until in ((), 4), ({now}, 3), ({then}, 4), (
                {then, now}, None):
            with self.subTest(has=has):
                found = recovery.Recovery._lost_strips(
                    asked, oid, {'c': has})
                self.assertEqual({} if until is None else {'c': until},
                                 found)
