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

"""Machines of libvirt, with its own tools: its drivers run within ``virsh``,
on definitions in a directory of the test's."""

import json
import os
import pathlib
import random
import subprocess
import tempfile
import unittest
from xml.etree import ElementTree

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / 'doc/source/libvirt').glob('*.xml'))
SIZE = 48 << 20
MACHINE = """
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>%s</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' io='native'>
        <metadata_cache><max_size unit='KiB'>64</max_size></metadata_cache>
      </driver>
      <source file='%s'/>
      <target dev='vda' bus='virtio'/>
      <serial>the-first</serial>
    </disk>
    %s
    <graphics type='vnc' passwd='secret'/>
  </devices>
  <qemu:commandline><qemu:arg value='-no-hpet'/></qemu:commandline>
</domain>
"""
CDROM = """<disk type='file' device='cdrom'>
  <target dev='sda' bus='sata'/><readonly/></disk>"""
AS_ANOTHER = ('unshare', '--user', '--map-user=1000', '--map-group=1000')
"""libvirt's driver wants users of its own where root starts it."""


def _may_be_another():
    return os.geteuid() != 0 or not subprocess.run(
        (*AS_ANOTHER, 'true'), stderr=subprocess.DEVNULL).returncode


class LibvirtTest(unittest.TestCase):

    @case.needs('virt-xml-validate', 'xmllint')
    def test_the_examples_are_disks_of_machines(self):
        self.assertTrue(EXAMPLES)
        for example in EXAMPLES:
            with self.subTest(example.name):
                self.validate(example)

    def validate(self, example):
        machine = MACHINE % ('one', '/image', CDROM)
        machine = machine[:machine.index('<disk')] + (
            example.read_text() + machine[machine.index('<graphics'):])
        with tempfile.NamedTemporaryFile('w', suffix='.xml') as file:
            file.write(machine)
            file.flush()
            harness.run('virt-xml-validate', file.name, 'domain')


@case.needs('virsh', 'qemu-system-x86_64', 'qemu-img', 'unshare')
@unittest.skipUnless(_may_be_another(), 'no namespaces of users')
class DomainTest(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS

    def setUp(self):
        super().setUp()
        self.machines = self.directory / 'machines'
        self.machines.mkdir(exist_ok=True)
        self.uri = 'qemu:///embed?root=%s' % self.machines
        programs = self.directory / 'programs'
        programs.mkdir(exist_ok=True)
        virsh = programs / 'virsh'
        virsh.write_text('#!/bin/sh\nexec %s /usr/bin/virsh "$@"\n' % (
            ' '.join(AS_ANOTHER) if os.geteuid() == 0 else ''))
        virsh.chmod(0o755)
        self.environment = dict(
            os.environ, HOME=str(self.machines),
            XDG_RUNTIME_DIR=str(self.machines),
            PATH='%s:%s' % (programs, os.environ['PATH']))
        raw = self.directory / 'raw'
        raw.write_bytes(random.Random(3).randbytes(3 << 20))
        os.truncate(raw, SIZE)
        self.image = self.directory / 'web.qcow2'
        harness.run('qemu-img', 'convert', '-O', 'qcow2', raw, self.image)
        self.raw = raw
        self.define('web')

    def tearDown(self):
        self.virsh('undefine', 'web')
        super().tearDown()

    def virsh(self, *words, expect=0):
        return harness.run('virsh', '-q', '-c', self.uri, *words,
                           env=self.environment, expect=expect).stdout

    def define(self, name, more=CDROM):
        text = self.directory / 'machine.xml'
        text.write_text(MACHINE % (name, self.image, more))
        self.virsh('define', '--validate', text)

    def move(self, *words, expect=0):
        return harness.run(
            harness.BIN / 'sheepdog-manage', '-a',
            self.cluster.running[0].address, '--key-file',
            self.cluster.key_file, 'domain', *words, '--connect', self.uri,
            '-f', 'json', env=self.environment, expect=expect)

    def take(self, *words, expect=0):
        return self.move('import', 'web', 'vda', 'web-root', '--nbd',
                         '%s:%d' % self.cluster.sheep[0].nbd_address,
                         *words, expect=expect)

    def disk(self):
        tree = ElementTree.fromstring(self.virsh(
            'dumpxml', '--inactive', '--security-info', 'web'))
        self.assertEqual('secret', tree.find('devices/graphics').get(
            'passwd'))
        self.assertEqual(1, len(tree.findall(
            '{http://libvirt.org/schemas/domain/qemu/1.0}commandline')))
        disk, _ = tree.findall('devices/disk')
        self.assertEqual('the-first', disk.find('serial').text)
        return disk

    def names(self):
        with self.cluster.client() as client:
            return [vdi['name'] for vdi in client.vdis.list()]

    def forget(self):
        with self.cluster.client() as client:
            harness.wait_until(lambda: not client.vdis.locks(), 30,
                               'the VDI to be closed')
            client.vdis.delete('web-root')

    def test_in_and_out_again(self):
        moved = json.loads(self.take().stdout)
        self.assertEqual((SIZE, str(self.image)),
                         (moved['size'], moved['file']))
        disk = self.disk()
        self.assertEqual('network', disk.get('type'))
        self.assertEqual({'protocol': 'nbd', 'name': 'web-root'}, {
            key: disk.find('source').get(key)
            for key in ('protocol', 'name')})
        self.assertEqual('none', disk.find('driver').get('cache'))
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', self.raw,
                    self.cluster.sheep[1].nbd_uri('web-root'))
        # QEMU opens it, when libvirt starts the machine.
        said = self.virsh('start web; domblkinfo web vda; destroy web')
        self.assertIn(str(SIZE), said)

        back = self.directory / 'back.qcow2'
        moved = json.loads(self.move('export', 'web', 'vda', back).stdout)
        self.assertEqual('web-root', moved['name'])
        disk = self.disk()
        self.assertEqual(('file', 'qcow2', str(back)), (
            disk.get('type'), disk.find('driver').get('type'),
            disk.find('source').get('file')))
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2',
                    self.raw, back)
        self.assertEqual(['web-root'], self.names())
        self.assertIn('is no VDI', self.move(
            'export', 'web', 'vda', self.directory / 'more',
            expect=1).stderr)
        self.forget()

    def test_what_is_refused(self):
        before = self.virsh('dumpxml', 'web')
        for words, code, said in (
                (('import', 'web', 'vdz', 'x'), 5,
                 'domain web has no disk vdz, but sda, vda'),
                (('import', 'web', 'sda', 'x'), 1,
                 'disk sda of domain web is a cdrom'),
                (('import', 'wib', 'vda', 'x'), 1, 'domain wib: '),
                (('import', 'web', 'vda', 'x', '--nbd', 'here'), 64,
                 'neither HOST:PORT nor the path'),
                (('export', 'web', 'vda', '/x'), 1,
                 'disk vda of domain web is no VDI over NBD'),
                (('import', 'web', 'vda', 'x', '--nbd', '127.0.0.1:9'), 2,
                 'VDI x is not served at 127.0.0.1:9: ')):
            with self.subTest(words):
                self.assertIn(said, self.move(*words, expect=code).stderr)
        self.assertEqual(before, self.virsh('dumpxml', 'web'))
        # What had been copied before the last one is not there any more.
        self.assertEqual([], self.names())

    def test_what_libvirt_refuses_is_not_done(self):
        """A snapshot of its own would not fit the new disk."""
        self.virsh('snapshot-create-as', 'web', 'before')
        self.assertIn('has snapshots (before)', self.take(expect=1).stderr)
        self.virsh('snapshot-delete', 'web', 'before')
        self.assertEqual([], self.names())
