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

"""What a domain and its file are left as, where something goes wrong. (With
libvirt itself: ``tests/interop``.)"""

import pathlib
import tempfile
import unittest
from unittest import mock

from sheepdog.cmd.images import domain
from sheepdog.cmd.images import transfer
from sheepdog.faces.nbd import exports
from sheepdog.model import errors

MACHINE = """<domain><name>web</name><devices><disk type='network'>
<source protocol='nbd' name='%s'><host name='10.0.0.1' port='10810'/></source>
<target dev='vda'/></disk></devices></domain>"""

OF_A_FILE = """<domain><devices><disk type='file'><source file='/x'/>
<target dev='vda'/></disk></devices></domain>"""


class Virsh:
    """A libvirt with one domain.

    :ivar fault: what ``define`` raises
    :ivar is_done: having done its work
    :ivar dies: it does not answer any more then
    """

    def __init__(self, vdi='web-root'):
        self.definition = MACHINE % vdi
        self.fault = None
        self.is_done = True
        self.dies = self.is_dead = False

    def __call__(self, _domain, verb, *words):
        if verb == 'define':
            if self.is_done:
                self.definition = pathlib.Path(words[-1]).read_text()
            if self.fault is not None:
                self.is_dead = self.dies
                raise self.fault
        if verb == 'dumpxml' and self.is_dead:
            raise domain.DomainError('no libvirt')
        return {'dumpxml': self.definition, 'domstate': 'shut off\n'}.get(
            verb, '')


class DomainCase(unittest.TestCase):

    def setUp(self):
        self.virsh = Virsh()
        self.enterContext(mock.patch.object(
            domain.Domain, '_virsh', lambda *words: self.virsh(*words)))
        self.checked = []
        self.enterContext(mock.patch.object(
            domain.Server, 'check', lambda server, *what: self.checked.append(
                (server.attributes(), *what))))
        self.client = mock.MagicMock()
        self.volume = self.client.open.return_value
        self.volume.__enter__.return_value = self.volume
        self.volume.size, self.volume.vdi_id = 4096, 2
        self.client.vdis.list.return_value = [{'vdi_id': 1}, {'vdi_id': 2}]
        self.enterContext(mock.patch.object(
            transfer, 'export_volume', self.export))
        self.directory = pathlib.Path(self.enterContext(
            tempfile.TemporaryDirectory()))
        self.path = self.directory / 'image'

    def export(self, _volume, path, *_more):
        draft = self.directory / 'draft'
        draft.write_text('new')
        draft.rename(path)
        return {'written': 3}

    def move_out(self, force=False):
        return domain.move_out(self.client, domain.Domain('web'), 'vda',
                               str(self.path), 'raw', None, force)

    def files(self):
        return {path.name: path.read_text()
                for path in self.directory.iterdir()}


class ExportTest(DomainCase):

    def test_where_the_domain_has_it_from_is_asked(self):
        self.move_out()
        self.assertEqual([({'name': '10.0.0.1', 'port': '10810'},
                           {'vdi_id': 2})], self.checked)
        self.assertIn(str(self.path), self.virsh.definition)
        self.assertEqual({'image': 'new'}, self.files())

    def test_another_one_is_not_exported(self):
        with mock.patch.object(domain.Server, 'check',
                               side_effect=domain.DomainError('another')):
            with self.assertRaisesRegex(domain.DomainError, 'another'):
                self.move_out()
        self.assertEqual({}, self.files())

    def test_a_file_that_was_there_is_not_lost(self):
        self.virsh.fault = domain.DomainError('refused')
        self.virsh.is_done = False
        with self.assertRaisesRegex(domain.DomainError, 'refused'):
            self.move_out()
        self.assertEqual({}, self.files())
        self.path.write_text('old')
        with self.assertRaisesRegex(domain.DomainError, 'refused'):
            self.move_out(force=True)
        self.assertEqual({'image': 'old'}, self.files())
        self.virsh.fault, self.virsh.is_done = None, True
        self.move_out(force=True)
        self.assertEqual({'image': 'new'}, self.files())

    def test_what_the_domain_may_name_stays(self):
        self.path.write_text('old')
        self.virsh.fault = domain.DomainError('no answer')
        with self.assertRaisesRegex(domain.Unsure, 'no answer; .* changed'):
            self.move_out(force=True)
        self.assertEqual(['new', 'old'], sorted(self.files().values()))
        self.assertEqual('new', self.path.read_text())

    def test_what_was_there_when_the_end_was_not_reached(self):
        self.path.write_text('old')
        for step in 'before', 'behind':
            def export(*words, step=step):
                if step == 'behind':
                    self.export(*words)
                raise KeyboardInterrupt

            with self.subTest(step), mock.patch.object(
                    transfer, 'export_volume', export), (
                        self.assertRaises(KeyboardInterrupt)):
                self.move_out(force=True)
            self.assertEqual({'image': 'old'}, self.files())

    def test_a_snapshot(self):
        self.virsh.definition = MACHINE % 'web-root@one'
        self.client.open.side_effect = errors.NoVdi('no VDI')
        with self.assertRaisesRegex(domain.DomainError, 'is a snapshot'):
            self.move_out()


class ImportTest(DomainCase):

    def setUp(self):
        super().setUp()
        self.virsh.definition = OF_A_FILE
        self.enterContext(mock.patch.object(domain.qemu, 'look_at'))
        self.enterContext(mock.patch.object(
            transfer, 'import_image', return_value={'size': 4096}))
        self.delete = self.enterContext(mock.patch.object(
            transfer, 'delete'))

    def move_in(self):
        domain.move_in(self.client, domain.Domain('web'), 'vda', 'web-root',
                       {}, domain.Server('10.0.0.1:10809'), None)

    def test_what_was_refused_is_deleted(self):
        self.virsh.fault = domain.DomainError('refused')
        self.virsh.is_done = False
        with self.assertRaisesRegex(domain.DomainError, 'refused'):
            self.move_in()
        self.delete.assert_called_once()

    def test_what_the_domain_may_name_stays(self):
        for fault in domain.DomainError('no answer'), KeyboardInterrupt():
            with self.subTest(fault):
                self.virsh.definition = OF_A_FILE
                self.virsh.fault = fault
                with self.assertRaisesRegex(domain.Unsure, 'has changed'):
                    self.move_in()
        self.virsh.definition = OF_A_FILE
        self.virsh.fault = domain.NoAnswer('no answer')
        self.virsh.is_done = False
        with self.assertRaisesRegex(domain.Unsure, 'may change yet'):
            self.move_in()
        self.virsh.dies = True
        with self.assertRaisesRegex(domain.Unsure, 'cannot be read'):
            self.move_in()
        self.delete.assert_not_called()


class ServerTest(unittest.TestCase):

    VDI = {'name': 'web-root', 'size': 4096, 'vdi_id': 7, 'created': 1.5}

    def check(self, size, description):
        served = mock.MagicMock(size=size, description=description)
        served.__enter__.return_value = served
        with mock.patch.object(domain.nbd_client, 'NbdClient',
                               return_value=served):
            domain.Server('10.0.0.1:10809').check(self.VDI)

    def test_the_vdi_itself(self):
        self.check(4096, exports.description_of(7, 1.5))

    def test_those_of_another_cluster_have_the_same_id(self):
        for size, made in (4096, 1.6), (8192, 1.5):
            with self.assertRaisesRegex(domain.DomainError,
                                        'of another cluster'):
                self.check(size, exports.description_of(7, made))
