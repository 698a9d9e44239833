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

from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.peer import answers
from sheepdog.peer import listing
from sheepdog.placement import ring

OIDS = [1 << 32 | number for number in range(40)]


def view(epoch, count=5):
    return view_model.View(epoch, 1, 0.0, tuple(
        view_model.Member('n%d' % n, 'n%d.1' % n, '10.0.0.%d' % n, 7000, n,
                          20) for n in range(count)))


class Stub:
    """Clock, store and order in one."""

    def __init__(self):
        self.now = 0.0
        self.held = list(OIDS)
        self.lists = 0
        self.ring = ring.Ring(view(3))

    def monotonic(self):
        return self.now

    def oids(self):
        self.lists += 1
        return self.held


class ListingTest(unittest.TestCase):

    def setUp(self):
        self.stub = Stub()
        self.listing = listing.Listing(self.stub, self.stub, self.stub)

    def ask(self, index, copies, is_now=False):
        return answers.unpack_list(self.listing.answer(
            'n%d.1' % index, copies, is_now)).tolist()

    def of(self, index, copies):
        return [oid for oid in self.stub.held
                if index in self.stub.ring.targets(oid, copies)]

    def test_all(self):
        self.assertEqual(OIDS, self.ask(0, 0))

    def test_those_of_who_asks(self):
        for copies in (1, 2, 7):
            for index in range(5):
                self.assertEqual(self.of(index, copies),
                                 self.ask(index, copies))
        self.assertEqual(3, self.stub.lists)

    def test_more_copies_tell_of_more(self):
        for index in range(5):
            self.assertLess(set(self.ask(index, 2)), set(self.ask(index, 4)))

    def test_another_view(self):
        self.ask(4, 2)
        self.stub.ring = ring.Ring(view(4, 4))
        self.assertEqual(self.of(3, 2), self.ask(3, 2))
        self.assertEqual([], self.ask(4, 2))

    def test_what_has_come_to_be_is_told_later(self):
        self.ask(0, 5)
        self.stub.held = OIDS + [1 << 32 | 77]
        self.assertEqual(OIDS, self.ask(0, 5))
        self.assertEqual(self.stub.held, self.ask(0, 5, True))
        self.stub.held = OIDS[:3]
        self.stub.now += listing.KEPT_SECONDS
        self.assertEqual(self.stub.held, self.ask(0, 5))

    def test_too_many_copies(self):
        with self.assertRaises(errors.InvalidParameters):
            self.listing.answer('n0.1', listing.COPIES_MAX + 1)
