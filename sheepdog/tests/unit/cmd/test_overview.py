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

"""Tests of sheepdog.cmd.overview and sheepdog.cmd.states."""

import unittest

from sheepdog.cmd import overview
from sheepdog.cmd import states
from sheepdog.tests.unit.cmd.dog import test_tables as samples


def found(here=None, space=None, recovery=(), failures=(), **info):
    result = {'info': dict(samples.INFO, **info), 'here': here or {},
              'nodes': [], 'space': space, 'recovery': list(recovery),
              'vdis': []}
    if failures:
        result['failures'] = list(failures)
    return result


def epochs(*members):
    return [{'epoch': 1, 'time': 0, 'members': list(members)}]


THREE_ZONES = epochs(*(samples.member(7000 + zone, zone=zone)
                       for zone in range(3)))


class OverviewTest(unittest.TestCase):
    def test_all_is_well(self):
        self.assertEqual([], overview.warnings(found(epochs=THREE_ZONES)))
        rows = dict(overview.summary(found(epochs=THREE_ZONES)))
        self.assertEqual('', rows['waits_for'])
        self.assertEqual((3, 3), (rows['nodes'], rows['zones']))

    def test_fewer_zones_than_copies(self):
        told, = overview.warnings(found())
        self.assertIn('3 copies need as many zones', told)

    def test_fewer_zones_than_strips(self):
        result = found(epochs=THREE_ZONES)
        result['vdis'] = [{'copies': 4, 'copy_policy': 0x12},
                          {'copies': 6, 'copy_policy': 0x22},
                          {'copies': 3, 'copy_policy': 0}]
        self.assertEqual(
            ['4 strips need as many zones, and the nodes are in 3: objects of '
             'VDIs with 2:2 have fewer strips',
             '6 strips need as many zones, and the nodes are in 3: objects of '
             'VDIs with 4:2 wait for 4 zones'], overview.warnings(result))

    def test_gateways_are_no_zone(self):
        told, = overview.warnings(found(epochs=epochs(
            samples.member(1, zone=1), samples.member(2, zone=2),
            samples.member(3, zone=3, vnodes=0))))
        self.assertIn('in 2', told)

    def test_exposed(self):
        self.assertEqual([], overview.warnings(found(epochs=THREE_ZONES)))
        self.assertEqual(['this is open', 'and that'], overview.warnings(
            found({'exposed': ['this is open', 'and that']},
                  epochs=THREE_ZONES)))
        told, = overview.warnings(found(
            {'access': {'keys': ['aa', 'bb']}}, epochs=THREE_ZONES))
        self.assertIn('--finish', told)

    def test_nbd_url(self):
        for address, url in (
                ('', ''), (None, ''), ('127.0.0.1:1', 'nbd://127.0.0.1:1'),
                ("('127.0.0.1', 1)", 'nbd://127.0.0.1:1'),
                ("('::1', 1, 0, 0)", 'nbd://[::1]:1'),
                (('a', 1), 'nbd://a:1'),
                ('/run/n', 'nbd+unix:///?socket=/run/n')):
            self.assertEqual(url, overview.nbd_url(address))

    def test_space(self):
        told = overview.warnings(found(space={'nodes': [
            {'host': 'a', 'port': 1, 'total': 100, 'used': 85, 'free': 15},
            {'host': 'b', 'port': 1, 'total': 100, 'used': 84, 'free': 16},
            {'host': 'c', 'port': 1, 'total': 0, 'used': 0, 'free': 0},
            {'host': 'd', 'port': 1, 'error': 'no answer'}]},
            epochs=THREE_ZONES))
        self.assertEqual(['a:1 is 85 % full',
                          'd:1 does not tell its space: no answer'], told)

    def test_sums_leave_out_who_does_not_answer(self):
        rows = dict(overview.summary(found(space={
            'virtual_bytes': 7, 'nodes': [
                {'host': 'a', 'port': 1, 'total': 9, 'used': 1, 'free': 8},
                {'host': 'd', 'port': 1, 'error': 'no answer'}]})))
        self.assertEqual((9, 1, 8, 7), tuple(
            rows[name + '_bytes'] for name in ('total', 'used', 'free',
                                               'virtual')))

    def test_damage_and_failures(self):
        told = overview.warnings(found(
            {'bad_objects': 2, 'address': 'h:1'}, failures=['it broke'],
            epochs=THREE_ZONES))
        self.assertEqual(['it broke', 'h:1 has 2 objects with damaged '
                          'blocks'], told)

    def test_recovering(self):
        rows = dict(overview.summary(found(recovery=[
            samples.member(7000, done=1, total=4),
            samples.member(7001, done=4, total=4)])))
        self.assertEqual(['127.0.0.1:7000: 1 of 4 objects'],
                         rows['recovering'])

    def test_waiting(self):
        rows = dict(overview.summary(found(
            status='wait-format', settings=None, epochs=[], leader=None)))
        self.assertEqual('dog cluster format', rows['waits_for'])
        self.assertEqual(0, rows['nodes'])
        self.assertIn('h:1, h:2', overview.waits_for(
            {'status': 'wait-join', 'missing': ['h:1', 'h:2']}))
        self.assertEqual('no lease', overview.waits_for(
            {'status': 'lapsed', 'reason': 'no lease'}))


class StatesTest(unittest.TestCase):
    def test_all_have_words(self):
        for status in ('starting', 'wait-format', 'wait-join', 'frozen',
                       'lapsed', 'refused', 'shutdown'):
            self.assertNotEqual(status, states.show({'status': status}))

    def test_refused_says_why(self):
        self.assertIn('another cluster', states.show(
            {'status': 'refused', 'reason': 'another cluster'}))

    def test_unknown_status(self):
        self.assertEqual('new', states.show({'status': 'new'}))
