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


"""Real sheep on this machine: started, asked, killed, suspended, restarted.

``Sheep`` is one daemon in a zone of its own, ``Cluster`` some of them with
one store each below one directory. Whatever is started here is ended here,
by its process id.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from sheepdog.client import client as client_module
from sheepdog.client import key_file
from sheepdog.model import errors
from sheepdog.model import keys
from sheepdog.testing import servers

HOST = '127.0.0.1'
BIN = pathlib.Path(sys.executable).parent

TTL_SECONDS = 2.0
"""Short, since who is killed is waited for so long."""

PATIENT_TTL_SECONDS = 10.0
"""Where nobody is to be lost: no pause of the machine takes that long."""

JOURNAL_SIZE = '32M'

START_SECONDS = 120.0
STOP_SECONDS = 90.0
WHOLE_SECONDS = 180.0
COMMAND_SECONDS = 180.0
ATTEMPT_SECONDS = 5.0
POLL_SECONDS = 0.05
STOPS_MAX = 10
UNCLEAN = 'the next start will compare copies'

SHORT_PORT_FIRST, SHORT_PORT_BEYOND = 7100, 10000
"""tgt takes the first four digits of a port, and leaves the rest."""


class HarnessError(AssertionError):
    """A daemon or a command did not do what a test needs to go on."""


_SHORT = servers.ports(SHORT_PORT_FIRST, SHORT_PORT_BEYOND)


def free_port(is_short=False) -> int:
    """A port that nobody listens on, each time another one; none that an
    outgoing connection could take.

    :param is_short: of four digits
    """
    return next(_SHORT) if is_short else servers.free_ports(1)[0]


def wait_until(condition, seconds, what):
    """Ask again and again; the first true answer.

    :param what: for whoever reads that it never came: text, or a function
        that makes it
    :raises HarnessError: it never came
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise HarnessError('waited %d s for %s' % (
                seconds, what() if callable(what) else what))
        time.sleep(POLL_SECONDS)


def run(*command, expect=0, seconds=COMMAND_SECONDS, **options):
    """Run a command to its end.

    :param expect: the exit code it must have; None: any
    :returns: the finished process, output captured as text
    :raises HarnessError: another exit code, or it takes too long
    """
    options.setdefault('text', True)
    if 'input' not in options:
        options.setdefault('stdin', subprocess.DEVNULL)
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=seconds,
                              **options)
    except subprocess.TimeoutExpired as exc:
        raise HarnessError('%s: not done after %d s\n%s%s' % (
            ' '.join(command), seconds, exc.stdout, exc.stderr)) from None
    if expect is not None and done.returncode != expect:
        raise HarnessError('%s: exit code %d, not %d\n%s%s' % (
            ' '.join(command), done.returncode, expect, done.stdout,
            done.stderr))
    return done


def take_interrupts(test):
    """What a test starts from here on can be interrupted, also where the
    tests run in the background of a shell: SIGINT is ignored there, and
    so by all who come from there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    test.addCleanup(signal.signal, signal.SIGINT, before)


def tail(path, lines=150) -> str:
    """The last lines of a file, '' if there is none."""
    try:
        text = pathlib.Path(path).read_text(errors='replace')
    except OSError:
        return ''
    return '\n'.join(text.splitlines()[-lines:])


def make_key(directory):
    """A new cluster key; its file."""
    path = pathlib.Path(directory) / 'cluster.key'
    key_file.write(str(path), keys.Keyring((keys.Key.of(os.urandom(
        keys.ID_BYTES + keys.SECRET_BYTES)),)), is_new=True)
    return path


def _standing(client) -> str:
    """How a sheep stands: short, since a message has one of each."""
    info = client.cluster.info()
    said = '%s %s' % (info['status'], info['reason'])
    if info['missing']:
        said += ', missing %s' % info['missing']
    for epoch in info['epochs'][:1]:
        said += ', epoch %d of %s' % (epoch['epoch'], ' '.join(
            str(member['port']) for member in epoch['members']))
    if info['status'] == 'ok':
        progress = client.call('node.progress')
        recovery = client.call('node.facts', {'ping': False})['recovery']
        said += ', %s%s, %d of %d objects; waits for %s %s %s' % (
            'whole' if progress['is_whole'] else
            'postponed' if progress['is_postponed'] else 'not whole',
            '' if progress['is_on_record'] else ' (not on record)',
            recovery['done'], recovery['total'], recovery['obstacle'],
            recovery['waiting'][:2], recovery['no_room'] or '')
    return said


class Sheep:
    """One daemon. Its addresses and its store stay the same for life."""

    def __init__(self, directory, number, url, options=(), ttl=TTL_SECONDS,
                 key_file=''):
        self.number = number
        self.key_file = key_file
        self.port = free_port(is_short=True)
        self.nbd_port = free_port()
        self.url = url
        self.ttl = ttl
        self.options = tuple(options)
        self.meta = pathlib.Path(directory) / ('sheep-%d' % number)
        self.output = pathlib.Path(directory) / ('sheep-%d.out' % number)
        self.process = None
        self.is_suspended = False
        self.disks = []
        """Directories that keep its objects, where META does not."""
        self.tls = None
        """What our clients show; None: they speak in clear."""

    def __repr__(self):
        return '<sheep %d, port %d>' % (self.number, self.port)

    @property
    def address(self):
        return '%s:%d' % (HOST, self.port)

    @property
    def nbd_address(self):
        return HOST, self.nbd_port

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def nbd_uri(self, name) -> str:
        return 'nbd://%s:%d/%s' % (HOST, self.nbd_port, name)

    def command(self, *more):
        words = [
            BIN / 'sheep', '-f', '-b', HOST, '-y', HOST, '-p', self.port,
            '-z', self.number + 1, '-c', self.url, '--ttl', self.ttl,
            '-j', 'size=%s' % JOURNAL_SIZE,
            '--nbd', 'host=%s,port=%d' % (HOST, self.nbd_port),
            *(['--key-file', self.key_file] if self.key_file else []),
            *self.options, *more, ','.join(map(str, [self.meta,
                                                     *self.disks]))]
        return [str(word) for word in words]

    def start(self, *more):
        """Start it; see ``wait_answering``."""
        if self.is_running:
            raise HarnessError('%r runs already' % self)
        self.meta.mkdir(parents=True, exist_ok=True)
        with open(self.output, 'ab') as output:
            self.process = subprocess.Popen(
                self.command(*more), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output)
        self.is_suspended = False

    def wait_answering(self):
        """Until it says how the cluster stands, whatever that is."""
        def is_answering():
            if not self.is_running:
                raise HarnessError('%r: exit code %d\n%s' % (
                    self, self.process.returncode, tail(self.output)))
            return self.info() is not None
        wait_until(is_answering, START_SECONDS, '%r to answer' % self)

    def kill(self):
        """kill -9, and it is gone."""
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=STOP_SECONDS) -> int:
        """Stop it in order; its exit code."""
        self.process.terminate()
        return self.wait(seconds)

    def wait(self, seconds=STOP_SECONDS) -> int:
        """Until it has gone by itself; its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise HarnessError('%r still runs after %d s' % (
                self, seconds)) from None

    def suspend(self):
        self.process.send_signal(signal.SIGSTOP)
        self.is_suspended = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.is_suspended = False

    def end(self):
        """However it stands."""
        if self.is_running:
            self.kill()

    def client(self, timeout=60.0) -> client_module.Client:
        return client_module.Client([self.address], timeout, 5.0,
                                    key_file=str(self.key_file),
                                    tls=self.tls)

    def info(self):
        """What it says of the cluster; None if it says nothing."""
        if not self.is_running or self.is_suspended:
            return None
        try:
            with self.client(5.0) as client:
                return client.cluster.info()
        except errors.SheepdogError:
            return None

    @property
    def status(self) -> str:
        info = self.info()
        return info['status'] if info else ''

    def logs(self) -> dict:
        """The end of all it has said, by name."""
        return {path.name if path.name != 'sheep.log' else
                'sheep-%d.log' % self.number: text
                for path in (self.output, self.meta / 'sheep.log')
                for text in [tail(path)] if text}


class Cluster:
    """Some sheep that find each other at ``url``.

    :param directory: for all they store; it must exist
    :param key_file: of their key, '' for none; None: a new one
    """

    def __init__(self, directory, url, count=3, copies=3, options=(),
                 ttl=TTL_SECONDS, key_file=None):
        self.directory = pathlib.Path(directory)
        self.copies = copies
        self.key_file = (make_key(self.directory) if key_file is None
                         else key_file)
        self.sheep = [Sheep(directory, number, url, options, ttl,
                            self.key_file)
                      for number in range(count)]

    @property
    def running(self):
        return [sheep for sheep in self.sheep
                if sheep.is_running and not sheep.is_suspended]

    def be_patient(self):
        """From their next start on, no sheep loses its place by a pause of
        the machine."""
        for sheep in self.sheep:
            sheep.ttl = PATIENT_TTL_SECONDS

    def start(self):
        """Start all that do not run, until each answers."""
        for sheep in self.sheep:
            if sheep.is_running and sheep.is_suspended:
                sheep.resume()
        missing = [sheep for sheep in self.sheep if not sheep.is_running]
        for sheep in missing:
            sheep.start()
        for sheep in missing:
            sheep.wait_answering()

    def form(self, **options):
        """Format a new cluster of all that run."""
        wait_until(
            lambda: all(sheep.status == 'wait-format'
                        for sheep in self.sheep),
            START_SECONDS, lambda: 'wait-format: %s' % self.describe())
        with self.client() as client:
            client.cluster.format(copies=self.copies, **options)
        self.wait_whole()

    def make_whole(self):
        """Have all run, count each other, and nothing to recover."""
        self.start()
        self.wait_whole()

    def wait_whole(self, seconds=WHOLE_SECONDS):
        """Until those that run, and only they, are the cluster, and nothing
        is being recovered."""
        wait_until(self.is_whole, seconds,
                   lambda: 'the cluster to be whole: %s' % self.describe())

    def is_whole(self) -> bool:
        alive, lists, progresses = {}, [], []
        for sheep in self.running:
            try:
                with sheep.client(5.0) as client:
                    if client.cluster.info()['status'] != 'ok':
                        return False
                    alive[sheep.port] = client.connection().incarnation
                    lists.append({node['port']: node['incarnation']
                                  for node in client.nodes.list()})
                    # (Who recovers is listed only once it knows what.)
                    progresses.append(client.call('node.progress'))
            except errors.SheepdogError:
                return False
        # (As long as the cluster has not noted that all is whole, the next
        # loss counts together with those before it.)
        is_postponed = any(one['is_postponed'] for one in progresses)
        return bool(lists) and all(nodes == alive for nodes in lists) and all(
            one['is_postponed'] or one['is_whole'] and (
                is_postponed or one['is_on_record']) for one in progresses)

    def wait_idle(self):
        """Until it is whole, and no VDI is open any more: nothing goes on
        by itself then that would look at any copy."""
        wait_until(self.is_idle, WHOLE_SECONDS, lambda: (
            'the cluster to have nothing to do: %s' % self.describe()))

    def is_idle(self) -> bool:
        try:
            for sheep in self.running:
                with sheep.client(5.0) as client:
                    if client.vdis.locks():
                        return False
        except errors.SheepdogError:
            return False
        return self.is_whole()

    def describe(self) -> str:
        """How each stands, for a message."""
        parts = []
        for sheep in self.sheep:
            if not sheep.is_running:
                parts.append('%r does not run' % sheep)
            elif sheep.is_suspended:
                parts.append('%r is suspended' % sheep)
            else:
                try:
                    with sheep.client(5.0) as client:
                        parts.append('%r: %s' % (sheep, _standing(client)))
                except errors.SheepdogError as exc:
                    parts.append('%r: %s' % (sheep, exc))
        return '\n'.join([''] + parts)

    def epoch(self) -> int:
        """The newest one that somebody knows."""
        def find():
            infos = [sheep.info() for sheep in self.running]
            return [info['epochs'][0]['epoch'] for info in infos
                    if info and info['epochs']]
        return max(wait_until(find, START_SECONDS, lambda: (
            'an epoch: %s' % self.describe())))

    def leader(self) -> Sheep:
        """Who leads, as those that run see it."""
        def find():
            ports = {info['leader']['port'] if info and info['leader']
                     else 0 for info in map(Sheep.info, self.running)}
            return [sheep for sheep in self.running
                    if ports == {sheep.port}]
        return wait_until(find, START_SECONDS, lambda: (
            'one leader: %s' % self.describe()))[0]

    def others(self, *those):
        return [sheep for sheep in self.sheep if sheep not in those]

    def client(self, *sheep, timeout=60.0) -> client_module.Client:
        """One that may go to any of ``sheep`` (all, where none is named).
        """
        return client_module.Client(
            [one.address for one in sheep or self.sheep], timeout, 2.0,
            attempt_timeout=ATTEMPT_SECONDS, key_file=str(self.key_file),
            tls=(sheep or self.sheep)[0].tls)

    def dog(self, *words, sheep=None, expect=0, **options):
        """Run dog; see ``run``."""
        return run(BIN / 'dog', *words, '-a', HOST, '-p',
                   (sheep or self.running[0]).port, '--key-file',
                   self.key_file, expect=expect, **options)

    def dog_json(self, *words, sheep=None):
        return json.loads(self.dog(*words, '--json', sheep=sheep).stdout)

    def create(self, name, size, **options):
        with self.client() as client:
            return client.vdis.create(name, size, **options)

    def kill_all(self):
        """At once, as far as that can be."""
        for sheep in self.sheep:
            if sheep.is_running:
                os.kill(sheep.process.pid, signal.SIGKILL)
        for sheep in self.sheep:
            if sheep.process is not None:
                sheep.process.wait()

    def shutdown(self):
        """In order; all have gone when it returns."""
        self.dog('cluster', 'shutdown')
        for sheep in self.sheep:
            code = sheep.wait()
            if code:
                raise HarnessError('%r: exit code %d\n%s' % (
                    sheep, code, tail(sheep.output)))

    def shutdown_at_rest(self):
        """In order, and with nothing left to be settled: the next start
        trusts all copies and looks at none. Again, where a sheep says that
        something was still going on."""
        for _ in range(STOPS_MAX):
            self.wait_idle()
            logs = [sheep.meta / 'sheep.log' for sheep in self.sheep]
            said = [len(log.read_bytes()) for log in logs]
            self.shutdown()
            if not any(UNCLEAN.encode() in log.read_bytes()[size:]
                       for log, size in zip(logs, said)):
                return
            self.make_whole()
        raise HarnessError('none of %d stops was at rest' % STOPS_MAX)

    def end(self):
        for sheep in self.sheep:
            sheep.end()

    def logs(self) -> dict:
        return {name: text for sheep in self.sheep
                for name, text in sheep.logs().items()}
