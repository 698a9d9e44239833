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

import dataclasses
import itertools
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.model import view as view_model
from sheepdog.recovery import past


def member(node, zone=None, vnodes=1):
    return view_model.Member(
        node=node, incarnation=node + '.1', host=node, port=7000,
        zone=ord(node) if zone is None else zone, vnodes=vnodes)


def view(epoch, nodes, **options):
    return view_model.View(epoch, 1, 0.0, tuple(
        n if isinstance(n, view_model.Member) else member(n, **options)
        for n in nodes))


class TestUntold(unittest.TestCase):

    def untold(self, views, current, first=1):
        found = past.untold(views, current, first,
                            lambda v: v.members)
        return found and found.epoch

    def test_all_who_held_it_are_here(self):
        views = [view(1, 'abc'), view(2, 'ab')]
        self.assertIsNone(self.untold(views, view(3, 'abc')))

    def test_one_of_them_is_enough(self):
        self.assertIsNone(self.untold([view(1, 'abc')], view(2, 'c')))

    def test_none_of_them_is_here(self):
        views = [view(1, 'abc'), view(2, 'ab'), view(3, 'c')]
        self.assertEqual(self.untold(views, view(4, 'c')), 2)
        self.assertEqual(self.untold(views, view(4, 'a')), 3)

    def test_who_is_behind_does_not_count(self):
        views = [view(1, 'abc'), view(2, 'abd')]
        for behind, epoch in (({}, None), ({'d': 2}, 2), ({'d': 1}, 2),
                              ({'d': 3}, None), ({'c': 2}, None)):
            found = past.untold(views, view(3, 'cd'), 1, lambda v: v.members,
                                behind)
            self.assertEqual(epoch, found and found.epoch, behind)
        self.assertIsNone(past.untold(views, view(3, 'bd'), 1,
                                      lambda v: v.members, {'d': 2}))

    def test_where_all_were_behind_nobody_wrote(self):
        views = [view(1, 'abc'), view(2, 'd')]
        for current, behind, epoch in (
                ('ad', {'d': 2}, None), ('ad', {'d': 1}, None),
                ('d', {'d': 2}, 1), ('a', {}, 2)):
            found = past.untold(views, view(3, current), 1,
                                lambda v: v.members, behind)
            self.assertEqual(epoch, found and found.epoch,
                             (current, behind))

    def test_who_is_spoilt_does_not_count_while_others_are_away(self):
        views = [view(1, 'abc'), view(2, 'ab')]
        for nodes, spoilt, epoch in (
                ('a', '', None), ('a', 'a', 2), ('ac', 'a', 2),
                ('ab', 'a', None), ('ab', 'ab', 1), ('abc', 'ab', None),
                ('abc', 'abc', None), ('bc', 'c', None), ('c', 'c', 2)):
            with self.subTest(nodes=nodes, spoilt=spoilt):
                found = past.untold(views, view(3, nodes), 1,
                                    lambda v: v.members, spoilt=set(spoilt))
                self.assertEqual(epoch, found and found.epoch)

    def test_what_is_settled_is_not_asked_for(self):
        views = [view(1, 'abc'), view(2, 'ab'), view(3, 'bc')]
        self.assertIsNone(self.untold(views, view(4, 'c'), 3))

    def test_the_current_view_is_not_past(self):
        now = view(2, 'c')
        self.assertIsNone(self.untold([view(2, 'ab'), now], now))

    def test_a_view_without_storage_tells_nothing(self):
        self.assertIsNone(past.untold([view(1, 'ab')], view(2, 'c'), 1,
                                      lambda v: []))


class TestUnheard(unittest.TestCase):

    def test_all_who_may_have_been_read(self):
        views = [view(1, 'abc'), view(2, 'ab'), view(3, 'a')]
        for first, nodes, lost, epoch in (
                (1, 'abc', {}, None), (1, 'ab', {}, 1), (2, 'ab', {}, None),
                (1, 'a', {}, 2), (3, 'a', {}, None), (1, 'bc', {}, 3),
                (4, 'c', {}, None), (1, 'abc', {'b': 2}, 2)):
            with self.subTest(first=first, nodes=nodes, lost=lost):
                found = past.unheard(views, view(4, nodes), first,
                                     lambda v: v.members, lost)
                self.assertEqual(epoch, found and found.epoch)


class TestKept(unittest.TestCase):

    def kept(self, views, settled, lost=past.NOTHING):
        return past.kept(views, view(9, 'abc'), settled,
                         lambda v: v.members, lost)

    def test_who_held_it_since_all_were_whole(self):
        views = [view(1, 'abc'), view(2, 'ab'), view(3, 'abd')]
        self.assertEqual({'a': 3, 'b': 3, 'c': 1}, self.kept(views, 1))
        self.assertEqual({'a': 3, 'b': 3}, self.kept(views, 2))
        self.assertEqual({'a': 3}, self.kept(views, 2, {'b': 2}))
        self.assertEqual({}, self.kept(views, 4))

    def test_after_a_gap(self):
        """Begun by force, and recovered by all since."""
        self.assertEqual({'a': 4, 'b': 4}, self.kept(
            [view(2, 'ab'), view(4, 'ab')], 4))
        self.assertEqual({'a': 4, 'b': 4}, self.kept([view(4, 'ab')], 4))


class TestStayed(unittest.TestCase):

    def stayed(self, views, current, first=1):
        return past.stayed(views, current, first, lambda v: v.members)

    def test_who_stayed_and_who_left(self):
        views = [view(1, 'abd'), view(2, 'abc'), view(3, 'ace')]
        self.assertEqual({'a': 3, 'b': 2, 'c': 3, 'd': 1, 'e': 3},
                         self.stayed(views, view(4, 'abcde')))

    def test_who_came_back_had_left(self):
        views = [view(1, 'ab'), view(2, 'b'), view(3, 'ab')]
        self.assertEqual({'a': 1, 'b': 3}, self.stayed(views, view(4, 'a')))

    def test_who_was_started_anew_had_left(self):
        again = dataclasses.replace(member('a'), incarnation='a.2')
        views = [view(1, 'ab'), view(2, [again, 'b'])]
        self.assertEqual({'a': 1, 'b': 2}, self.stayed(views, view(3, 'a')))

    def test_a_full_stop_is_no_leaving(self):
        """The last view is that of a cold start: all have new incarnations,
        and were there until the stop. (A write of epoch 1 that c does not
        have may have been acknowledged in epoch 2.)"""
        again = [dataclasses.replace(member(name), incarnation=name + '.2')
                 for name in 'ab']
        views = [view(1, 'abc'), view(2, again)]
        self.assertEqual({'a': 2, 'b': 2, 'c': 1},
                         self.stayed(views, view(3, 'abc')))

    def test_not_from_before_the_last_write(self):
        views = [view(1, 'ab'), view(2, 'bc')]
        self.assertEqual({'b': 2, 'c': 2},
                         self.stayed(views, view(3, 'ab'), 2))
        self.assertEqual({}, self.stayed(views, view(3, 'ab'), 3))


class TestLostDisk(unittest.TestCase):
    """A sheep that has lost a disk is no witness of what it had until then.
    """

    def test_of_an_object_that_it_has_not(self):
        views = [view(1, 'ab'), view(2, 'ab'), view(3, 'ab')]
        for lost, epoch in (({'a': 2}, 2), ({'a': 3}, 3), ({'a': 0}, None),
                            ({'c': 3}, None)):
            found = past.untold(views, view(4, 'ac'), 1,
                                lambda v: v.members[:2], {}, lost)
            self.assertEqual(found and found.epoch, epoch, lost)

    def test_of_objects_that_nobody_lists(self):
        def two(view):
            return 2

        views = [view(1, 'abc')]
        self.assertIsNone(past.hidden(views, view(2, 'ac'), 1, two))
        found = past.hidden(views, view(2, 'ac'), 1, two, {'a': 1})
        self.assertEqual(found.epoch, 1)
        self.assertIsNone(past.hidden(views, view(2, 'abc'), 1, two,
                                      {'a': 1}))

    def test_who_is_waited_for(self):
        self.assertEqual(1, len(past.missing(view(1, 'ab'), view(2, 'a'))))
        one, other = past.missing(view(1, 'ab'), view(2, 'a'), {'a': 1})
        self.assertIn('a lost disk of', one)
        self.assertNotIn('disk', other)


class TestHidden(unittest.TestCase):

    def test_with_the_copies_of_each_epoch(self):
        views = [view(1, 'abc'), view(2, 'abc')]
        for copies, epoch in (({1: 1, 2: 2}, 1), ({1: 2, 2: 1}, 2),
                              ({1: 2, 2: 2}, None)):
            found = past.hidden(views, view(3, 'ab'), 1,
                                lambda view: copies[view.epoch])
            self.assertEqual(epoch, found and found.epoch)

    def test_the_list_of_one_that_is_spoilt(self):
        for nodes, copies, spoilt, is_found in (
                ('abc', 2, 'a', False), ('ab', 2, 'a', True),
                ('ab', 2, 'c', False), ('ab', 3, 'a', False),
                ('ab', 1, '', True), ('abc', 1, 'a', False)):
            with self.subTest(nodes=nodes, spoilt=spoilt):
                self.assertEqual(is_found, past.hidden(
                    [view(1, 'abc')], view(2, nodes), 1, lambda view: copies,
                    spoilt=set(spoilt)) is not None)

    def hidden(self, views, current, copies, first=1):
        found = past.hidden(views, current, first, lambda view: copies)
        return found and found.epoch

    def test_fewer_gone_than_copies(self):
        self.assertIsNone(self.hidden([view(1, 'abcde')], view(2, 'abc'), 3))

    def test_as_many_gone_as_copies(self):
        self.assertEqual(self.hidden([view(1, 'abcde')], view(2, 'ab'), 3),
                         1)

    def test_fewer_zones_than_copies(self):
        views = [view(1, 'abc'), view(2, 'bc')]
        self.assertIsNone(self.hidden(views, view(3, 'ac'), 3))
        self.assertEqual(self.hidden(views, view(3, 'a'), 3), 2)

    def test_two_of_one_zone_count_once(self):
        members = [member('a', 1), member('b', 1), member('c', 2)]
        self.assertIsNone(self.hidden([view(1, members)],
                                      view(2, members[2:]), 2))

    def test_gateways_hold_nothing(self):
        members = [member('a'), member('b'), member('g', 9, vnodes=0)]
        self.assertIsNone(self.hidden([view(1, members)],
                                      view(2, members[:2]), 1))
        self.assertIsNone(self.hidden([view(1, members[2:])],
                                      view(2, members[:2]), 1))

    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(
        strategies.lists(strategies.integers(1, 4), min_size=1, max_size=6),
        strategies.data(), strategies.integers(1, 4))
    def test_against_all_placements(self, zones, data, copies):
        """Twin: is there a choice of copies in distinct zones, all gone?"""
        members = [member(chr(97 + i), zone)
                   for i, zone in enumerate(zones)]
        here = data.draw(strategies.sets(strategies.sampled_from(members)))
        count = min(copies, len(set(zones)))
        possible = any(
            len({m.zone for m in holders}) == count
            and not here & set(holders)
            for holders in itertools.combinations(members, count))
        self.assertEqual(
            self.hidden([view(1, members)], view(2, sorted(
                here, key=lambda m: m.node)), copies) is not None, possible)

    def test_who_is_missing(self):
        self.assertEqual(past.missing(view(1, 'abc'), view(2, 'b')),
                         ['a:7000', 'c:7000'])
