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

"""Real servers from Debian's packages, for tests: coordination services, a
message broker, Prometheus.

Each listens on loopback ports of its own and keeps everything in a
directory of its own; it is ended by its process id. ``option`` is what goes
after ``sheep -c``.

    with servers.Etcd() as server:
        ... server.option ... server.kill() ... server.start() ...
"""

import fcntl
import functools
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

RABBITMQ_SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server'
START_SECONDS = 120.0
STOP_SECONDS = 60.0
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.05
ZOOKEEPER_CLASSES = '/usr/share/java/zookeeper.jar:/etc/zookeeper/conf'


class ServerFailed(Exception):
    """It did not start; the message has the end of its log."""


PORT_FIRST, PORT_BEYOND = 20000, 32000
"""Below the kernel's range for outgoing connections: while a server is down,
none of those may take its port."""


SHARES = 4


@functools.cache
def _share() -> int:
    """Which part of all ports is this process's, for as long as it lives:
    another one would take those of a server that is down just now."""
    for number in itertools.count():
        handle = os.open(os.path.join(
            tempfile.gettempdir(), 'sheepdog-ports-%d-%d' % (
                os.getuid(), number)), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return number % SHARES


def ports(first: int, beyond: int):
    """All of this process's share, again and again, from anywhere on: those
    that nobody uses just now."""
    width = (beyond - first) // SHARES
    first += _share() * width
    for step in itertools.count(random.SystemRandom().randrange(width)):
        port = first + step % width
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
        yield port


_PORTS = ports(PORT_FIRST, PORT_BEYOND)


def free_ports(count: int) -> list:
    """Ports that nobody uses just now, each time others."""
    return list(itertools.islice(_PORTS, count))


class Server:
    """One server process. It keeps its ports and its data when it is
    killed and started again."""

    name = ''
    ports_needed = 1

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix='sheepdog-%s-' % self.name)
        self.ports = free_ports(self.ports_needed)
        self._process = None

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def option(self) -> str:
        return '%s:127.0.0.1:%d' % (self.name, self.port)

    @classmethod
    def is_installed(cls) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Returns when it answers.

        :raises ServerFailed: it ended, or does not answer in time
        """
        if self._process is not None:
            return
        with open(self._path('log'), 'ab') as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.directory, stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or (
                    time.monotonic() > deadline):
                self.kill()
                raise ServerFailed('%s did not start:\n%s' % (
                    self.name, self._log_end()))
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """In order, if it can."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def suspend(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its data."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error):
        self.close()

    def _command(self) -> list:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _log_end(self) -> str:
        with open(self._path('log'), errors='replace') as log:
            return ''.join(log.readlines()[-10:])

    def _says(self, question: bytes, answer: bytes) -> bool:
        try:
            with socket.create_connection(('127.0.0.1', self.port),
                                          ANSWER_SECONDS) as sock:
                sock.sendall(question)
                return answer in sock.recv(4096)
        except OSError:
            return False


class Files(Server):
    """No server: tooz's file driver. Has the same handles."""

    name = 'local'
    ports_needed = 0

    @property
    def option(self) -> str:
        return 'local:%s' % self._path('coordination')

    @classmethod
    def is_installed(cls) -> bool:
        return True

    def start(self) -> None:
        pass


class ZooKeeper(Server):
    name = 'zookeeper'
    tick_milliseconds = 500
    """Sessions of 2 to 20 ticks are allowed."""

    @classmethod
    def is_installed(cls) -> bool:
        return (shutil.which('java') is not None and
                os.path.exists(ZOOKEEPER_CLASSES.partition(':')[0]))

    def _command(self) -> list:
        with open(self._path('zoo.cfg'), 'w') as file:
            file.write('tickTime=%d\ndataDir=%s\nclientPort=%d\n'
                       'clientPortAddress=127.0.0.1\nmaxClientCnxns=0\n'
                       'admin.enableServer=false\n'
                       '4lw.commands.whitelist=ruok,srvr\n' % (
                           self.tick_milliseconds, self._path('data'),
                           self.port))
        return ['java', '-Xmx256m', '-XX:+UseSerialGC',
                '-XX:TieredStopAtLevel=1', '-cp', ZOOKEEPER_CLASSES,
                'org.apache.zookeeper.server.quorum.QuorumPeerMain',
                'zoo.cfg']

    def _answers(self) -> bool:
        return self._says(b'srvr', b'Mode: standalone')


class Etcd(Server):
    name = 'etcd'
    ports_needed = 2

    @classmethod
    def is_installed(cls) -> bool:
        return shutil.which('etcd') is not None

    def _command(self) -> list:
        client, peer = ('http://127.0.0.1:%d' % port for port in self.ports)
        return ['etcd', '--data-dir', 'data',
                '--listen-client-urls', client,
                '--advertise-client-urls', client,
                '--listen-peer-urls', peer,
                '--initial-advertise-peer-urls', peer,
                '--initial-cluster', 'default=' + peer]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(
                    'http://127.0.0.1:%d/health' % self.port,
                    timeout=ANSWER_SECONDS) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False


class Redis(Server):
    name = 'redis'

    @classmethod
    def is_installed(cls) -> bool:
        return shutil.which('redis-server') is not None

    def _command(self) -> list:
        return ['redis-server', '--bind', '127.0.0.1', '--port',
                str(self.port), '--dir', self.directory, '--save', '',
                '--appendonly', 'yes', '--appendfsync', 'everysec']

    def _answers(self) -> bool:
        return self._says(b'PING\r\n', b'+PONG')


ALL = (Files, ZooKeeper, Etcd, Redis)
"""Those that a cluster can be coordinated by."""


class RabbitMQ(Server):
    """A message broker. Erlang's registry of nodes runs beside it, on a
    port of its own."""

    name = 'rabbitmq'
    ports_needed = 3

    def __init__(self):
        super().__init__()
        self._registry = None

    @property
    def url(self) -> str:
        """As oslo.messaging wants it."""
        return 'rabbit://guest:guest@127.0.0.1:%d/' % self.port

    @classmethod
    def is_installed(cls) -> bool:
        return os.path.exists(RABBITMQ_SERVER) and (
            shutil.which('epmd') is not None)

    def start(self) -> None:
        if self._process is None:
            self._registry = subprocess.Popen(
                ['epmd', '-port', str(self.ports[1]), '-address',
                 '127.0.0.1'], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._wait_registry()
        super().start()

    def _wait_registry(self) -> None:
        """Else the broker would start one of its own, which stays."""
        deadline = time.monotonic() + START_SECONDS
        while self._registry.poll() is None:
            try:
                socket.create_connection(('127.0.0.1', self.ports[1]),
                                         ANSWER_SECONDS).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    break
            time.sleep(POLL_SECONDS)
        self.kill()
        raise ServerFailed('epmd did not start')

    def kill(self) -> None:
        super().kill()
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.kill()
            registry.wait()

    def _command(self) -> list:
        with open(self._path('rabbitmq.conf'), 'w') as file:
            # A test machine's disk may be as full as it likes.
            file.write('disk_free_limit.absolute = 1MB\n'
                       'listeners.tcp.default = 127.0.0.1:%d\n'
                       'log.console = true\nlog.file = false\n' % self.port)
        environment = {
            'HOME': self.directory,
            'ERL_EPMD_PORT': self.ports[1],
            'RABBITMQ_NODENAME': 'sheepdog-%d@localhost' % self.port,
            'RABBITMQ_DIST_PORT': self.ports[2],
            'RABBITMQ_CONFIG_FILE': self._path('rabbitmq.conf'),
            'RABBITMQ_CONF_ENV_FILE': self._path('none'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': self._path('plugins'),
            'RABBITMQ_MNESIA_BASE': self._path('mnesia'),
            'RABBITMQ_LOG_BASE': self._path('logs'),
            'RABBITMQ_PID_FILE': self._path('pid'),
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '+S 1:1 +sbwt none -kernel inet_dist_use_interface '
                '{127,0,0,1}',
            # No shell in between: the process id is the broker's own.
            'RUNNING_UNDER_SYSTEMD': 'true'}
        return ['env', *('%s=%s' % item for item in environment.items()),
                RABBITMQ_SERVER]

    def _answers(self) -> bool:
        # A version that it does not speak is answered with its own.
        return self._says(b'AMQP\0\0\0\0', b'AMQP')


class Prometheus(Server):
    """Scrapes ``targets`` (HOST:PORT) under the job ``sheepdog`` twice a
    second, and judges by a file of rules."""

    name = 'prometheus'

    def __init__(self, targets: list, rules: str):
        super().__init__()
        self._targets = targets
        self._rules = rules

    @classmethod
    def is_installed(cls) -> bool:
        return shutil.which('prometheus') is not None

    def get(self, path: str) -> dict:
        """The data that its API answers with."""
        with urllib.request.urlopen('http://127.0.0.1:%d/api/v1/%s' % (
                self.port, path), timeout=60) as answer:
            return json.load(answer)['data']

    def query(self, expression: str) -> list:
        """(labels, value) of each series, as of now."""
        data = self.get('query?query=' + urllib.parse.quote(expression))
        return [(one['metric'], float(one['value'][1]))
                for one in data['result']]

    def _command(self) -> list:
        with open(self._path('prometheus.yml'), 'w') as file:
            # JSON is YAML, too.
            json.dump({
                'global': {'scrape_interval': '500ms',
                           'scrape_timeout': '500ms',
                           'evaluation_interval': '500ms'},
                'rule_files': [self._rules],
                'scrape_configs': [{'job_name': 'sheepdog', 'static_configs':
                                    [{'targets': self._targets}]}]}, file)
        return ['prometheus', '--config.file', self._path('prometheus.yml'),
                '--storage.tsdb.path', self._path('data'),
                '--web.listen-address', '127.0.0.1:%d' % self.port]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen('http://127.0.0.1:%d/-/ready'
                                        % self.port,
                                        timeout=ANSWER_SECONDS):
                return True
        except (OSError, urllib.error.URLError):
            return False
