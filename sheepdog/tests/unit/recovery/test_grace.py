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

"""Tests of sheepdog.recovery.grace: who is waited for."""

import types
import unittest

from sheepdog.model import view as view_model
from sheepdog.recovery import grace


def member(name, zone=None, vnodes=128, life=1):
    return view_model.Member(
        node=name, incarnation='%s.%d' % (name, life), host=name, port=7000,
        zone=ord(name) if zone is None else zone, vnodes=vnodes)


def view(epoch, *members):
    return view_model.View(epoch, 1, 0.0, tuple(
        one if isinstance(one, view_model.Member) else member(one)
        for one in members))


def state(now, whole=1, recovered=None, **more):
    fields = dict(
        view=now, whole=whole, settled=whole, hurried=False, lost={},
        recovered={one.incarnation: whole for one in now.members}
        if recovered is None else recovered)
    return types.SimpleNamespace(**dict(fields, **more))


class TestMissing(unittest.TestCase):

    def missing(self, *views, **more):
        found = grace.missing(state(views[-1], **more), views)
        return ''.join(sorted(one.node for one in found))

    def test_one_is_away(self):
        self.assertEqual('d', self.missing(view(1, *'abcd'), view(2, *'abc')))

    def test_nobody_is_away(self):
        self.assertEqual('', self.missing(view(1, *'abcd')))
        self.assertEqual('', self.missing(
            view(1, *'abcd'), view(2, *'abc'),
            view(3, *'abc', member('d', life=2))))

    def test_all_of_one_zone(self):
        whole = view(1, 'a', 'b', member('c', 7), member('d', 7))
        self.assertEqual('cd', self.missing(
            whole, view(2, 'a', 'b', member('c', 7)), view(3, 'a', 'b')))
        self.assertEqual('d', self.missing(
            whole, view(2, 'a', 'b'),
            view(3, 'a', 'b', member('c', 7, life=2))))

    def test_anything_else_ends_it(self):
        for now in (view(2, *'ab'),                        # another zone
                    view(2, *'abc', 'e'),                  # one has come
                    view(2, *'ab', member('c', life=2)),   # started anew
                    view(2, *'ab', member('c', vnodes=7)),  # weighs less
                    view(2, *'ab', member('c', vnodes=0)),  # is evicted
                    view(2, *'ab', member('c', zone=9))):  # has moved
            with self.subTest(now):
                self.assertEqual('', self.missing(view(1, *'abcd'), now))
                # ... and that it is so no more does not help.
                self.assertEqual('', self.missing(
                    view(1, *'abcd'), now, view(3, *'abc')))

    def test_gateways_hold_nothing(self):
        whole = view(1, *'abcd', member('g', vnodes=0))
        self.assertEqual('d', self.missing(
            whole, view(2, *'abc', member('h', vnodes=0))))
        self.assertEqual('', self.missing(whole, view(2, *'abcd')))

    def test_the_cluster_was_not_whole(self):
        views = view(1, *'abcd'), view(2, *'abc')
        self.assertEqual('d', self.missing(*views))
        for more in (dict(whole=0), dict(settled=2), dict(hurried=True),
                     dict(lost={'b': 1}), dict(recovered={}),
                     dict(recovered={'a.1': 1, 'b.1': -1, 'c.1': 1})):
            with self.subTest(more):
                self.assertEqual('', self.missing(*views, **more))
        self.assertEqual('d', self.missing(*views, lost={'b': 0}))

    def test_the_view_is_forgotten(self):
        self.assertEqual('', self.missing(view(2, *'abc'), view(3, *'ab')))


class TestIsSpare(unittest.TestCase):

    def test_all(self):
        for copies, zones, needed, is_spare in (
                (3, 5, 1, True), (2, 5, 1, False), (1, 5, 1, False),
                (3, 2, 1, False), (5, 3, 1, True),
                (6, 7, 4, True), (5, 7, 4, False), (6, 5, 4, False),
                (4, 4, 2, True), (3, 4, 2, False)):
            with self.subTest((copies, zones, needed)):
                self.assertEqual(is_spare,
                                 grace.is_spare(copies, zones, needed))
