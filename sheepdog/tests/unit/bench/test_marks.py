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

from bench import marks


def row(name, cpu, iops, **more):
    return {'name': name, 'cpu_per_operation': cpu / 1e3, 'iops': iops,
            **more}


def results(**more):
    return {'rows': [], 'memory': {}, 'first_start': [], 'kills': [], **more}


class MarksTest(unittest.TestCase):

    def verdicts(self, **more):
        return [(mark.name, mark.unit, mark.verdict)
                for mark in marks.marks(results(**more))]

    def test_a_row(self):
        name = 'native random write 4K write-back, depth 32'
        for cpu, iops, wanted in (
                (0.05, 20000, ('held, and the aim', 'held, and the aim')),
                (0.06, 19999, ('held', 'held')),
                (0.11, 9999, ('MISSED', 'MISSED'))):
            self.assertEqual(
                [(name, 'CPU ms/op', wanted[0]), (name, 'IOPS', wanted[1])],
                self.verdicts(rows=[row(name, cpu, iops)]))

    def test_every_row_with_a_mark_exists(self):
        from bench import rows
        names = {one.name for one in rows.all_rows()}
        for name in marks.ROWS:
            self.assertIn('native ' + name, names)

    def test_nbd_is_held_against_native(self):
        name = 'sequential read 1M, depth 32'
        for cpu, wanted in ((1.29, 'held'), (1.31, 'MISSED')):
            self.assertEqual(
                [('nbd ' + name, 'CPU ms/op', wanted)],
                self.verdicts(rows=[row('native ' + name, 1.0, 1),
                                    row('nbd ' + name, cpu, 1)]))
        self.assertEqual([], self.verdicts(rows=[row('nbd ' + name, 1, 1)]))

    def test_memory_is_the_highest_of_all(self):
        more = {'rows': [row('x y', 1, 1, highest_bytes=90e6)],
                'memory': {'in the end': [(1e6, 99e6), (1e6, 2e6)]}}
        self.assertEqual('held', self.verdicts(**more)[0][2])
        more['rows'][0]['highest_bytes'] = 101e6
        self.assertEqual('MISSED', self.verdicts(**more)[0][2])

    def test_daemons(self):
        found = self.verdicts(
            first_start=[0.3, 1.6],
            kills=[{'start': 1.4, 'epoch_change': 0.1},
                   {'start': 0.5, 'epoch_change': 0.6}],
            soak={'highest_mb': 80.0, 'growth_mb': 9.0, 'seconds': 600})
        self.assertEqual(['MISSED', 'held', 'MISSED', 'held', 'MISSED'],
                         [verdict for _, _, verdict in found])
        self.assertIn('10 min', found[-1][0])

    def test_recovery(self):
        def verdicts(seconds, cpu, start, later, p50):
            return [mark.verdict for mark in marks.marks(results(recovery={
                'loss': {'seconds': 9.0, 'cpu': 9.0, 'read_p50': p50},
                'loss_alone': {'seconds': seconds, 'cpu': cpu},
                'rejoin': {'start': start, 'seconds': later,
                           'quiet_read_p50': 0.0001}}))]
        self.assertEqual(['held', 'held', 'held', 'held'],
                         verdicts(2.0, 1.6, 0.9, 0.9, 0.00029))
        self.assertEqual(['held, and the aim', 'held',
                          'held, and the aim', 'held'],
                         verdicts(1.1, 1.6, 0.5, 0.2, 0.0001))
        self.assertEqual(['MISSED'] * 4,
                         verdicts(2.1, 1.7, 1.0, 0.9, 0.00031))

    def test_plan(self):
        self.assertEqual(
            ['held', 'MISSED'],
            [verdict for seconds in (1.0, 1.1) for _, _, verdict
             in self.verdicts(plan={'cpu': seconds})])

    def test_table(self):
        self.assertEqual('', marks.table(results()))
        text = marks.table(results(rows=[
            row('native random read 4K, depth 32', 0.0123, 61234)]))
        for part in ('0.0123', '<= 0.015', '0.008', '61234', '>= 60000',
                     '120000', 'held'):
            self.assertIn(part, text)
