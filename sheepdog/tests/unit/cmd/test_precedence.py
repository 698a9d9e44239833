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

"""Tests of sheepdog.cmd.precedence."""

import types
import unittest

from sheepdog.cmd import precedence as precedence_module
from sheepdog.gateway import waits
from sheepdog.recovery import throttle


class Link:
    """Brings what is told at once, to one whose name is ``ours``."""

    def __init__(self, ours, other):
        self.ours = ours
        self.other = other
        self.told = []

    def tell(self, opcode, epoch, token):
        self.told.append(token)
        session = types.SimpleNamespace(incarnation=self.ours, inflight=1)
        self.other.handlers()[opcode](types.SimpleNamespace(
            token=token, session=session))
        assert not session.inflight


class Waits:
    """``wait`` is what a look finds."""

    wait = None
    forgotten = 0

    def look(self, is_quiet):
        self.was_quiet = is_quiet
        return self.wait

    def forget(self):
        self.forgotten += 1


class TestPrecedence(unittest.TestCase):

    def setUp(self):
        self.now = 0.0
        self.world = types.SimpleNamespace(clock=types.SimpleNamespace(
            monotonic=lambda: self.now))
        self.has_recovered = False
        self.links = []
        self.members = {'a': types.SimpleNamespace(address=('10.0.0.1', 7)),
                        'b': types.SimpleNamespace(address=('10.0.0.2', 7))}
        self.a = self.make('a')
        self.b = self.make('b')
        self.links.append(Link('a', self.b))

    def make(self, name):
        cluster = types.SimpleNamespace(
            incarnation=name,
            view=types.SimpleNamespace(member=self.members.get),
            state=types.SimpleNamespace(
                has_recovered=lambda: self.has_recovered))
        recovery = types.SimpleNamespace(
            is_running=False, is_postponed=False,
            grace=types.SimpleNamespace(is_on=False),
            throttle=throttle.Throttle(4))
        replica = types.SimpleNamespace(counters={'read': 0, 'write': 0})
        return precedence_module.Precedence(
            self.world, cluster, replica, Waits(), recovery,
            types.SimpleNamespace(ready=lambda: self.links), True)

    def throttle(self, one):
        return one._recovery.throttle

    def look(self, count=1):
        for _ in range(count):
            self.now += precedence_module.LOOK_SECONDS
            self.a.look()
            self.b.look()

    def test_who_is_away_is_waited_for(self):
        self.a._recovery.grace.is_on = True
        self.look()
        self.assertTrue(self.a._waits.was_quiet)
        self.a._recovery.is_running = True
        self.look()
        self.assertFalse(self.a._waits.was_quiet)

    def wait_at_a(self):
        self.a._waits.wait = waits.Wait(0.0042, 0.0011)

    def test_others_step_back_too(self):
        self.wait_at_a()
        self.look(3)
        for one in (self.a, self.b):
            self.assertEqual(self.throttle(one).allowed, 1)
            self.assertEqual(one.describe(), {
                'at_once': 1, 'share': 0.5, 'of': '10.0.0.1:7', 'ms': 4.2,
                'usual_ms': 1.1})
        self.a._waits.wait = None
        self.look(100)
        for one in (self.a, self.b):
            self.assertEqual(self.throttle(one).allowed, 4)
            self.assertIsNone(one.describe())
        self.assertEqual(self.links[0].told, [4200 << 32 | 1100] * 3)

    def test_what_is_not_known(self):
        self.a._waits.wait = waits.Wait(1e9, 0.0)
        self.look()
        self.assertIsNone(self.b.describe()['usual_ms'])

    def test_nothing_is_recovered(self):
        self.wait_at_a()
        self.look(3)
        self.has_recovered = True
        self.links[0].told.clear()
        self.look()
        self.assertTrue(self.a._waits.was_quiet)
        self.assertEqual(self.links[0].told, [])
        self.assertEqual(self.throttle(self.b).allowed, 4)
        # A copy is in doubt, here only.
        self.b._recovery.is_running = True
        self.look()
        self.assertFalse(self.b._waits.was_quiet)

    def test_it_is_postponed(self):
        self.a._recovery.is_postponed = True
        self.look()
        self.assertTrue(self.a._waits.was_quiet)
        self.assertFalse(self.b._waits.was_quiet)

    def test_switched_off(self):
        self.b.is_enabled = False
        self.wait_at_a()
        self.look(3)
        self.assertEqual(self.throttle(self.a).allowed, 1)
        self.assertEqual(self.throttle(self.b).allowed, 4)
        self.a.is_enabled = False
        self.look()
        self.assertEqual(self.throttle(self.a).allowed, 4)

    def test_it_does_not_count_for_long(self):
        self.wait_at_a()
        self.look(3)
        self.now += 10 * precedence_module.HEARD_SECONDS
        self.b.look()
        self.assertGreater(self.throttle(self.b).yielding.share, 0.5)

    def test_another_view(self):
        self.wait_at_a()
        self.look(3)
        self.b.on_view(None, None, False)
        self.assertIsNone(self.b.describe())
        self.assertEqual(self.b._waits.forgotten, 1)

    def test_slowly_at_first_where_clients_are(self):
        for used, allowed in ((None, 4), ('read', 1), ('write', 1)):
            with self.subTest(used):
                self.has_recovered = True
                self.look()
                if used:
                    self.b._counters[used] += 1
                self.look()
                self.has_recovered = False
                self.b.on_view(None, None, False)
                self.assertEqual(self.throttle(self.b).allowed, allowed)
                self.assertIsNone(self.b.describe())
        self.look(16)
        self.assertEqual(self.throttle(self.b).allowed, 4)

    def test_not_slowly_where_it_is_switched_off(self):
        self.has_recovered = True
        self.look()
        self.b.is_enabled = False
        self.b._counters['read'] += 1
        self.look()
        self.b.on_view(None, None, False)
        self.assertEqual(self.throttle(self.b).allowed, 4)

    def test_who_is_gone(self):
        self.wait_at_a()
        self.look()
        del self.members['a']
        self.assertEqual(self.b.describe()['of'], '')


if __name__ == '__main__':
    unittest.main()
