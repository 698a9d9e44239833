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


"""tgt, which speaks the native protocol, and serves iSCSI."""

import pathlib
import subprocess

from sheepdog.tests.functional import harness

CONTROL_DIRECTORY = pathlib.Path('/var/run/tgtd')


class Tgt:
    """One tgtd with a portal of its own on loopback.

    :param directory: for what it says
    """

    def __init__(self, directory):
        self.port = harness.free_port()
        # The control port is a number in a socket's name.
        self.control = self.port
        self.output = pathlib.Path(directory) / 'tgtd.out'
        self.process = None

    def start(self):
        CONTROL_DIRECTORY.mkdir(parents=True, exist_ok=True)
        with open(self.output, 'ab') as output:
            self.process = subprocess.Popen(
                ['tgtd', '--foreground', '--control-port',
                 str(self.control), '--iscsi', 'portal=%s:%d' % (
                     harness.HOST, self.port)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        harness.wait_until(
            lambda: self.admin('--mode', 'system', '--op', 'show',
                               expect=None).returncode == 0,
            20, 'tgtd: %s' % harness.tail(self.output))

    def stop(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for path in CONTROL_DIRECTORY.glob('socket.%d*' % self.control):
            path.unlink(missing_ok=True)

    def admin(self, *words, expect=0):
        return harness.run('tgtadm', '--control-port', self.control,
                           '--lld', 'iscsi', *words, expect=expect)

    def export(self, target, store):
        """Export ``store`` (a backing store string) as LUN 1; its URL."""
        name = 'iqn.2026-11.test:%d' % target
        self.admin('--mode', 'target', '--op', 'new', '--tid', target,
                   '--targetname', name)
        self.admin('--mode', 'target', '--op', 'bind', '--tid', target,
                   '--initiator-address', 'ALL')
        self.admin('--mode', 'logicalunit', '--op', 'new', '--tid', target,
                   '--lun', '1', '--bstype', 'sheepdog',
                   '--backing-store', store)
        return 'iscsi://%s:%d/%s/1' % (harness.HOST, self.port, name)

    def remove(self, target):
        """End an export, and every connection to it."""
        self.admin('--mode', 'target', '--op', 'delete', '--force', '--tid',
                   target)
