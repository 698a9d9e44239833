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

import signal

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

SECONDS = 30


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
