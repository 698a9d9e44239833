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

"""The tables of dog, to the last space: scripts parse them."""

import datetime
import unittest

from sheepdog.cmd.dog import tables
from sheepdog.tests.unit.cmd import streams


def seconds(text):
    return datetime.datetime.strptime(text, '%Y-%m-%d %H:%M:%S').replace(
        tzinfo=datetime.timezone.utc).timestamp()


CREATED = seconds('2026-11-22 08:13:44')
GIB = 1 << 30
MIB = 1 << 20


def member(port, **fields):
    return dict({'host': '127.0.0.1', 'port': port, 'vnodes': 128,
                 'zone': 0}, **fields)


INFO = {
    'status': 'ok', 'reason': '', 'missing': [], 'version': '1',
    'leader': {'host': '127.0.0.1', 'port': 7000},
    'settings': {
        'created': int(CREATED) << 32 | 5, 'store': 'plain', 'copies': 3,
        'copy_policy': 0, 'block_size_shift': 22, 'fixed_vnodes': False,
        'strict': False, 'recycle_ids': False, 'avoid_full': False,
        'recovery_enabled': True},
    'epochs': [
        {'epoch': 2, 'time': CREATED + 1.5,
         'members': [member(7000), member(7001)]},
        {'epoch': 1, 'time': CREATED,
         'members': [member(7000), member(7001), member(7002)]}]}

VDIS = [
    {'name': 'cl', 'tag': '', 'snap_id': 0, 'vdi_id': 0x4a297a,
     'size': 20 * MIB, 'used': 0, 'shared': 12 * MIB,
     'created': CREATED + 0.5, 'copies': 3, 'copy_policy': 0,
     'block_size_shift': 22, 'snapshot': False, 'clone': True, 'parent': 1},
    {'name': 'test', 'tag': 's1', 'snap_id': 1, 'vdi_id': 0x7c2b25,
     'size': 20 * MIB, 'used': 12 * MIB, 'shared': 0, 'created': CREATED,
     'copies': 3, 'copy_policy': 0, 'block_size_shift': 22,
     'snapshot': True, 'clone': False, 'parent': 0},
    {'name': 'test', 'tag': '', 'snap_id': 0, 'vdi_id': 0x7c2b26,
     'size': 20 * MIB, 'used': 0, 'shared': 12 * MIB, 'created': CREATED,
     'copies': 3, 'copy_policy': 0, 'block_size_shift': 22,
     'snapshot': False, 'clone': False, 'parent': 0x7c2b25}]

COUNTS = {name: 0 for name in (
    'active', 'total', 'write', 'read', 'remove', 'flush', 'bytes_written',
    'bytes_read')}


class TableTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        streams.use_utc(self)

    def check(self, lines, *expected):
        self.assertEqual(list(expected), list(lines))

    def test_cluster_info_verbose(self):
        self.check(
            tables.cluster_info(INFO, False, True),
            'Cluster status: running, auto-recovery enabled',
            'Cluster store: plain with 3 redundancy policy',
            'Cluster vnodes strategy: auto',
            'Cluster vnode mode: node',
            'Cluster created at Sun Nov 22 08:13:44 2026',
            '',
            'Epoch Time           Version [Host:Port:V-Nodes,,,]',
            '2026-11-22 08:13:45      2 '
            '[127.0.0.1:7000:128, 127.0.0.1:7001:128]',
            '2026-11-22 08:13:44      1 '
            '[127.0.0.1:7000:128, 127.0.0.1:7001:128, 127.0.0.1:7002:128]')

    def test_cluster_info(self):
        lines = list(tables.cluster_info(INFO, False, False))
        self.check(
            lines[:6],
            'Cluster status: running, auto-recovery enabled',
            '',
            'Cluster created at Sun Nov 22 08:13:44 2026',
            '',
            'Epoch Time           Version [Host:Port:V-Nodes,,,]',
            '2026-11-22 08:13:45      2 '
            '[127.0.0.1:7000:128, 127.0.0.1:7001:128]')

    def test_cluster_info_raw(self):
        self.check(
            tables.cluster_info(INFO, True, False),
            'running, auto-recovery enabled',
            '1795335224',
            '1795335225 2 [127.0.0.1:7000:128, 127.0.0.1:7001:128]',
            '1795335224 1 [127.0.0.1:7000:128, 127.0.0.1:7001:128, '
            '127.0.0.1:7002:128]')

    def test_cluster_info_waiting(self):
        waiting = dict(INFO, status='wait-format', settings=None, epochs=[])
        self.check(tables.cluster_info(waiting, False, False),
                   'Cluster status: Waiting for cluster to be formatted')
        waiting = dict(INFO, status='wait-join',
                       missing=['10.0.0.1:7000', '10.0.0.2:7000'])
        lines = list(tables.cluster_info(waiting, False, True))
        self.assertEqual(
            ['Cluster status: Waiting for other nodes to join cluster',
             'Missing nodes: 10.0.0.1:7000, 10.0.0.2:7000'], lines[:2])

    def test_cluster_info_of_coded_and_disabled(self):
        coded = dict(INFO, settings=dict(
            INFO['settings'], copies=6, copy_policy=0x22, fixed_vnodes=True,
            recovery_enabled=False))
        self.check(
            list(tables.cluster_info(coded, False, True))[:3],
            'Cluster status: running, auto-recovery disabled',
            'Cluster store: plain with 4:2 redundancy policy',
            'Cluster vnodes strategy: fixed')

    def test_node_list(self):
        nodes = [member(7000, id=0), member(7001, id=1, host='10.20.30.40',
                                            vnodes=7, zone=673059850)]
        self.check(
            tables.node_list(nodes, False),
            '  Id   Host:Port         V-Nodes       Zone',
            '   0   127.0.0.1:7000      \t128          0',
            '   1   10.20.30.40:7001    \t 7  673059850')
        self.check(
            tables.node_list(nodes, True),
            '0 127.0.0.1:7000 128 0',
            '1 10.20.30.40:7001 7 673059850')

    def test_node_list_ipv6(self):
        self.check(tables.node_list([member(7000, id=0, host='::1')], True),
                   '0 [::1]:7000 128 0')

    def node_info(self):
        return {'nodes': [
            {'id': number, 'host': '127.0.0.1', 'port': 7000 + number,
             'total': 66 * GIB + 400 * MIB, 'used': 0,
             'free': 66 * GIB + 400 * MIB} for number in range(3)],
            'virtual_bytes': 0}

    def test_node_info(self):
        self.check(
            tables.node_info(self.node_info(), False),
            'Id\tSize\tUsed\tAvail\tUse%',
            ' 0\t66 GB\t0.0 MB\t66 GB\t  0%',
            ' 1\t66 GB\t0.0 MB\t66 GB\t  0%',
            ' 2\t66 GB\t0.0 MB\t66 GB\t  0%',
            'Total\t199 GB\t0.0 MB\t199 GB\t  0%',
            '',
            'Total virtual image size\t0.0 MB')

    def test_node_info_raw(self):
        info = {'nodes': [
            {'id': 0, 'host': 'a', 'port': 1, 'total': 1000, 'used': 250,
             'free': 750},
            {'id': 1, 'host': 'b', 'port': 1, 'error': 'no answer'}],
            'virtual_bytes': 123}
        self.check(tables.node_info(info, True),
                   '0 1000 250 750 25%',
                   'Total 1000 250 750 25% 123')

    def disks(self):
        return [{'id': 'x', 'path': '/srv/a b', 'total': 1000, 'used': 250,
                 'free': 750, 'objects': 3, 'state': 'in use',
                 'problem': ''},
                {'id': 'y', 'path': '/srv/c', 'total': 66 * GIB, 'used': 0,
                 'free': 66 * GIB, 'objects': 7, 'state': 'leaving',
                 'problem': 'no space'}]

    def test_disks(self):
        lines = (
            'Id\tSize\tUsed\tAvail\tUse%\tPath',
            ' 0\t0.0 MB\t0.0 MB\t0.0 MB\t 25%\t/srv/a b',
            ' 1\t66 GB\t0.0 MB\t66 GB\t  0%\t/srv/c',
            'Disk 1 is being emptied, 7 objects are on it: no space')
        self.check(tables.disks(self.disks(), False), *lines)
        self.check(tables.all_disks(
            [{'id': 4, 'disks': self.disks()}], False), 'Node 4:', *lines)

    def test_disks_raw(self):
        lines = ('0 1000 250 750 25% /srv/a\\ b',
                 '1 %d 0 %d 0%% /srv/c' % (66 * GIB, 66 * GIB))
        self.check(tables.disks(self.disks(), True), *lines)
        self.check(tables.all_disks(
            [{'id': 4, 'disks': self.disks()}], True),
            *('4 ' + line for line in lines))

    def test_node_recovery(self):
        nodes = [member(7000, id=0, done=10, total=10),
                 member(7001, id=1, done=1, total=8)]
        self.check(
            tables.node_recovery(nodes, False),
            'Nodes In Recovery:',
            '  Id   Host:Port         V-Nodes       Zone       Progress',
            '   1   127.0.0.1:7001        128          0       12.5%')
        self.check(tables.node_recovery(nodes, True),
                   '1 127.0.0.1:7001 128 0 1 8')
        self.check(
            tables.node_recovery(nodes[:1], False),
            'Nodes In Recovery:',
            '  Id   Host:Port         V-Nodes       Zone       Progress')

    def test_node_stat(self):
        self.check(
            tables.node_stat({'client': COUNTS, 'peer': COUNTS}, False),
            'Request\tActive\tTotal\tWrite\tRead\tRemove\tFlush\tAll WR'
            '\tAll RD',
            'Client\t0\t0\t0\t0\t0\t0\t0.0 MB\t0.0 MB',
            'Peer\t0\t0\t0\t0\t0\t0\t0.0 MB\t0.0 MB')

    def test_node_stat_columns(self):
        counts = dict(zip(COUNTS, range(1, 9)), bytes_written=3 * MIB,
                      bytes_read=15 * MIB)
        self.check(
            tables.node_stat({'client': counts, 'peer': COUNTS}, True),
            'Client 1 2 3 4 5 6 3145728 15728640',
            'Peer 0 0 0 0 0 0 0 0')

    def test_node_stat_watched(self):
        before = {'client': COUNTS, 'peer': COUNTS}
        after = {'client': dict(COUNTS, total=100, bytes_written=8 * MIB,
                                bytes_read=80 * MIB), 'peer': COUNTS}
        lines = list(tables.node_stat(after, False, before, 2.0))
        self.assertTrue(lines[0].endswith('\tAll RD\tWR BW\tRD BW\tRPS'))
        self.assertTrue(lines[1].endswith(
            '\t8.0 MB\t80 MB\t4.0 MB\t40 MB\t50'))

    def test_vdi_list(self):
        self.check(
            tables.vdi_list(VDIS, False),
            '  Name        Id    Size    Used  Shared    Creation time   '
            'VDI id  Copies  Tag   Block Size Shift',
            'c cl           0   20 MB  0.0 MB   12 MB 2026-11-22 08:13   '
            '4a297a      3                22',
            's test         1   20 MB   12 MB  0.0 MB 2026-11-22 08:13   '
            '7c2b25      3            s1  22',
            '  test         0   20 MB  0.0 MB   12 MB 2026-11-22 08:13   '
            '7c2b26      3                22')

    def test_vdi_list_raw(self):
        vdi = dict(VDIS[1], tag='', snap_id=0, snapshot=False)
        self.check(
            tables.vdi_list([vdi], True),
            '= test 0 20971520 12582912 0 1795335224 7c2b25 3  22')
        self.check(
            tables.vdi_list(VDIS[:2], True),
            'c cl 0 20971520 0 12582912 1795335224 4a297a 3  22',
            's test 1 20971520 12582912 0 1795335224 7c2b25 3 s1 22')

    def test_vdi_list_raw_keeps_names_one_word(self):
        vdi = dict(VDIS[0], name='my disk\\2')
        line, = tables.vdi_list([vdi], True)
        self.assertTrue(line.startswith('c my\\ disk\\\\2 0 '), line)

    def test_vdi_list_of_small_ids_and_coded(self):
        vdi = dict(VDIS[0], vdi_id=0xabc, copies=6, copy_policy=0x22)
        line = list(tables.vdi_list([vdi], False))[1]
        self.assertIn(' 08:13      abc    4:2 ', line)

    def test_lock_list(self):
        self.check(
            tables.lock_list([], False),
            '  Name         Id  VDI id  Tag            Owner node(s)')
        locks = [
            {'name': 'test', 'tag': '', 'snap_id': 0, 'vdi_id': 0x7c2b25,
             'mode': 'exclusive', 'owners': [member(7000)]},
            {'name': 'other', 'tag': 's1', 'snap_id': 2, 'vdi_id': 0xabc,
             'mode': 'shared', 'owners': [member(7000), member(7001)]}]
        self.check(
            tables.lock_list(locks, False),
            '  Name         Id  VDI id  Tag            Owner node(s)',
            '  test          0  7c2b25                 127.0.0.1:7000',
            's other         2     abc  s1             '
            '127.0.0.1:7000, 127.0.0.1:7001')
        self.check(
            tables.lock_list(locks, True),
            '= test 0 7c2b25  127.0.0.1:7000',
            's other 2 abc s1 127.0.0.1:7000,127.0.0.1:7001')
