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

import contextlib
import io
import json
import os
import pathlib
import socket
import sys
import tempfile
import textwrap
import unittest
from unittest import mock

from sheepdog.testing import servers
from tools import demo_cluster

# A daemon that takes sheep's options, goes to the background and listens.
SHEEP = '''
    import os, pathlib, signal, socket, sys, time
    words = sys.argv[1:]
    option = dict(zip(words[:-1:2], words[1::2]))
    meta = pathlib.Path(words[-1])
    here = meta.parent
    if (here / 'broken').exists():
        sys.exit((here / 'broken').read_text())
    nbd = dict(part.split('=') for part in option['--nbd'].split(','))
    sockets = [socket.create_server((host, int(port))) for host, port in (
        (option['--bindaddr'], option['--port']),
        (nbd['host'], nbd['port']))]
    if os.fork():
        os._exit(0)
    os.setsid()
    if (here / 'stubborn').exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        def end(*_):
            pathlib.Path(option['--pidfile']).unlink()
            time.sleep(0.3)
            (here / 'last-words').touch()
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
    pathlib.Path(option['--pidfile']).write_text(str(os.getpid()))
    while True:
        signal.pause()
    '''

DOG = '''
    import json, os, pathlib, signal, sys
    here = pathlib.Path(os.environ['DEMO_TEST_DIRECTORY'])
    command = ' '.join(sys.argv[1:3])
    with (here / 'dog.log').open('a') as log:
        log.write(' '.join(sys.argv[1:]) + chr(10))
    formatted = here / 'formatted'
    if command == 'cluster info':
        # The first answer is early, as after a start.
        early = here / 'asked'
        status = 'ok' if formatted.exists() else 'wait-format'
        print(json.dumps({'status': status if early.exists() else 'starting'}))
        early.touch()
    elif command == 'cluster format':
        formatted.touch()
    elif command == 'node list':
        print(chr(10).join('%d 127.0.0.1' % i for i in range(3)))
    elif command == 'vdi create':
        if (here / 'vdi').exists():
            sys.exit(3)
        (here / 'vdi').touch()
    elif command == 'cluster shutdown':
        if (here / 'stubborn').exists():
            sys.exit('it does not want to')
        for pidfile in here.glob('*.pid'):
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
    '''


MANAGE = '''
    import pathlib
    import sys
    assert sys.argv[1:3] == ['key', 'create'], sys.argv
    pathlib.Path(sys.argv[3]).write_text('a key')
    '''


class DemoClusterTest(unittest.TestCase):
    """Against stand-ins for sheep and the tools."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        bin_directory = self.root / 'bin'
        bin_directory.mkdir()
        for name, body in (('sheep', SHEEP), ('dog', DOG),
                           ('sheepdog-manage', MANAGE)):
            path = bin_directory / name
            path.write_text('#!%s\n%s' % (sys.executable,
                                          textwrap.dedent(body)))
            path.chmod(0o755)
        self.run_directory = self.root / 'run'
        self.port = self.free_ports()
        self.nbd_port = self.free_ports()
        for patch in (
                mock.patch.object(demo_cluster, 'BIN', bin_directory),
                mock.patch.object(demo_cluster, 'TERMINATE_SECONDS', 0.3),
                mock.patch.object(demo_cluster, 'PORT_SECONDS', 0.5),
                mock.patch.dict(os.environ, {
                    'DEMO_TEST_DIRECTORY': str(self.run_directory)})):
            patch.start()
            self.addCleanup(patch.stop)
        self.addCleanup(self.demo, 'stop')

    def free_ports(self):
        """The first of three ports in a row that nobody uses."""
        while True:
            ports = servers.free_ports(3)
            if ports == list(range(ports[0], ports[0] + 3)):
                return ports[0]

    def demo(self, action, *arguments):
        with (contextlib.redirect_stdout(io.StringIO()) as output,
              contextlib.redirect_stderr(output)):
            self.code = demo_cluster.main(
                [action, '--directory', str(self.run_directory), *arguments])
        return output.getvalue()

    def start(self):
        return self.demo('start', '--port', str(self.port),
                         '--nbd-port', str(self.nbd_port))

    def pids(self):
        return [sheep.pid() for sheep in
                demo_cluster.DemoCluster(self.run_directory).sheep]

    def calls(self, command):
        log = (self.run_directory / 'dog.log').read_text()
        return [line for line in log.splitlines()
                if line.startswith(command)]

    def test_starts_and_tells_how_to_use_it(self):
        output = self.start()
        self.assertEqual(0, self.code, output)
        self.assertTrue(all(self.pids()))
        for line in ('qemu-img info nbd://127.0.0.1:%d/demo' % self.nbd_port,
                     'nbdinfo nbd://127.0.0.1:%d/demo' % (self.nbd_port + 1),
                     'dog cluster info -p %d' % self.port, 'make stop'):
            self.assertIn(line, output)

    def test_again_changes_nothing(self):
        self.start()
        pids = self.pids()
        output = self.demo('start')
        self.assertEqual(0, self.code, output)
        self.assertEqual(pids, self.pids())
        self.assertEqual(1, len(self.calls('cluster format')))

    def test_brings_back_one_that_died(self):
        self.start()
        pids = self.pids()
        os.kill(pids[1], 9)
        demo_cluster.wait_for(lambda: not self.pids()[1], 60)
        output = self.demo('start')
        self.assertEqual(0, self.code, output)
        self.assertIn('Starting 1 sheep', output)
        self.assertEqual([pids[0], pids[2]], self.pids()[::2])
        self.assertTrue(self.pids()[1])

    def test_stop_keeps_and_clean_removes(self):
        self.start()
        self.assertIn('is shut down', self.demo('stop'))
        self.assertFalse(any(self.pids()))
        # It waited for the processes, not for the pidfiles.
        self.assertTrue((self.run_directory / 'last-words').exists())
        self.assertTrue((self.run_directory / 'vdi').exists())
        self.start()
        self.assertEqual(1, len(self.calls('cluster format')))
        self.demo('clean')
        self.assertFalse(self.run_directory.exists())
        self.assertIn('no cluster', self.demo('clean'))

    def test_stops_those_who_will_not(self):
        self.run_directory.mkdir()
        (self.run_directory / 'stubborn').touch()
        self.start()
        output = self.demo('stop')
        self.assertEqual(0, self.code, output)
        self.assertIn('it does not want to', output)
        self.assertIn('SIGKILL', output)
        self.assertFalse(any(self.pids()))

    def test_a_port_is_taken(self):
        with socket.create_server(('127.0.0.1', self.nbd_port + 1)):
            output = self.start()
        self.assertEqual(1, self.code)
        self.assertIn('port %d of' % (self.nbd_port + 1), output)
        self.assertIn('make cluster NBD_PORT=', output)
        self.assertFalse(self.run_directory.exists())

    def test_shows_why_a_sheep_does_not_start(self):
        self.run_directory.mkdir()
        (self.run_directory / 'broken').write_text('the disk is on fire')
        output = self.start()
        self.assertEqual(1, self.code)
        self.assertIn('the disk is on fire', output)
        self.assertIn('exited with 1', output)

    def test_keeps_its_ports(self):
        self.start()
        output = self.demo('start', '--port', str(self.port + 10))
        self.assertEqual(1, self.code)
        self.assertIn('was made with port %d' % self.port, output)

    def test_another_process_with_the_number_is_left_alone(self):
        self.run_directory.mkdir()
        (self.run_directory / 'demo.json').write_text(
            json.dumps({'port': self.port, 'nbd_port': self.nbd_port}))
        (self.run_directory / 'sheep-0.pid').write_text(str(os.getpid()))
        self.assertIn('No sheep is running', self.demo('stop'))
