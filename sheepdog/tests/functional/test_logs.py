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

"""What real sheep log, and how that is changed while they run."""

import re
import signal

from sheepdog.client import nbd_client
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

SECONDS = 30
OBJECT = 4 << 20
OBJECTS = 32
"""So many that some have no copy on the sheep that is asked."""


class TestReload(case.DirectoryCase):

    def setUp(self):
        super().setUp()
        self.configuration = self.directory / 'sheepdog.conf'
        self.write('level = info\nslow_seconds = 5')
        self.cluster = harness.Cluster(
            self.directory, 'local:%s' % (self.directory / 'coordination'),
            count=1, copies=1,
            options=('--config-file', self.configuration))
        self.addCleanup(self.cluster.end)
        self.addOnException(lambda _info: self.attach(self.cluster.logs()))
        self.cluster.start()
        self.sheep = self.cluster.sheep[0]
        self.log = self.sheep.meta / 'sheep.log'

    def write(self, lines):
        self.configuration.write_text(
            '[DEFAULT]\nnosync = false\n[log]\n%s\n' % lines)

    def hang_up(self, words):
        said = len(self.log.read_text())
        self.sheep.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: words in self.log.read_text()[said:],
                           SECONDS, 'the log to say %r' % words)

    def settings(self):
        with self.sheep.client() as client:
            answer = client.cluster.facts()[0]['answer']
            told = client.call('node.log', {'action': 'get'})
            return (told['level'], told['loggers'],
                    answer['slow']['seconds'])

    def test_hang_up(self):
        self.assertEqual(('info', {}, 5.0), self.settings())
        self.write('level = debug\nslow_seconds = 7\n'
                   'loggers = sheepdog.peer:warning')
        self.hang_up('the configuration was read anew')
        changed = 'debug', {'sheepdog.peer': 'warning'}, 7.0
        self.assertEqual(changed, self.settings())
        # What cannot be used is told, and nothing changes.
        for wrong in ('level = loud', 'levle = info',
                      'loggers = sheepdog.peer:loud'):
            self.write(wrong)
            self.hang_up('the configuration is not taken over')
            self.assertEqual(changed, self.settings(), wrong)
        self.write('')
        self.hang_up('the configuration was read anew')
        self.assertEqual(('info', {}, 5.0), self.settings())


class TestTrace(case.ClusterCase):
    """One request, followed through all rooms of all sheep."""

    ttl = harness.PATIENT_TTL_SECONDS
    copies = 2

    def manage(self, *words):
        return harness.run(
            harness.BIN / 'sheepdog-manage', '-a',
            self.cluster.sheep[0].address, '--key-file',
            self.cluster.key_file, *words)

    def log_of(self, sheep):
        return (sheep.meta / 'sheep.log').read_text()

    def lines(self, name):
        """Those of a request, by sheep."""
        return [[line.split('trace: ', 1)[1] for line
                 in self.log_of(sheep).splitlines()
                 if 'trace: ' + name + ':' in line]
                for sheep in self.cluster.sheep]

    def assert_in_order(self, words, lines):
        """Each of one line, one after the other."""
        places = [next((place for place, line in enumerate(lines)
                        if word in line), None) for word in words]
        self.assertNotIn(None, places, (words, lines))
        self.assertEqual(sorted(places), places, lines)

    def write_all(self, name):
        with nbd_client.NbdClient(self.cluster.sheep[0].nbd_address,
                                  name) as client:
            for index in range(OBJECTS):
                client.write(index * OBJECT, b'x' * 4096, fua=True)
                client.read(index * OBJECT, 512)

    def test_on_and_off(self):
        for name in 'vm', 'other':
            self.create(name, OBJECTS * OBJECT)
        self.manage('trace', 'on', 'vm')
        for name in 'vm', 'other':
            self.write_all(name)
        self.check_a_write()
        self.check_a_read()
        first = self.cluster.sheep[0]
        self.assertNotIn('VDI other', self.log_of(first))
        self.manage('trace', 'off')
        said = [self.log_of(sheep) for sheep in self.cluster.sheep]
        self.write_all('vm')
        for sheep, before in zip(self.cluster.sheep, said):
            self.assertNotIn('trace: ', self.log_of(sheep)[len(before):])

    def check_a_write(self):
        first = self.cluster.sheep[0]
        name = re.findall(r'trace: (\S+): write of object \S+ bytes 0 to 4096',
                          self.log_of(first))[-1]
        self.assertTrue(name.startswith(first.address + '/'), name)
        found = self.lines(name)
        self.assert_in_order(
            ['write of object', 'write: asks', ': done after'], found[0])
        self.assertRegex(found[0][0], r'bytes 0 to 4096, for '
                         r'127.0.0.1:\d+, NBD request \d+$')
        copies = [lines for lines in found
                  if any('its copy' in line for line in lines)]
        self.assertEqual(self.copies, len(copies), found)
        for lines in copies:
            self.assert_in_order(['write: its copy', 'in the store after'],
                                 lines)

    def check_a_read(self):
        """One that goes to another sheep, under the same name."""
        first = self.cluster.sheep[0]
        name = re.findall(r'trace: (\S+): read: asks', self.log_of(first))[0]
        found = self.lines(name)
        self.assert_in_order(['read of object', 'read: asks', ': done after'],
                             found[0])
        other, = [lines for lines in found[1:] if lines]
        self.assert_in_order(['read: its copy', 'read after'], other)
