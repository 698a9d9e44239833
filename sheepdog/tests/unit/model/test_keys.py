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

"""Tests of sheepdog.model.keys."""

import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.model import errors
from sheepdog.model import keys
from sheepdog.model import limits

CREATED = '2026-11-22T15:20:00Z'


def key(number):
    return keys.Key.of(bytes([number]) * 36, CREATED)


class KeysTest(unittest.TestCase):

    @hypothesis.given(strategies.lists(
        strategies.binary(min_size=36, max_size=36), min_size=1,
        max_size=limits.CLUSTER_KEYS_MAX, unique_by=lambda chance: chance[:4]
    ), strategies.sampled_from(('', CREATED)))
    @hypothesis.settings(deadline=None, max_examples=60)
    def test_round_trip(self, chances, created):
        ring = keys.Keyring(tuple(keys.Key.of(chance, created)
                                  for chance in chances))
        again = keys.unpack(keys.pack(ring))
        self.assertEqual([(one.id, one.secret) for one in ring.keys],
                         [(one.id, one.secret) for one in again.keys])

    def test_a_change(self):
        ring = keys.Keyring((key(1),)).with_new(key(2))
        self.assertEqual([key(2).id, key(1).id], ring.ids)
        self.assertEqual(key(2), ring.current)
        self.assertEqual(key(1), ring.get(key(1).id))
        self.assertIsNone(ring.get('nobody'))
        self.assertIsNone(ring.get(['?']))
        self.assertEqual([key(2).id], ring.only_current().ids)

    def test_too_many(self):
        ring = keys.Keyring(tuple(
            key(n) for n in range(limits.CLUSTER_KEYS_MAX)))
        with self.assertRaises(errors.InvalidParameters):
            ring.with_new(key(99))
        with self.assertRaises(errors.InvalidParameters):
            keys.unpack(keys.pack(keys.Keyring(ring.keys + (key(99),))))

    def test_no_key_file(self):
        good = keys.pack(keys.Keyring((key(1),)))
        for content in (b'', b'# only words\n', b'\xff\xfe', good[:-4],
                        good + good, good + b'x\n',
                        good.replace(b' ', b'\t\t')[:-10]):
            with self.subTest(content):
                with self.assertRaises(errors.InvalidParameters) as caught:
                    keys.unpack(content)
                self.assertNotIn('01010101', str(caught.exception))

    def test_secrets_are_not_shown(self):
        ring = keys.Keyring((key(0xAB),))
        for text in (repr(ring), str(ring), repr(ring.current),
                     '%s' % (ring.keys,)):
            self.assertNotIn('abababababababab', text)
            self.assertNotIn(repr(ring.current.secret), text)
            self.assertIn('abababab', text)
