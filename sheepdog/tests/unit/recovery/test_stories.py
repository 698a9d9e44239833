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

"""Stories of ``coded_model`` that its random seeds do not tell: each was a
way to lose what was acknowledged, or to wait for nobody for ever.
"""

import itertools
import unittest

from sheepdog.recovery import agreement
from sheepdog.tests.unit.recovery import coded_model
from sheepdog.tests.unit.recovery import disk_model


class Story:
    """Sheep are named by their digit; the one that comes first in ``ring``
    is an object's first target whenever it is up."""

    def __init__(self, data, parity, ring, **flaws):
        super().__init__(0, data, parity, len(ring), **flaws)
        self.ring = list(ring)
        self.late_share = 0.0

    def see(self, names):
        self.change_view(set(names), set(names) - self.up)

    def write(self):
        self.step_update()
        number = self.number
        while self.flight:
            self.step_deliver()
            self.step_complete()
        return number

    def begin(self, count):
        """A settlement, broken off behind so many orders."""
        return list(itertools.islice(self.settle(), count + 1))[1:]

    def end_settling(self):
        for _ in self.settle():
            pass

    @property
    def is_settled(self):
        return self.settled >= set(self.targets)


class Told(Story, coded_model.Model):
    pass


class OnDisks(Story, disk_model.DiskModel):
    pass


class ForgetfulTest(unittest.TestCase):
    """2:2. Sheep 2 had the second write, and its strip was built anew for a
    settlement that nobody began."""

    def setUp(self):
        self.model = model = Told(2, 2, '0321456')
        model.see('2145')
        model.end_settling()
        model.write()
        model.see('246')
        model.end_settling()
        self.second = model.write()
        # Two others are built, of strips that are out of place.
        model.see('03146')
        self.assertEqual(4, len(model.begin(4)))
        # Of these two, sheep 2 is.
        model.see('0321')
        self.assertEqual(3, len(model.begin(3)))
        strip = model.sheep['2'].strips[2]
        self.assertEqual((agreement.NONE, 3), (strip.generation,
                                               strip.forgotten.epoch))

    def test_it_does_not_tell_what_it_forgot(self):
        model = self.model
        # Nobody else is here who had the second write.
        model.see('215')
        self.assertEqual('for holders of 3', model.verdict().wait)
        model.end_settling()
        self.assertFalse(model.is_settled)
        model.see('2156')
        self.assertTrue(model.verdict().wait)
        model.see('21456')
        model.end_settling()
        self.assertTrue(model.is_settled)
        self.assertIn(self.second, model.sheep['2'].strips[
            model.targets['2']].content)

    def test_those_who_were_built_before_will_do(self):
        model = self.model
        model.see('03215')
        model.end_settling()
        self.assertTrue(model.is_settled)
        self.assertIn(self.second, model.sheep['0'].strips[0].content)


def two_writes(**flaws):
    """2:2 on disks. Sheep 2 has both; who has the second is only 2, 4, 0."""
    model = OnDisks(2, 2, '6321450', **flaws)
    model.see('2145')
    model.end_settling()
    model.write()
    model.see('240')
    model.end_settling()
    model.write()
    return model


class LostDiskTest(unittest.TestCase):
    """2:2. Sheep 2 had the second write, on a disk that it has lost. It has
    another strip, which was built for a settlement that nobody began."""

    def told(self, **flaws):
        model = two_writes(**flaws)
        model.see('63140')
        self.assertEqual(4, len(model.begin(4)))
        model.see('6321')
        self.assertEqual(3, len(model.begin(3)))
        strips = model.sheep['2'].strips
        self.assertEqual({2, 3}, set(strips))
        model.lose_disk('2', 0)
        self.assertEqual({3}, set(model.sheep['2'].strips))
        model.see('215')
        return model

    def test_what_it_has_does_not_stand_for_what_it_lost(self):
        model = self.told()
        self.assertEqual('for holders of 3', model.verdict().wait)
        model.see('2154')
        self.assertTrue(model.verdict().wait)
        model.see('21540')
        model.end_settling()
        self.assertTrue(model.is_settled)

    def test_believing_whoever_has_any_strip_is_found(self):
        model = self.told(asks_no_index=True)
        with self.assertRaises(coded_model.Lost):
            model.end_settling()


class BuiltAgainTest(unittest.TestCase):
    """2:2. Sheep 2 had the second write, on a disk that it has lost. The
    same strip was built there again, for a settlement that nobody began."""

    def told(self, **flaws):
        model = two_writes(**flaws)
        model.lose_disk('2', 0)
        model.see('2401')
        model.begin(3)
        self.assertEqual({2: agreement.NONE}, {
            index: strip.generation
            for index, strip in model.sheep['2'].strips.items()})
        model.see('215')
        return model

    def test_it_does_not_stand_for_what_was_lost(self):
        model = self.told()
        self.assertEqual('for holders of 3', model.verdict().wait)
        # With what sheep 4 has, it was built of the second write.
        model.see('2154')
        model.end_settling()
        self.assertTrue(model.is_settled)

    def test_believing_it_is_found(self):
        model = self.told(asks_no_generation=True)
        with self.assertRaises(coded_model.Lost):
            model.end_settling()
