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

"""Other users of the machine at the unix socket: those who are trusted need
no key, the others are told what is missing."""

import os
import sys
import unittest

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

SYSTEM = 2
TRUSTED, OTHER = 64001, 64002
"""Nobody has these: only the kernel knows what they may."""

AS_USER = '''
import os, sys
from sheepdog.cmd import dog
user = int(sys.argv.pop(1))
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
sys.exit(dog.main())
'''
"""The interpreter may lie where only root can read it: so it becomes
somebody else when it has read all it needs."""


@unittest.skipUnless(os.geteuid() == 0,
                     'only root can start a tool as another user')
class TestUsers(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS
    count = 1
    copies = 1

    def setUp(self):
        super().setUp()
        self.sheep = self.cluster.sheep[0]
        self.socket = self.sheep.meta / 'sock'

    def trust(self, *users):
        """Restart the sheep so that it trusts these."""
        path = self.cluster.directory / 'users.conf'
        path.write_text('[security]\ntrusted_uids = %s\n'
                        % ','.join(map(str, users)))
        self.sheep.terminate()
        self.sheep.options = ('--config-file', path)
        self.sheep.start()
        self.sheep.wait_answering()
        self.cluster.wait_whole()
        # As the documentation says.
        for directory in self.cluster.directory, self.sheep.meta:
            os.chmod(directory, 0o711)

    def dog(self, user, *words, expect=0):
        return harness.run(
            sys.executable, '-c', AS_USER, user, *words, '-a', self.socket,
            '--key-file', '', expect=expect, cwd='/',
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))

    def said(self):
        return (self.sheep.meta / 'sheep.log').read_text(errors='replace')

    def test_who_is_trusted(self):
        self.trust(TRUSTED)
        self.assertEqual(0o666, self.socket.stat().st_mode & 0o777)
        for user in 0, TRUSTED:
            done = self.dog(user, 'node', 'list', '-r')
            self.assertEqual(1, len(done.stdout.splitlines()))
        # All of an administrator's work, not only looking.
        self.dog(TRUSTED, 'vdi', 'create', 'theirs', '4M')
        self.dog(TRUSTED, 'vdi', 'delete', 'theirs')
        done = self.dog(OTHER, 'node', 'list', expect=SYSTEM)
        self.assertEqual('', done.stdout)
        self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)
        self.assertIn('user %d' % OTHER, done.stderr)
        self.assertIn('trusted_uids', done.stderr)
        self.assertIn('--key-file', done.stderr)
        self.assertIn('unix:uid=%d: no cluster connection' % OTHER,
                      self.said())
        self.dog(OTHER, 'vdi', 'create', 'mine', '4M', expect=SYSTEM)
        self.assertEqual([], self.cluster.dog_json('vdi', 'list'))

    def test_nobody_is_unless_named(self):
        self.trust()
        # The socket's mode already keeps them off.
        self.assertEqual(0o600, self.socket.stat().st_mode & 0o777)
        done = self.dog(TRUSTED, 'node', 'list', expect=SYSTEM)
        self.assertIn('Permission denied', done.stderr)
        os.chmod(self.socket, 0o666)
        done = self.dog(TRUSTED, 'node', 'list', expect=SYSTEM)
        self.assertIn('user %d' % TRUSTED, done.stderr)
