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

"""From scans to a plan: what fits, and each thing that does not."""

import json
import unittest

from sheepdog.legacy import formats
from sheepdog.legacy import plan as plan_module
from sheepdog.legacy import planner
from sheepdog.model import ids
from sheepdog.tests.unit.legacy import hosts as hosts_module
from sheepdog.tests.unit.legacy import original


def nodes(count=3, **options):
    return [original.Node('10.0.0.%d' % number, 7000, number, **options)
            for number in range(1, count + 1)]


def sample(count=3):
    """A VDI with a snapshot and a clone of that, and another one."""
    cluster = original.Original(nodes(count))
    disk = cluster.create('disk', 4 << 20)
    for index in range(3):
        cluster.write(disk, index, 512 * index, b'disk' * 128)
    before = cluster.snapshot('disk', 'before')
    cluster.write(cluster.working('disk'), 1, 0, b'then' * 128)
    cluster.clone(before, 'copy')
    other = cluster.create('other', 2 << 20)
    for index in range(2):
        cluster.write(other, index, 0, b'other!!!' * 64)
    cluster.set_attribute('disk', 'owner', b'alice')
    return cluster


class PlanCase(unittest.TestCase):
    def plan(self, cluster, scans=None, leave=()):
        hosts = hosts_module.Hosts(cluster)
        self.addCleanup(hosts.close)
        return planner.Planner(
            hosts.scans() if scans is None else scans(hosts), leave).make()

    def refused(self, cluster, *words, code=2, **options):
        with self.assertRaises(formats.Refused) as caught:
            self.plan(cluster, **options)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertEqual(code, caught.exception.exit_code)
        return str(caught.exception)


class FittingTest(PlanCase):
    def test_all(self):
        cluster = sample()
        made = self.plan(cluster.store())
        self.assertEqual([node.address for node in cluster.nodes],
                         [store.address for store in made.stores])
        self.assertEqual(
            [('copy', '', 0, False), ('disk', 'before', 1, True),
             ('disk', '', 0, False), ('other', '', 0, False)],
            [(one.name, one.tag, one.snap_id, one.snapshot)
             for one in sorted(made.vdis, key=lambda one: (
                 one.name, not one.snapshot))])
        self.assertEqual(
            [vdi.snapped for _, vdi in sorted(cluster.vdis.items())],
            [one.snapped for one in made.vdis])
        self.assertEqual(cluster.created, made.settings.created)
        self.assertEqual((1, 0), (made.view.epoch, made.view.term))
        self.assertEqual((), made.notes)
        self.assertEqual(made, plan_module.load(json.dumps(
            made.to_dict()).encode()))

    def test_flags(self):
        cluster = sample()
        cluster.flags = 1 | 8 | 16 | 32
        made = self.plan(cluster.store())
        settings = made.settings
        self.assertEqual((True, True, False, True), (
            settings.strict, settings.fixed_vnodes, settings.recycle_ids,
            settings.avoid_full))
        self.assertIn('will not be used again', made.notes[0])
        self.assertIn('10.0.0.1:7000: -V 128', made.notes[1])

    def test_gateways_keep_nothing(self):
        cluster = sample()
        gateway = original.Node('10.0.0.9', 7000, 9, 0)
        cluster.nodes.append(gateway)
        made = self.plan(cluster.store(), lambda hosts: [
            hosts.scan(node) for node in cluster.nodes[:3]])
        self.assertEqual(3, len(made.view.members))

    def test_whose_an_empty_store_is(self):
        """By its space, or as the operator says."""
        cluster = original.Original(nodes(2))
        for number, node in enumerate(cluster.nodes):
            node.space += number
        cluster.store()
        made = self.plan(cluster)
        self.assertEqual([node.address for node in cluster.nodes],
                         [store.address for store in made.stores])
        cluster.nodes[0].space = cluster.nodes[1].space = 5
        cluster.store()
        cluster.put(cluster.nodes[0], 'META/obj/a note', b'')
        self.refused(cluster, 'may be that of 10.0.0.1:7000, 10.0.0.2:7000: '
                     'say whose it is')
        self.plan(cluster, lambda hosts: [
            hosts.scan(node, node.address) for node in cluster.nodes])
        self.refused(cluster, '10.0.0.7:1 is none of the nodes',
                     scans=lambda hosts: [
                         hosts.scan(cluster.nodes[0], '10.0.0.7:1'),
                         hosts.scan(cluster.nodes[1])])

    def test_what_nobody_names_stays(self):
        cluster = sample().store()
        for node, oid in ((cluster.nodes[0], 5 << 32),
                          (cluster.nodes[1], 0x7FFFFF00000001)):
            if node not in cluster.targets(oid, 2):
                node = cluster.targets(oid, 2)[0]
            node.files[cluster.path(node, oid)] = 1 << 20, {}
        made = self.plan(cluster)
        self.assertEqual(('2 files of objects that no VDI has are left '
                          'behind',), made.notes)
        for store in made.stores:
            for first, count in store.runs:
                self.assertIn(ids.vdi_of(first), cluster.vdis)

    def test_left_behind(self):
        cluster = sample()
        cluster.working('other').policy = 0x22
        self.refused(cluster.store(), 'VDI other is erasure coded (4:2)',
                     '--leave other')
        made = self.plan(cluster, leave=['other'])
        self.assertNotIn('other', [one.name for one in made.vdis])
        self.refused(cluster, 'no VDI nonesuch', leave=['nonesuch', 'other'])

    def test_attributes(self):
        cluster = sample()
        made = self.plan(cluster.store())
        self.assertEqual((('disk', '6f776e6572', 'YWxpY2U='),),
                         made.attributes)
        self.assertEqual('YWxpY2U=', made.state().attributes.get(
            'disk', '6f776e6572'))
        cluster.set_attribute('nobody', 'key', b'value')
        cluster.set_attribute('disk', 'key', b'value', 'before')
        made = self.plan(cluster.store())
        self.assertEqual(1, len(made.attributes))
        self.assertIn('2 attributes of snapshots, which have none here, or '
                      'of VDIs', made.notes[0])


class RefusalTest(PlanCase):
    def test_none(self):
        self.refused(sample().store(), 'no store', code=64,
                     scans=lambda hosts: [])

    def test_a_store_is_missing(self):
        self.refused(sample().store(), 'the stores of 10.0.0.3:7000 are '
                     'missing', scans=lambda hosts: hosts.scans()[:2])

    def test_a_store_twice(self):
        self.refused(sample().store(), 'are the same store',
                     scans=lambda hosts: hosts.scans() + hosts.scans()[:1])

    def test_two_clusters(self):
        other = sample()
        other.created += 1 << 32
        found = hosts_module.Hosts(other.store())
        self.addCleanup(found.close)
        self.refused(sample().store(), 'is of another cluster',
                     scans=lambda hosts: hosts.scans()[:2]
                     + found.scans()[2:])

    def test_one_that_was_not_there_at_the_end(self):
        cluster = sample().store()
        older = hosts_module.Hosts(cluster)
        self.addCleanup(older.close)
        scans = older.scans()
        cluster.epoch = 2
        self.refused(cluster.store(), 'knows of epoch 1 only, the last one '
                     'is 2', 'empty directory',
                     scans=lambda hosts: hosts.scans()[:2] + scans[2:])

    def test_epochs_that_differ(self):
        cluster = sample().store()
        cluster.time += 1
        cluster.put(cluster.nodes[1], 'META/epoch/00000001', b''.join(
            node.record() for node in cluster.nodes) + bytes(8))
        self.refused(cluster, 'says otherwise who was there in epoch 1')

    def test_settings_that_differ(self):
        cluster = sample().store()
        cluster.copies = 3
        cluster.put(cluster.nodes[1], 'META/config', cluster.config(
            cluster.nodes[1]))
        self.refused(cluster, 'have different settings')

    def test_inodes_that_differ(self):
        cluster = sample().store()
        vdi = cluster.working('other')
        oid = ids.vdi_oid(vdi.vdi_id)
        node = cluster.targets(oid, 2)[1]
        node.files[cluster.path(node, oid)][1][4672] = b'\1'
        self.refused(cluster, 'copies of the inode of VDI %06x' % vdi.vdi_id,
                     'differ', 'dog vdi check')

    def test_vdis(self):
        for changes, word in (
                ({'policy': 0x43}, 'VDI other is erasure coded (8:3)'),
                ({'store_policy': 1}, 'VDI other is a hypervolume'),
                ({'copies': 0}, 'VDI other has 0 copies'),
                ({'size': 0}, 'VDI other has 0 bytes'),
                ({'size': 5 << 40}, 'bytes, says its inode')):
            with self.subTest(word):
                cluster = sample().store()
                vdi = cluster.working('other')
                vars(vdi).update(changes)
                oid = ids.vdi_oid(vdi.vdi_id)
                for node in cluster.targets(oid, 2):
                    node.files[cluster.path(node, oid)][1][0] = vdi.head()
                self.refused(cluster, word, '--leave other')

    def test_all_problems_at_once(self):
        cluster = sample()
        cluster.working('other').policy = 0x22
        cluster.working('copy').store_policy = 1
        said = self.refused(cluster.store(), 'other', 'copy')
        self.assertEqual(2, len(said.splitlines()))

    def test_an_object_that_is_nowhere(self):
        cluster = sample().store()
        oid = ids.data_oid(cluster.working('other').vdi_id, 1)
        for node in cluster.nodes:
            node.files.pop(cluster.path(node, oid), None)
        self.refused(cluster, 'object %016x of VDI other is in none of these '
                     'stores' % oid)

    def test_an_object_in_no_place_of_its_own(self):
        cluster = sample().store()
        oid = ids.data_oid(cluster.working('other').vdi_id, 1)
        away, = set(cluster.nodes) - set(cluster.targets(oid, 2))
        for node in cluster.targets(oid, 2):
            away.files[cluster.path(away, oid)] = node.files.pop(
                cluster.path(node, oid))
        self.refused(cluster, 'in places that no node of epoch 1 has')
        self.refused(cluster, 'object %016x of VDI other is in none of its '
                     'places' % oid, scans=lambda hosts: [
                         hosts.scan(node, node.address)
                         for node in cluster.nodes])

    def test_one_copy_is_enough(self):
        """Recovery makes the other."""
        cluster = sample().store()
        oid = ids.data_oid(cluster.working('other').vdi_id, 1)
        node = cluster.targets(oid, 2)[0]
        del node.files[cluster.path(node, oid)]
        self.plan(cluster)

    def test_an_object_of_another_length(self):
        cluster = sample().store()
        oid = ids.data_oid(cluster.working('other').vdi_id, 1)
        node = cluster.targets(oid, 2)[0]
        node.files[cluster.path(node, oid)] = 5, {}
        self.refused(cluster, 'object %016x of VDI other has another length'
                     % oid)

    def test_objects_of_a_vdi_that_is_gone(self):
        cluster = sample()
        base, = (vdi for vdi in cluster.vdis.values() if vdi.tag)
        base.name = ''
        self.refused(cluster.store(), 'VDI disk has objects of VDI %06x, '
                     'which is left behind' % base.vdi_id,
                     'VDI copy has objects')
        base.name = 'disk'
        del cluster.vdis[base.vdi_id]
        self.refused(cluster.store(), 'which is not there')

    def test_objects_of_one_that_it_does_not_come_from(self):
        cluster = sample()
        cluster.working('copy').parent = cluster.working('other').vdi_id
        self.refused(cluster.store(), 'VDI copy has objects of snapshot '
                     'before of VDI disk, but does not come from it',
                     '--leave copy')

    def test_a_deleted_one_between_them(self):
        """What it came from is known all the same."""
        cluster = sample()
        before, = (vdi for vdi in cluster.vdis.values() if vdi.tag)
        copy = cluster.working('copy')
        between = cluster.clone(before, 'between')
        between.name = ''
        copy.parent = between.vdi_id
        made = self.plan(cluster.store())
        self.assertEqual(before.vdi_id, made.state().lookup('copy').parent)

    def test_parents_in_a_circle(self):
        cluster = sample()
        other = cluster.working('other')
        other.parent = other.vdi_id
        made = self.plan(cluster.store())
        self.assertEqual(0, made.state().lookup('other').parent)

    def test_a_deleted_vdi(self):
        cluster = sample()
        cluster.working('other').name = ''
        made = self.plan(cluster.store())
        self.assertEqual(3, len(made.vdis))
        self.assertIn('has no name, as if deleted', made.notes[0])

    def test_names_twice(self):
        cluster = sample()
        cluster.working('other').name = 'copy'
        self.refused(cluster.store(), 'are both VDI copy')

    def test_strips_of_what_is_not_coded(self):
        cluster = sample().store()
        vdi_id = cluster.working('other').vdi_id
        cluster.put(cluster.nodes[0], 'META/obj/%016x_1' % (vdi_id << 32),
                    b'x')
        self.refused(cluster, 'has 1 strips of VDI other, which is not '
                     'erasure coded')


class FileTest(PlanCase):
    def test_what_is_none(self):
        good = self.plan(sample().store()).to_dict()
        for changes in (
                {'kind': 'x'}, {'format': 2}, {'settings': {}},
                {'views': []}, {'vdis': [{}]}, {'stores': [{}]},
                {'vdis': good['vdis'] * 2}, {'notes': 5},
                {'stores': [dict(good['stores'][0], node='nobody')]},
                {'stores': [dict(good['stores'][0], runs=[[1]])]},
                {'attributes': [['disk', 'key', 'value']]},
                {'attributes': [['nobody', '6b', '']]}):
            with self.subTest(changes), self.assertRaises(formats.Refused):
                plan_module.load(json.dumps(dict(good, **changes)).encode())
