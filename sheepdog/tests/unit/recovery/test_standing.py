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
import numpy

from sheepdog.model import view as view_model
from sheepdog.recovery import standing as standing_module


def view(epoch):
    return view_model.View(epoch, 1, 0.0, ())


def standing_of(is_target):
    return standing_module.Standing(is_target, lambda view, oids: numpy.array(
        [is_target(view, oid) for oid in oids.tolist()], dtype=bool))


class TestStanding(unittest.TestCase):
    """``targets``: the epochs in which we are a target of each object."""

    def setUp(self):
        self.targets = {}
        self.standing = standing_of(
            lambda view, oid: view.epoch in self.targets.get(oid, ()))

    def test_nothing_is_known_at_first(self):
        self.assertTrue(self.standing.active)
        self.assertFalse(self.standing.is_clean(1))
        self.standing.begin(view(5))
        self.targets[1] = {5}
        self.assertFalse(self.standing.is_clean(1))
        self.assertEqual(self.standing.through(1, 5), 0)

    def test_a_trusted_start(self):
        self.standing.doubt(1)
        self.standing.begin(view(5), is_trusted=True)
        self.targets[1] = {5}
        self.assertFalse(self.standing.active)
        self.assertTrue(self.standing.is_clean(1))
        self.assertEqual(self.standing.through(1, 5), 5)
        self.assertFalse(self.standing.is_clean(2))

    def test_what_was_on_a_lost_disk(self):
        self.standing.begin(view(5), is_trusted=True)
        self.targets = {1: {5, 6, 7}, 2: {5, 6, 7}}
        self.standing.lose({1, 3})
        self.assertTrue(self.standing.active)
        self.assertFalse(self.standing.is_complete)
        self.assertEqual([self.standing.is_clean(o) for o in (1, 2)],
                         [False, True])
        self.assertEqual([self.standing.through(o, 5) for o in (1, 2)],
                         [0, 5])
        self.standing.trust(1, None)
        self.assertTrue(self.standing.is_clean(1))
        self.standing.begin(view(6))
        self.assertTrue(self.standing.is_clean(1))
        self.standing.lose({1})
        self.assertFalse(self.standing.is_clean(1))
        self.assertEqual(self.standing.through(1, 6), 0)
        self.standing.complete(view(6))
        self.assertTrue(self.standing.is_clean(1))
        self.assertEqual(self.standing.losses, 2)

    def test_target_in_all_views_since(self):
        self.standing.begin(view(5), is_trusted=True)
        self.standing.begin(view(6))
        self.targets = {1: {5, 6}, 2: {6}, 3: {5}}
        self.assertTrue(self.standing.active)
        self.assertEqual([self.standing.is_clean(o) for o in (1, 2, 3)],
                         [True, False, False])
        self.assertEqual([self.standing.through(o, 6) for o in (1, 2, 3)],
                         [6, 0, 5])

    def test_many_at_once(self):
        many = numpy.arange(1, 7, dtype=numpy.uint64)
        self.assertEqual(self.standing.unclean(many), [1, 2, 3, 4, 5, 6])
        self.standing.begin(view(5), is_trusted=True)
        self.standing.begin(view(6))
        self.targets = {1: {5, 6}, 2: {6}, 3: {5}, 4: {5, 6}, 5: {6},
                        6: {6}}
        self.standing.doubt(4)
        for oid in (5, 6):
            self.standing.trust(oid, None)
        self.standing.doubt(6)
        self.assertEqual(self.standing.unclean(many), [2, 3, 4, 6])
        self.standing.lose([1, 5])
        self.assertEqual(self.standing.unclean(many), [1, 2, 3, 4, 5, 6])
        self.standing.trust(1, None)
        self.assertEqual(self.standing.unclean(many), [2, 3, 4, 5, 6])
        self.assertEqual(self.standing.unclean(many[:0]), [])

    def test_recovered_in_a_view(self):
        self.standing.begin(view(5), is_trusted=True)
        self.standing.begin(view(6))
        self.targets = {1: {6, 8}}
        self.standing.trust(1, None)
        self.assertTrue(self.standing.is_clean(1))
        self.assertEqual(self.standing.through(1, 6), 6)
        self.standing.begin(view(7))
        self.assertFalse(self.standing.is_clean(1))
        self.standing.begin(view(8))
        self.assertFalse(self.standing.is_clean(1))

    def test_recovered_where_it_is_no_target(self):
        """What is written later in that view does not come to it: it is
        behind when it becomes a target in the next."""
        self.targets = {1: {5, 7}}
        for epoch in (5, 6):
            self.standing.begin(view(epoch))
        self.standing.doubt(1)
        self.standing.trust(1, self.standing.doubt_number(1))
        self.assertEqual([], self.standing.doubtful())
        self.assertFalse(self.standing.is_clean(1))
        self.assertEqual(self.standing.through(1, 6), 5)
        self.standing.begin(view(7))
        self.assertFalse(self.standing.is_clean(1))
        self.assertEqual(self.standing.through(1, 7), 5)

    def test_recovered_and_a_target_no_more(self):
        """It has all that was written while it was one."""
        self.targets = {1: {5, 6, 8}}
        for epoch in (5, 6):
            self.standing.begin(view(epoch))
            self.standing.trust(1, None)
        for epoch in (7, 8):
            self.standing.begin(view(epoch))
            self.assertFalse(self.standing.is_clean(1))
            self.assertEqual(self.standing.through(1, epoch), 6)
        self.standing.forget(1)
        self.assertEqual(self.standing.through(1, 8), 0)

    def test_complete(self):
        self.standing.begin(view(6))
        self.targets = {1: {6}, 2: {5}}
        self.standing.complete(view(6))
        self.assertFalse(self.standing.active)
        self.assertTrue(self.standing.is_clean(1))
        self.assertFalse(self.standing.is_clean(2))

    def test_doubts(self):
        self.standing.begin(view(5), is_trusted=True)
        self.targets = {1: {5, 6}}
        self.standing.doubt(1)
        self.assertTrue(self.standing.active)
        self.assertTrue(self.standing.is_complete)
        self.assertFalse(self.standing.is_clean(1))
        self.assertEqual(self.standing.doubtful(), [1])
        # It has all that was acknowledged, and perhaps more.
        self.assertEqual(self.standing.through(1, 5), 5)
        self.standing.begin(view(6))
        self.assertFalse(self.standing.is_clean(1))
        self.standing.trust(1, self.standing.doubt_number(1))
        self.assertTrue(self.standing.is_clean(1))

    def test_apart(self):
        standing = self.standing
        standing.begin(view(5), is_trusted=True)
        self.targets = {1: {5, 6, 7}, 2: {5, 7}, 3: {7}}
        self.assertEqual(standing_module.TOGETHER, standing.apart(1))
        standing.part(1, 5, 40, False)
        standing.doubt(1)
        self.assertEqual((5, 40, False), standing.apart(1))
        # The first time counts, but not only.
        standing.part(1, 5, 44, True)
        self.assertEqual((5, 40, True), standing.apart(1))
        # Who is no target any more does not forget it.
        standing.part(2, 5, 41, True)
        standing.doubt(2)
        standing.begin(view(6))
        self.assertEqual([1], standing.doubtful())
        self.assertEqual((5, 41, True), standing.apart(2))
        standing.begin(view(7))
        standing.part(3, 7, 50, True)
        self.assertEqual((7, standing_module.UNSURE, True),
                         standing.apart(3))
        # A doubt that came up meanwhile leaves it as it is.
        standing.trust(1, None)
        self.assertEqual((5, 40, True), standing.apart(1))
        standing.trust(1, standing.doubt_number(1))
        self.assertEqual(standing_module.TOGETHER, standing.apart(1))

    def test_together_again(self):
        standing = self.standing
        self.targets = {oid: {5} for oid in (1, 2, 3, 4, 6)}
        for end in (lambda: standing.join(1), lambda: standing.lapse(),
                    lambda: standing.forget(1), lambda: standing.lose([1]),
                    lambda: standing.complete(view(5)),
                    lambda: standing.begin(view(5), is_trusted=True)):
            standing.begin(view(5))
            standing.part(1, 5, 40, True)
            end()
            self.assertEqual(standing_module.TOGETHER, standing.apart(1))
        for oid in (1, 7):
            standing.part(oid, 5, 40, True)
        standing.doubt(1)
        standing.complete(view(5))
        # One is doubtful yet, the other is not for us.
        self.assertTrue(standing.apart(1)[2] and standing.apart(7)[2])

    def test_no_doubts_where_it_is_out_of_place(self):
        """To make it whole in the middle of an epoch would give it a
        version that it does not deserve."""
        self.targets = {1: {5}, 2: {5, 6}}
        self.standing.begin(view(5), is_trusted=True)
        self.standing.doubt(1)
        self.standing.doubt(2)
        self.standing.begin(view(6))
        self.assertEqual([2], self.standing.doubtful())
        self.assertFalse(self.standing.is_clean(1))
        self.assertEqual(5, self.standing.through(1, 6))

    def test_a_doubt_that_comes_up_meanwhile_stays(self):
        self.standing.begin(view(5), is_trusted=True)
        self.targets = {1: {5}}
        before = self.standing.doubt_number(1)
        self.standing.doubt(1)
        self.standing.trust(1, before)
        self.assertFalse(self.standing.is_clean(1))
        before = self.standing.doubt_number(1)
        self.standing.doubt(1)
        self.standing.trust(1, before)
        self.assertFalse(self.standing.is_clean(1))
        self.standing.trust(1, self.standing.doubt_number(1))
        self.assertTrue(self.standing.is_clean(1))
        self.assertFalse(self.standing.active)

    def test_a_lapse_forgets_everything(self):
        self.standing.begin(view(5), is_trusted=True)
        self.targets = {1: {5, 6, 7}}
        self.standing.doubt(2)
        self.standing.lapse()
        self.standing.begin(view(6))
        self.assertFalse(self.standing.is_clean(1))
        self.assertEqual(self.standing.through(1, 6), 0)
        self.assertEqual(self.standing.doubtful(), [])

    def test_views_are_not_kept_without_bound(self):
        self.standing.begin(view(1), is_trusted=True)
        epochs = range(2, 3 * standing_module.VIEWS_MAX)
        self.targets = {1: {1, *epochs}}
        for epoch in epochs:
            self.standing.begin(view(epoch))
        self.assertLessEqual(len(self.standing._views),
                             standing_module.VIEWS_MAX)
        self.assertFalse(self.standing.is_clean(1))
        self.standing.trust(1, None)
        self.assertTrue(self.standing.is_clean(1))

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(strategies.lists(strategies.tuples(
        strategies.sampled_from(['view', 'trust', 'complete', 'doubt',
                                 'lapse']),
        strategies.booleans()), max_size=25))
    def test_against_a_naive_twin(self, steps):
        """Twin: clean is a flag that is set by recovery and completion
        where we are a target, and lost when we are none, doubt, or lapse.
        """
        epoch = 1
        self.targets = {1: {1}}
        standing = standing_of(
            lambda view, oid: view.epoch in self.targets[oid])
        standing.begin(view(1), is_trusted=True)
        has_all, is_doubtful = True, False
        for verb, is_target in steps:
            if verb == 'view':
                epoch += 1
                if is_target:
                    self.targets[1].add(epoch)
                else:
                    has_all, is_doubtful = False, False
                standing.begin(view(epoch))
            elif verb == 'lapse':
                standing.lapse()
                has_all, is_doubtful = False, False
            elif verb == 'trust':
                standing.trust(1, standing.doubt_number(1))
                has_all, is_doubtful = epoch in self.targets[1], False
            elif verb == 'complete':
                standing.complete(view(epoch))
                has_all = epoch in self.targets[1]
            else:
                standing.doubt(1)
                is_doubtful = True
            self.assertEqual(standing.is_clean(1),
                             has_all and not is_doubtful)
            self.assertEqual(
                standing.unclean(numpy.array([1], numpy.uint64)),
                [] if standing.is_clean(1) else [1])
            if has_all:
                self.assertEqual(standing.through(1, epoch), epoch)
            self.assertTrue(standing.active or standing.is_complete)
