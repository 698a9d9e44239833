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

"""A cluster of three sheep on this machine, to look at and to play with.

``start`` brings up what does not run, formats a new cluster, makes a VDI
and says how to use it; started again it changes nothing. ``stop`` shuts the
cluster down in order; the data stays, and ``start`` brings it back.
``clean`` stops it and removes everything.

State is in one directory: ``demo.json`` (the ports), ``cluster.key`` (whoever
has it administers the cluster), ``sheep-N/`` (what each sheep stores),
``sheep-N.pid``, ``sheep-N.out`` (what it said before it went to the
background) and ``coordination/`` (how they find each other).
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

BIN = pathlib.Path(sys.executable).parent
HOST = '127.0.0.1'
SHEEP = 3
PORT = 7000
NBD_PORT = 10809
KEY = 'cluster.key'
VDI = 'demo'
VDI_SIZE = '1G'
JOURNAL_SIZE = '64M'

PORT_SECONDS = 2
START_SECONDS = 90
SHUTDOWN_SECONDS = 30
TERMINATE_SECONDS = 20

EXISTS = 3  # dog's exit code

WELCOME = """\
Three sheep are running on this machine, and keep three copies of everything.

Look at the cluster; its key is {directory}/cluster.key:
    {bin}/dog cluster info -p {port} --key-file {directory}/cluster.key
    {bin}/sheepdog-manage -p {port} --key-file {directory}/cluster.key status
    {bin}/sheepdog-manage key list {directory}/cluster.key

Or once for all that you type from here on:
    export SHEEPDOG_KEY_FILE={key}
    {bin}/dog node list -p {port}
    {bin}/dog vdi list -p {port}

The VDI "{vdi}" ({size}) is served over NBD by each of them. With qemu-utils
and libnbd-bin installed:
    qemu-img info nbd://{host}:{nbd}/{vdi}
    nbdinfo nbd://{host}:{nbd2}/{vdi}
    qemu-img convert -n -O raw IMAGE nbd://{host}:{nbd3}/{vdi}

Kill one, and bring it back:
    kill -9 $(cat {directory}/sheep-2.pid)
    make cluster{settings}

Stop (the data stays in {directory}/; `make clean-cluster` removes it):
    make stop{run}
"""


class DemoError(Exception):
    """What went wrong, for whoever typed the command."""


def wait_for(condition, seconds):
    """Ask ten times a second; True once it holds, False if it never did."""
    until = time.monotonic() + seconds
    while True:
        if condition():
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


def is_free(port):
    with socket.socket() as probe:
        # As servers do: a connection of old in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def answers(port):
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError:
        return False
    return True


class Sheep:
    """One daemon of the demo: where it keeps things, whether it runs."""

    def __init__(self, directory, number, port, nbd_port):
        self.number = number
        self.port = port
        self.nbd_port = nbd_port
        self.meta = directory / ('sheep-%d' % number)
        self.pidfile = directory / ('sheep-%d.pid' % number)
        self.output = directory / ('sheep-%d.out' % number)
        self.coordination = directory / 'coordination'
        self.key_file = directory / KEY

    def pid(self):
        """Its process id, 0 if it does not run."""
        try:
            pid = int(self.pidfile.read_text())
        except (OSError, ValueError):
            return 0
        return pid if self.is_process(pid) else 0

    def is_process(self, pid):
        """The number may be another's by now."""
        try:
            words = pathlib.Path('/proc/%d/cmdline' % pid).read_bytes()
        except OSError:
            return False
        return str(self.meta).encode() in words.split(b'\0')

    def command(self):
        # Copies never share a zone, and by default a zone is an address.
        return [str(BIN / 'sheep'),
                '--cluster', 'local:%s' % self.coordination,
                '--bindaddr', HOST, '--myaddr', HOST,
                '--port', str(self.port), '--zone', str(self.number + 1),
                '--nbd', 'host=%s,port=%d' % (HOST, self.nbd_port),
                '--key-file', str(self.key_file),
                '--journal', 'size=%s' % JOURNAL_SIZE,
                '--pidfile', str(self.pidfile), str(self.meta)]

    def start(self):
        """Start it; it goes to the background once it serves."""
        self.meta.mkdir(parents=True, exist_ok=True)
        with self.output.open('w') as output:
            return subprocess.Popen(self.command(), stdout=output,
                                    stderr=output, stdin=subprocess.DEVNULL,
                                    start_new_session=True)


class DemoCluster:
    def __init__(self, directory, port=None, nbd_port=None):
        """Ports are those the cluster was made with, if it was.

        :raises DemoError: it was made with others
        """
        self.directory = pathlib.Path(directory).resolve()
        self.settings = self.directory / 'demo.json'
        made = {}
        if self.settings.exists():
            made = json.loads(self.settings.read_text())
        asked = {'port': port, 'nbd_port': nbd_port}
        for name, value in asked.items():
            if made and value not in (None, made[name]):
                raise DemoError(
                    'The cluster in %s was made with %s %d, and a sheep '
                    'keeps its address. `make clean-cluster` removes it; '
                    'RUN=DIRECTORY makes another one elsewhere.'
                    % (directory, name, made[name]))
        self.port = made.get('port') or port or PORT
        self.nbd_port = made.get('nbd_port') or nbd_port or NBD_PORT
        self.sheep = [Sheep(self.directory, number, self.port + number,
                            self.nbd_port + number)
                      for number in range(SHEEP)]

    def running(self):
        return [sheep for sheep in self.sheep if sheep.pid()]

    def dog(self, *words, sheep=None):
        """Run a command of dog's; the finished process, output captured."""
        port = (sheep or self.sheep[0]).port
        return subprocess.run(
            [str(BIN / 'dog'), *words, '-a', HOST, '-p', str(port),
             '--key-file', str(self.directory / KEY)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def must(self, *words, also=0):
        """Like ``dog``, but a failure ends the command.

        :raises DemoError: with what dog said
        """
        done = self.dog(*words)
        if done.returncode not in (0, also):
            raise DemoError('dog %s failed: %s%s' % (
                ' '.join(words), done.stdout, done.stderr))
        return done.stdout

    def check_ports(self, missing):
        """:raises DemoError: another program listens where a sheep would"""
        def taken():
            return [(name, port) for sheep in missing
                    for name, port in (('PORT', sheep.port),
                                       ('NBD_PORT', sheep.nbd_port))
                    if not is_free(port)]

        # A sheep that was killed just now may still be going.
        if not wait_for(lambda: not taken(), PORT_SECONDS):
            # Free in all likelihood: well away from the first one taken.
            advice = {}
            for name, port in taken():
                advice.setdefault(
                    name, port + 20000 if port < 40000 else port - 20000)
            raise DemoError(
                'Another program uses port %s of %s. Choose the first of '
                'three free ones, for example: make cluster %s' % (
                    ', '.join(str(port) for _, port in taken()), HOST,
                    ' '.join('%s=%d' % item for item in advice.items())))

    def launch(self, missing):
        """Start sheep and wait until each serves or says why not.

        All at once: after a full stop none serves before all are back.
        """
        processes = [(sheep, sheep.start()) for sheep in missing]
        until = time.monotonic() + START_SECONDS
        for sheep, process in processes:
            try:
                code = process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                code = None
            if code != 0:
                for _, other in processes:
                    if other.poll() is None:
                        other.terminate()
                raise DemoError('%s %s:\n%s' % (
                    ' '.join(sheep.command()),
                    'exited with %d' % code if code is not None
                    else 'does not serve after %d s' % START_SECONDS,
                    sheep.output.read_text() or 'It said nothing: see '
                    '%s' % (sheep.meta / 'sheep.log')))

    def status(self, sheep):
        """In the words of ``cluster.api.Status``; '' if it does not say."""
        done = self.dog('cluster', 'info', '--json', sheep=sheep)
        return '' if done.returncode else json.loads(done.stdout)['status']

    def has_settled(self):
        """No sheep waits for another, or for coordination."""
        return all(self.status(sheep) in ('ok', 'wait-format')
                   for sheep in self.sheep)

    def is_whole(self):
        """Every sheep counts all of them, and serves NBD."""
        for sheep in self.sheep:
            listed = self.dog('node', 'list', '-r', sheep=sheep)
            if (listed.returncode
                    or len(listed.stdout.splitlines()) < SHEEP
                    or not answers(sheep.nbd_port)):
                return False
        return True

    def wait_until(self, condition):
        """:raises DemoError: it did not come true in time"""
        if not wait_for(condition, START_SECONDS):
            raise DemoError('The cluster is not up after %d s:\n%s' % (
                START_SECONDS, ''.join(
                    self.dog('cluster', 'info', sheep=sheep).stdout
                    for sheep in self.sheep)))

    def start(self):
        missing = [sheep for sheep in self.sheep if not sheep.pid()]
        self.check_ports(missing)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(json.dumps(
            {'port': self.port, 'nbd_port': self.nbd_port}) + '\n')
        self.make_key()
        if missing:
            print('Starting %d sheep' % len(missing), flush=True)
            self.launch(missing)
        self.wait_until(self.has_settled)
        if self.status(self.sheep[0]) == 'wait-format':
            self.must('cluster', 'format', '-c', str(SHEEP))
        self.wait_until(self.is_whole)
        self.must('vdi', 'create', VDI, VDI_SIZE, also=EXISTS)

    def make_key(self):
        """:raises DemoError: it cannot be made"""
        path = self.directory / KEY
        if path.exists():
            return
        done = subprocess.run(
            [str(BIN / 'sheepdog-manage'), 'key', 'create', str(path)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise DemoError('No key of the cluster: %s' % done.stderr)

    def welcome(self, directory):
        changed = ''
        if directory != 'run':
            changed = ' RUN=%s' % directory
        return WELCOME.format(
            bin=relative(BIN), key=self.directory / KEY, port=self.port,
            vdi=VDI, size=VDI_SIZE,
            host=HOST, nbd=self.nbd_port, nbd2=self.nbd_port + 1,
            nbd3=self.nbd_port + 2, directory=directory, settings=changed,
            run=changed)

    def stop(self):
        """Stop every sheep: in order if they can, by signals if not."""
        # By process, not by pidfile: a sheep removes that a moment before
        # it lets go of its store.
        processes = {sheep.pid(): sheep for sheep in self.running()}

        def remaining():
            return {pid: sheep for pid, sheep in processes.items()
                    if sheep.is_process(pid)}

        def are_gone():
            return not remaining()

        if not processes:
            print('No sheep is running')
            return
        done = self.dog('cluster', 'shutdown', sheep=self.running()[0])
        if done.returncode:
            print('No shutdown in order (%s); stopping each sheep'
                  % (done.stdout + done.stderr).strip())
        elif wait_for(are_gone, SHUTDOWN_SECONDS):
            print('The cluster is shut down')
            return
        for sign, seconds in ((signal.SIGTERM, TERMINATE_SECONDS),
                              (signal.SIGKILL, 5)):
            for pid, sheep in remaining().items():
                print('%s to sheep %d (pid %d)'
                      % (sign.name, sheep.number, pid))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
            if wait_for(are_gone, seconds):
                return
        raise DemoError('Still running: %s' % ', '.join(
            str(pid) for pid in remaining()))

    def clean(self):
        """Stop, and remove the directory, if it is one of ours."""
        if not self.settings.exists():
            print('There is no cluster in %s' % self.directory)
            return
        self.stop()
        shutil.rmtree(self.directory)


def relative(path):
    """As one would type it here."""
    return os.path.relpath(path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('action', choices=['start', 'stop', 'clean'])
    parser.add_argument('--directory', default='run')
    parser.add_argument('--port', type=int,
                        help='first of three ports (%d)' % PORT)
    parser.add_argument('--nbd-port', type=int,
                        help='first of three ports (%d)' % NBD_PORT)
    options = parser.parse_args(arguments)
    try:
        cluster = DemoCluster(options.directory, options.port,
                              options.nbd_port)
        getattr(cluster, options.action)()
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    if options.action == 'start':
        print(cluster.welcome(options.directory))
    return 0


if __name__ == '__main__':
    sys.exit(main())
