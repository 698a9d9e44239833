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

from sheepdog.cluster import api
from sheepdog.cluster import roster
from sheepdog.model import limits
from sheepdog.model import view as view_model


def info(node, **fields):
    return api.MemberInfo(**dict({
        'node': node, 'incarnation': node + '.2', 'host': '10.0.0.1',
        'port': 7000, 'zone': 1, 'space': 1000}, **fields))


def settings(**fields):
    return view_model.ClusterSettings(created=7 << 32 | 5, **fields)


class RefusalTest(unittest.TestCase):
    def refusal(self, created=0, settings_of=None, **fields):
        return roster.refusal(info('a', protocol=1, **fields), created, 1,
                              settings_of)

    def test_welcome(self):
        for given in (None, settings()):
            self.assertEqual('', self.refusal(settings_of=given))
        self.assertEqual('', self.refusal(7 << 32 | 5, settings()))
        for fixed in (False, True):
            self.assertEqual('', self.refusal(
                0, settings(fixed_vnodes=fixed), vnodes=0))
        self.assertEqual('', self.refusal(
            0, settings(fixed_vnodes=True), vnodes=9))

    def test_refused(self):
        self.assertIn('version 1 of the peer protocol, the cluster '
                      'version 2',
                      roster.refusal(info('a', protocol=1), 0, 2, None))
        self.assertIn('(created 8.000000001, this one 7.000000005)',
                      self.refusal(8 << 32 | 1, settings()))
        self.assertIn('fixed', self.refusal(0, settings(fixed_vnodes=True)))
        self.assertIn('weights', self.refusal(0, settings(), vnodes=9))


class ComposeTest(unittest.TestCase):
    def test_order_of_addresses(self):
        members = roster.compose(
            [info('a', host='10.0.0.10'), info('b', host='10.0.0.9'),
             info('c', host='::1'), info('d', host='10.0.0.9', port=80),
             info('e', host='name')], None, 1000)
        self.assertEqual('dbace', ''.join(member.node
                                          for member in members))

    def test_weights_follow_the_disks_of_now(self):
        infos = [info('a'), info('b', vnodes=77), info('c')]
        before = view_model.View(1, 1, 0.0, roster.compose(
            infos, None, 1000))
        members = roster.compose(infos, before, 1000,
                                 {'a': 500, 'b': 500, 'x': 1})
        self.assertEqual([64, 77, 128],
                         [member.vnodes for member in members])
        self.assertEqual([500, 500], [member.space
                                      for member in members[:2]])

    def test_evicted(self):
        infos = [info('a'), info('b'), info('c', vnodes=77)]
        self.assertEqual([128, 0, 0], [
            member.vnodes for member in roster.compose(
                infos, None, 1000, evicted={'b', 'c'})])
        # Better a slow one than none.
        self.assertEqual([128, 128, 77], [
            member.vnodes for member in roster.compose(
                infos, None, 1000, evicted={'a', 'b', 'c'})])

    def test_weights(self):
        members = roster.compose(
            [info('a'), info('b', space=2500), info('c', space=1),
             info('d', vnodes=0), info('e', vnodes=77),
             info('f', space=1 << 60)], None, 1000)
        self.assertEqual([128, 320, 1, 0, 77, limits.VNODES_MAX],
                         [member.vnodes for member in members])

    def test_weights_stay(self):
        before = view_model.View(1, 1, 0.0, roster.compose(
            [info('a'), info('b', vnodes=0), info('c', vnodes=5),
             info('d', vnodes=5)], None, 1000))
        members = roster.compose(
            [info('a', space=9000, zone=8), info('b'), info('c'),
             info('d', vnodes=6), info('e')], before, 1000)
        self.assertEqual([128, 128, 5, 6, 128],
                         [member.vnodes for member in members])
        self.assertEqual((1000, 8), (members[0].space, members[0].zone))

    def test_weights_that_were_told(self):
        before = view_model.View(1, 1, 0.0, roster.compose(
            [info('a'), info('b'), info('c')], None, 1000))
        members = roster.compose(
            [info('a', space=9), info('b', space=9), info('c'),
             info('d', space=9)], before, 1000, {'a': 2000, 'd': 500})
        self.assertEqual([(256, 2000), (128, 1000), (128, 1000), (64, 500)],
                         [(one.vnodes, one.space) for one in members])

    def test_numbers_that_were_set(self):
        infos = [info('a', vnodes=7), info('b', vnodes=7),
                 info('c', vnodes=0), info('d', vnodes=8)]
        members = roster.compose(infos, None, 1000, {}, {
            'a': (7, 70), 'c': (0, 70), 'd': (7, 70)})
        # (The last one was started with another number since.)
        self.assertEqual([70, 7, 0, 8], [one.vnodes for one in members])

    def test_reference(self):
        self.assertEqual(0, roster.reference_space([info('a', vnodes=0)]))
        self.assertEqual(2000, roster.reference_space(
            [info('a'), info('b', space=3000), info('c', vnodes=0)]))

    def test_reincarnate(self):
        view = view_model.View(4, 2, 5.0, roster.compose(
            [info('a'), info('b', port=7001)], None, 1000))
        now = {node: info(node, incarnation=node + '.9', port=1, zone=99,
                          space=5, data_host='h', data_port=2)
               for node in 'ab'}
        again = roster.reincarnate(view, now)
        self.assertEqual((4, 2, 5.0), (again.epoch, again.term, again.time))
        for old, new in zip(view.members, again.members):
            self.assertEqual(old.node + '.9', new.incarnation)
            self.assertEqual(('h', 2), new.data_address)
            self.assertEqual(
                (old.host, old.port, old.zone, old.vnodes, old.space),
                (new.host, new.port, new.zone, new.vnodes, new.space))
