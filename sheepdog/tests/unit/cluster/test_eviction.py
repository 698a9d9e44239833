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

from sheepdog.cluster import decisions
from sheepdog.cluster import entries
from sheepdog.cluster import eviction
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.model import view as view_model


def member(node, zone, vnodes=128):
    return view_model.Member(
        node=node, incarnation=node + '.1', host='10.0.0.%d' % zone,
        port=7000, zone=zone, vnodes=vnodes, space=1000)


class EvictionTest(unittest.TestCase):
    def make(self, members, copies=3, is_recovered=True, **settings):
        state = self.state = state_module.State()
        view = view_model.View(1, 1, 1.0, tuple(members))
        self.apply({'kind': 'format', 'view': view.to_dict(),
                    'settings': view_model.ClusterSettings(
                        created=5, copies=copies, **settings).to_dict()})
        if is_recovered:
            for one in members:
                self.apply({'kind': 'recovered', 'epoch': 1,
                            'incarnation': one.incarnation})
        return state

    def apply(self, event, time=1.0):
        self.state.apply(self.state.next_record(1, time, event))

    def four(self, **settings):
        return self.make([member(node, zone) for zone, node
                          in enumerate('abcd', 1)], **settings)

    def test_one_can_be_spared(self):
        state = self.four()
        self.assertEqual('', eviction.refusal(state, 'b'))
        event, _ = decisions.decide('evict', {'node': 'b'}, state)
        self.apply(event, 100.0)
        self.assertEqual({'b'}, state.evicted_nodes())
        self.assertEqual(130.0, eviction.back_at(state.evicted['b']))

    def test_never_two(self):
        state = self.make([member(node, zone) for zone, node
                           in enumerate('abcdef', 1)])
        self.apply({'kind': 'evict', 'node': 'b'})
        self.assertIn('another', eviction.refusal(state, 'c'))
        self.assertEqual('', eviction.refusal(state, 'c', by_hand=True))
        self.assertIn('no objects', eviction.refusal(state, 'b'))

    def test_not_below_the_zones_of_the_copies(self):
        state = self.make([member('a', 1), member('b', 2), member('c', 3),
                           member('d', 3), member('e', 4, 0)])
        for node, is_spare in (('a', False), ('c', True), ('d', True)):
            self.assertEqual(is_spare, not eviction.refusal(state, node))
        self.assertIn('2 zones', eviction.refusal(state, 'a'))
        self.assertEqual('', eviction.refusal(state, 'a', True, True))
        self.assertIn('no objects', eviction.refusal(state, 'e', True, True))
        self.assertIn('no member', eviction.refusal(state, 'x', True, True))

    def test_a_vdi_with_more_copies_counts(self):
        state = self.four(copies=2)
        self.assertEqual('', eviction.refusal(state, 'a'))
        self.apply({'kind': 'vdi-create', 'entry': entries.VdiEntry(
            7, 'v', copies=4).to_dict()})
        self.assertIn('4 copies', eviction.refusal(state, 'a'))

    def test_strict_is_strict(self):
        state = self.make([member(node, zone) for zone, node
                           in enumerate('abc', 1)], strict=True)
        self.assertTrue(eviction.refusal(state, 'a', True, True))

    def test_never_the_last(self):
        state = self.make([member('a', 1), member('b', 2, 0)], copies=1)
        self.assertTrue(eviction.refusal(state, 'a', True, True))

    def test_not_while_anything_is_to_be_recovered(self):
        state = self.four(is_recovered=False)
        self.assertIn('not whole', eviction.refusal(state, 'a'))
        self.assertEqual('', eviction.refusal(state, 'a', True, True))
        with self.assertRaises(errors.InvalidParameters):
            decisions.decide('evict', {'node': 'a'}, state)

    def test_not_while_recovery_is_disabled(self):
        state = self.four()
        self.apply({'kind': 'settings',
                    'changes': {'recovery_enabled': False}})
        self.assertIn('disabled', eviction.refusal(state, 'a'))

    def test_later_each_time(self):
        state = self.four()
        now = 0.0
        waits = []
        for _ in range(9):
            self.apply({'kind': 'evict', 'node': 'a'}, now)
            waits.append(eviction.back_at(state.evicted['a']) - now)
            now += waits[-1]
            self.apply({'kind': 'readmit', 'node': 'a'}, now)
        self.assertEqual([30, 60, 120, 240, 480, 960, 1920, 3600, 3600],
                         waits)
        self.apply({'kind': 'evict', 'node': 'a'},
                   now + state_module.FORGET_SECONDS)
        self.assertEqual(1, state.evicted['a'].times)

    def test_only_who_is_out_comes_back(self):
        state = self.four()
        with self.assertRaises(errors.InvalidParameters):
            decisions.decide('readmit', {'node': 'a'}, state)
        with self.assertRaises(errors.InvalidParameters):
            self.apply({'kind': 'readmit', 'node': 'a'})

    def test_missed_when_zones_are_too_few(self):
        away = member('d', 4, 0)
        three = [member(node, zone) for zone, node in enumerate('abc', 1)]
        for members, copies, is_missed in (
                (three, 3, False), (three[:2], 3, True),
                (three[:2], 2, False)):
            state = self.make(members + [away], copies)
            self.assertEqual(is_missed, eviction.is_missed(state, away))
        state = self.make(three[:2] + [member('d', 2, 0)])
        self.assertFalse(eviction.is_missed(state, state.view.members[2]))

    def test_kept_in_files_and_messages(self):
        state = self.four()
        self.apply({'kind': 'evict', 'node': 'a', 'by_hand': True}, 9.0)
        again = state_module.State.from_dict(state.to_dict())
        self.assertEqual(state.evicted, again.evicted)
        self.assertTrue(again.evicted['a'].by_hand)
        old = state.to_dict()
        del old['evicted']
        self.assertEqual({}, state_module.State.from_dict(old).evicted)
        other = state.copy()
        self.apply({'kind': 'readmit', 'node': 'a'}, 10.0)
        self.assertTrue(other.evicted['a'].is_out)
