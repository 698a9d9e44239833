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

"""Tokens that outlive the view."""

import types
import unittest

from sheepdog.peer import marks
from sheepdog.peer import tokens


def view_of(*incarnations):
    return types.SimpleNamespace(members=[
        types.SimpleNamespace(incarnation=one) for one in incarnations])


class TokensTest(unittest.TestCase):

    def setUp(self):
        self.cluster = types.SimpleNamespace(view=view_of('a', 'b', 'c'))
        self.tokens = tokens.Tokens(self.cluster)

    def test_places_change(self):
        token = 1 << marks.COUNT_BITS | 77
        lasting = self.tokens.lasting(token)
        self.assertEqual(token, self.tokens.here(lasting))
        self.cluster.view = view_of('x', 'c', 'a', 'b')
        self.assertEqual(3 << marks.COUNT_BITS | 77,
                         self.tokens.here(lasting))
        self.assertEqual(lasting, self.tokens.lasting(
            3 << marks.COUNT_BITS | 77))

    def test_who_is_gone_asks_no_more(self):
        lasting = self.tokens.lasting(1 << marks.COUNT_BITS | 77)
        self.cluster.view = view_of('a', 'c')
        self.assertIsNone(self.tokens.here(lasting))
        self.cluster.view = None
        self.assertIsNone(self.tokens.here(lasting))

    def test_a_token_of_nobody(self):
        self.assertEqual(0, self.tokens.lasting(3 << marks.COUNT_BITS | 1))
        self.assertIsNone(self.tokens.here(0))


class KeptTest(unittest.TestCase):

    def test_what_a_settlement_kept(self):
        known = marks.Marks()
        token = 1 << marks.COUNT_BITS | 5
        known.replace(9, [token])
        self.assertFalse(known.was_kept(9, token))
        known.replace(9, [token], True)
        self.assertTrue(known.was_kept(9, token))
        known.note(9, token + 1)
        self.assertFalse(known.was_kept(9, token + 1))
        known.renumber({1: 0})
        self.assertFalse(known.was_kept(9, token))
        self.assertTrue(known.was_kept(9, 5))
        known.replace(9, [])
        self.assertFalse(known.was_kept(9, 5))
