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

"""Tests of the daemon's command: options, refusals, background, signals."""

import contextlib
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from sheepdog.cmd import exits
from sheepdog.cmd import options
from sheepdog.cmd import sheep
from sheepdog.conf import config
from sheepdog.testing import servers

PROGRAM = 'sheepdog.tests.unit.cmd.daemon_program'
WAIT_SECONDS = 120


class OptionsTest(unittest.TestCase):
    def settings(self, words):
        values, arguments = options.parse(sheep.OPTIONS, words.split())
        values.setdefault('config_file', [])
        return sheep.read_settings(values, arguments)

    def test_defaults(self):
        built = self.settings('/m')
        self.assertEqual(('/m', 7000, 'local', False), (
            built.meta, built.port, built.cluster_url, built.foreground))

    def test_short(self):
        built = self.settings(
            '-b 1.2.3.4 -y 5.6.7.8 -p 7001 -c zookeeper:h:2181/x,timeout=1 '
            '-z 5 -i host=9.9.9.9,port=7009 -j size=64M,dir=/j,skip -n '
            '-V 77 -R max=4,interval=100 -l dir=/l,level=debug,format=json,'
            'dst=stdout -P /p -f /m')
        self.assertEqual(
            ('1.2.3.4', '5.6.7.8', 7001, 'zookeeper:h:2181/x,timeout=1', 5,
             '9.9.9.9', 7009, 77, 4, 100, '/p', True),
            (built.host, built.advertised_host, built.port,
             built.cluster_url, built.zone, built.io_host, built.io_port,
             built.vnodes, built.recovery_max, built.recovery_interval_ms,
             built.pidfile, built.foreground))
        self.assertEqual(
            (64 << 20, '/j', True, True),
            (built.store.journal_bytes, built.store.journal_dir,
             built.store.journal_skip, built.store.nosync))
        self.assertEqual(
            ('/l/sheep.log', 'debug', 'json', 'stdout'),
            (built.log.path, built.log.level, built.log.format,
             built.log.destination))

    def test_long(self):
        built = self.settings(
            '--bindaddr 1.2.3.4 --myaddr 5.6.7.8 --port 7001 --cluster '
            'etcd:h:2379 --zone 5 --ioaddr host=h --journal dir=/j '
            '--nosync --vnodes 77 --recovery max=4 --log level=err '
            '--pidfile /p --foreground --ttl 9.5 /m')
        self.assertEqual(
            ('1.2.3.4', '5.6.7.8', 7001, 'etcd:h:2379', 5, 'h', 7000, 77,
             4, '/p', True, 9.5, 'err'),
            (built.host, built.advertised_host, built.port,
             built.cluster_url, built.zone, built.io_host, built.io_port,
             built.vnodes, built.recovery_max, built.pidfile,
             built.foreground, built.ttl_seconds, built.log.level))

    def test_gateway(self):
        self.assertEqual(0, self.settings('-g /m').vnodes)
        self.assertTrue(self.settings('--gateway /m').gateway)

    def test_nbd(self):
        self.assertIsNone(self.settings('/m').nbd)
        nbd = self.settings('--nbd host=::1,port=10810 /m').nbd
        self.assertEqual(('::1', 10810, ''), (nbd.host, nbd.port,
                                              nbd.unix_path))
        nbd = self.settings('--nbd path=/n /m').nbd
        self.assertEqual((None, '/n'), (nbd.port, nbd.unix_path))
        nbd = self.settings('--nbd path=/n,host=127.0.0.2 /m').nbd
        self.assertEqual(('127.0.0.2', 10809, '/n'), (
            nbd.host, nbd.port, nbd.unix_path))

    def test_command_line_goes_before_the_file(self):
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
            file.write('[DEFAULT]\nmeta = /file\nport = 7001\nzone = 1\n')
            file.flush()
            built = self.settings('--config-file %s -p 7002' % file.name)
            self.assertEqual(('/file', 7002, 1), (built.meta, built.port,
                                                  built.zone))

    def test_refused(self):
        for words in (
                '-x /m', '--what /m', '-p', '/m more', '-r port=1 /m',
                '--http swift /m',
                '-j what=1 /m', '-j size /m', '-j skip=1 /m', '-j size= /m',
                '-i port=1 /m', '-i host /m', '-R foo /m', '-l loud /m',
                '--nbd what /m', '-D /m'):
            with self.subTest(words):
                self.assertRaises(exits.UsageError, self.settings, words)
        for words in ('', '-p x /m', '-p 0 /m', '-p 65536 /m', '-z x /m',
                      '-j size=1Q /m', '-R max=-1 /m', '-l level=loud /m',
                      '-l format=x /m', '-l dst=x /m', '-V 0 /m', '-V x /m',
                      '-g -V 3 /m', '--nbd port=x /m', '--ttl 0 /m',
                      '-j size=1K /m', '--config-file /nowhere /m'):
            with self.subTest(words):
                self.assertRaises(config.ConfigRefused, self.settings,
                                  words)

    def test_upgrade(self):
        for words, wanted in (('/m', False), ('-u /m', True),
                              ('--upgrade /m', True)):
            self.assertIs(wanted, self.settings(words).upgrade)

    def test_disks(self):
        store = self.settings('--lost-disk /c /m,/a,b').store
        self.assertEqual(('/m', ('/a', os.path.abspath('b')), ('/c',)),
                         (store.meta, store.disks, store.lost_disks))
        self.assertRaises(config.ConfigRefused, self.settings, '/m,,/a')

    def main(self, words):
        stderr, stdout = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(stderr), \
                contextlib.redirect_stdout(stdout):
            code = sheep.main(words.split())
        return code, stdout.getvalue(), stderr.getvalue()

    def test_main_refuses_with_64_and_a_line(self):
        for words, named in (('-x', '-x'), ('-r port=1 /m', '--http'),
                             ('-p x /m', 'port')):
            code, stdout, stderr = self.main(words)
            self.assertEqual((64, ''), (code, stdout))
            self.assertIn(named, stderr.splitlines()[0])

    def test_help_and_version(self):
        code, stdout, _stderr = self.main('--help')
        self.assertEqual(0, code)
        for option in sheep.OPTIONS:
            self.assertIn('--' + option.long, stdout)
        code, stdout, _stderr = self.main('-v')
        self.assertEqual(0, code)
        self.assertIn('version', stdout)


class DaemonCase(unittest.TestCase):
    """Runs the real command, with a real fork, around a fake sheep."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.meta = self.directory / 'meta'
        self.pidfile = self.directory / 'pid'
        self.log = self.meta / 'sheep.log'
        self.port, = servers.free_ports(1)
        self.addCleanup(self.kill_daemon)

    def command(self, mode, *options):
        return [sys.executable, '-m', PROGRAM, mode, '-b', '127.0.0.1',
                '-p', str(self.port), '-P', str(self.pidfile), *options,
                str(self.meta)]

    def run_daemon(self, mode, *options, code=0):
        done = subprocess.run(
            self.command(mode, *options), capture_output=True, text=True,
            timeout=WAIT_SECONDS, stdin=subprocess.DEVNULL)
        self.assertEqual(code, done.returncode, done.stderr)
        return done

    def pid(self):
        return int(self.pidfile.read_text())

    def kill_daemon(self):
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.pid(), signal.SIGKILL)

    def await_true(self, condition):
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if condition():
                    return
            time.sleep(0.02)
        self.fail('it never came true')

    def answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(('127.0.0.1', self.port), 1).close()
            return True
        return False


class BackgroundTest(DaemonCase):
    def test_serves_when_the_command_returns(self):
        # It holds no pipe of ours: or else capture_output would wait for
        # its end.
        done = self.run_daemon('serve')
        self.assertEqual(('', ''), (done.stdout, done.stderr))
        self.assertTrue(self.answers())
        pid = self.pid()
        self.assertEqual(os.getsid(pid), os.getpgid(pid))
        self.assertNotEqual(pid, os.getsid(pid))
        self.assertEqual('/', os.readlink('/proc/%d/cwd' % pid))
        for descriptor in (0, 1, 2):
            self.assertEqual('/dev/null', os.readlink(
                '/proc/%d/fd/%d' % (pid, descriptor)))

    def test_sigterm_stops_in_order(self):
        self.run_daemon('serve')
        os.kill(self.pid(), signal.SIGTERM)
        self.await_true(lambda: not self.pidfile.exists())
        self.await_true(lambda: not self.answers())
        text = self.log.read_text()
        self.assertIn('SIGTERM: stopping', text)
        self.assertIn('the fake stops', text)
        self.assertTrue(text.rstrip().endswith('stopped'), text)

    def test_second_signal_stops_at_once(self):
        self.run_daemon('stuck')
        pid = self.pid()
        os.kill(pid, signal.SIGTERM)
        self.await_true(lambda: 'stops' in self.log.read_text())
        os.kill(pid, signal.SIGTERM)
        self.await_true(lambda: not self.answers())
        self.assertIn('SIGTERM again', self.log.read_text())

    def test_log_has_the_start_and_is_reopened(self):
        self.run_daemon('serve', '-z', '5')
        text = self.log.read_text()
        self.assertIn('the fake started, zone 5', text)
        self.assertRegex(text.splitlines()[0],
                         r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO +'
                         r'sheepdog\.cmd\.sheep: sheep .* starts: ')
        moved = self.meta / 'sheep.log.1'
        self.log.rename(moved)
        os.kill(self.pid(), signal.SIGHUP)
        self.await_true(lambda: 'anew' in self.log.read_text())
        self.assertEqual(text, moved.read_text())

    def test_log_elsewhere_in_json(self):
        place = self.directory / 'logs'
        self.run_daemon('serve', '-l', 'dir=%s,format=json' % place)
        lines = (place / 'sheep.log').read_text().splitlines()
        self.assertIn('starts', json.loads(lines[0])['message'])
        self.assertFalse(self.log.exists())

    def test_log_server_format_and_level(self):
        self.run_daemon('serve', '-l', 'format=server,level=warning')
        self.assertEqual('', self.log.read_text())
        self.kill_daemon()
        self.await_true(lambda: not self.answers())
        self.run_daemon('serve', '-l', 'format=server')
        self.assertRegex(self.log.read_text(),
                         r'(?m)^[-0-9]+ [:.0-9]+ \d+ INFO \S+ \[-\] ')

    def test_zone_comes_from_the_address(self):
        self.run_daemon('serve')
        self.assertIn('zone 16777343', self.log.read_text())

    def check_refused(self, mode, code, pattern, *options):
        done = self.run_daemon(mode, *options, code=code)
        self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)
        self.assertRegex(done.stderr, pattern)
        self.assertFalse(self.pidfile.exists())
        self.assertFalse(self.meta.exists())

    def test_refusal_is_relayed(self):
        self.check_refused('refuse', 2, r'^sheep: the store \S+ is locked')

    def test_refusal_of_the_system_is_relayed(self):
        self.check_refused('oserror', 2, 'No space left on device')

    def test_bug_is_relayed(self):
        self.check_refused('crash', 1, 'internal error: RuntimeError: a bug')

    def test_refusal_leaves_the_log_of_the_store_alone(self):
        self.meta.mkdir()
        self.log.write_text('before\n')
        self.run_daemon('refuse', code=2)
        self.assertEqual('before\n', self.log.read_text())

    def test_refusal_is_logged_elsewhere(self):
        place = self.directory / 'logs'
        place.mkdir()
        (place / 'sheep.log').write_text('')
        self.run_daemon('refuse', '-l', 'dir=%s' % place, code=2)
        self.assertIn('stopping: the store', (
            place / 'sheep.log').read_text())

    def test_bug_is_logged_where_there_is_a_log(self):
        self.meta.mkdir()
        self.log.write_text('before\n')
        self.run_daemon('crash', code=1)
        text = self.log.read_text()
        self.assertTrue(text.startswith('before\n'))
        self.assertIn('RuntimeError: a bug', text)
        self.assertIn('Traceback', text)

    def test_sudden_death_is_noticed(self):
        self.run_daemon('die', code=1)

    def test_interrupted_command_takes_the_daemon_along(self):
        # Who runs the tests in the background may have it ignored, and what
        # is ignored stays so in a child.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        process = subprocess.Popen(
            self.command('hang'), stderr=subprocess.PIPE, text=True)
        try:
            self.await_true((self.meta / 'hangs').exists)
            process.send_signal(signal.SIGINT)
            _none, complaint = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
        self.assertEqual(130, process.returncode, complaint)
        self.await_true(lambda: not self.pidfile.exists())

    def test_end_by_itself(self):
        self.run_daemon('end')
        self.await_true(lambda: not self.pidfile.exists())
        self.assertIn('exit code 7', self.log.read_text())


class ForegroundTest(DaemonCase):
    def test_serves_and_ends_with_its_code(self):
        self.assertEqual('', self.run_daemon('end', '-f', code=7).stderr)

    def test_sigint(self):
        process = subprocess.Popen(self.command('serve', '-f'))
        try:
            self.await_true(self.answers)
            self.assertEqual(process.pid, self.pid())
            process.send_signal(signal.SIGINT)
            self.assertEqual(0, process.wait(WAIT_SECONDS))
        finally:
            process.kill()

    def test_signal_while_it_starts(self):
        process = subprocess.Popen(self.command('hang', '-f'),
                                   stderr=subprocess.PIPE, text=True)
        try:
            self.await_true((self.meta / 'hangs').exists)
            process.send_signal(signal.SIGTERM)
            _none, complaint = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
        self.assertEqual(1, process.returncode)
        self.assertIn('while it was starting', complaint)

    def test_log_to_stdout(self):
        done = self.run_daemon('end', '-f', '-l', 'dst=stdout', code=7)
        self.assertIn('the fake started', done.stdout)
        self.assertFalse(self.log.exists())


class HostTest(DaemonCase):
    """What is wrong with the host is said before anything is touched."""

    def check_refused(self, *patterns, options=()):
        before = sorted(self.directory.rglob('*'))
        done = self.run_daemon('serve', *options, code=2)
        self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)
        for pattern in patterns:
            self.assertRegex(done.stderr, pattern)
        self.assertEqual(before, sorted(self.directory.rglob('*')))

    def test_port_in_use(self):
        with socket.create_server(('127.0.0.1', self.port)):
            self.check_refused('port %d' % self.port, '-p')

    def test_nbd_port_in_use(self):
        with socket.create_server(('127.0.0.1', 0)) as sock:
            port = sock.getsockname()[1]
            self.check_refused(
                'port %d' % port, '--nbd',
                options=('--nbd', 'host=127.0.0.1,port=%d' % port))

    def test_coordination_service_not_there(self):
        port, = servers.free_ports(1)
        for kind in ('zookeeper', 'etcd', 'redis'):
            self.check_refused(
                'coordination service', r'127\.0\.0\.1:%d \(Connection '
                'refused' % port, '-c',
                options=('-c', '%s:127.0.0.1:%d' % (kind, port)))

    def test_directories_that_cannot_be_written(self):
        for option, value in (('-l', 'dir=/proc/none'),
                              ('-c', 'local:/proc/none'),
                              ('--nbd', 'path=/proc/none/sock')):
            with self.subTest(option):
                self.check_refused('/proc/none', option,
                                   options=(option, value))

    def test_address_of_another_host(self):
        self.check_refused('cannot listen on 192.0.2.1',
                           options=('-b', '192.0.2.1'))

    def test_address_that_is_none(self):
        self.check_refused('no-such-host.invalid',
                           options=('-y', 'no-such-host.invalid'))

    def test_pidfile_not_writable(self):
        self.pidfile = pathlib.Path('/proc/none/pid')
        self.check_refused('pidfile /proc/none/pid', '-P')

    def test_pidfile_of_a_sheep_that_runs(self):
        self.run_daemon('serve')
        first = self.pid()
        self.port, = servers.free_ports(1)
        self.check_refused(re.escape(str(self.pidfile)),
                           'process %d' % first)
        self.assertEqual(first, self.pid())

    def test_stale_pidfile_is_taken_over(self):
        self.pidfile.write_text('4194305\n')
        self.run_daemon('serve')
        self.assertNotEqual(4194305, self.pid())
