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

"""Five processes agree, on each kind of coordination, whoever dies.

Each process is a member and nothing else (``cluster_process``): no store,
no peers' protocol. Time is real, so this measures as well; set
SHEEPDOG_SHOW_TIMES to see what.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

from sheepdog.testing import servers

COUNT = 5
TTL = 4.0
SETTLE_SECONDS = 120.0
TRIES = 5
OPERATIONS = 60


class Process:
    """One member's process, started and ended at will."""

    def __init__(self, node, option, port):
        self.node = node
        self.port = port
        self.directory = tempfile.mkdtemp(prefix='sheepdog-%s-' % node)
        self.is_stopped = False
        self._settings = {'option': option, 'ttl': TTL, 'node': node,
                          'directory': self.directory, 'port': port}
        self._process = None

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def start(self):
        with open(os.path.join(self.directory, 'output'), 'ab') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m',
                 'sheepdog.tests.contract.cluster_process',
                 json.dumps(self._settings)], stdout=output, stderr=output)

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self, seconds):
        self._process.wait(seconds)

    def suspend(self):
        self.is_stopped = True
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.is_stopped = False
        self._process.send_signal(signal.SIGCONT)

    def ask(self, timeout=5.0, **request):
        """The answer, or None if there is none."""
        try:
            with socket.create_connection(('127.0.0.1', self.port),
                                          timeout) as sock:
                sock.settimeout(timeout)
                sock.sendall(json.dumps(request).encode() + b'\n')
                return json.loads(sock.makefile().readline())
        except (OSError, ValueError):
            return None

    def state(self):
        answer = self.ask(do='state')
        return answer and answer['result']

    def told(self):
        """Its state; it must tell it."""
        return self.ask(SETTLE_SECONDS, do='state')['result']

    def samples(self):
        """(began, ended, whether it served, epoch) every 20 ms of its life:
        it was looked at between these two times."""
        path = os.path.join(self.directory, 'serving')
        with open(path) as file:
            for line in file:
                fields = line.split()
                if len(fields) == 4:
                    yield (float(fields[0]), float(fields[1]),
                           fields[2] == '1', int(fields[3]))

    def close(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Client(threading.Thread):
    """Creates VDIs through one member, one after the other."""

    def __init__(self, process, prefix, count):
        super().__init__(daemon=True)
        self._process = process
        self._names = ['%s%d' % (prefix, number) for number in range(count)]
        self.created = {}
        self.failed = []
        self.longest = 0.0

    def run(self):
        for name in self._names:
            begun = time.monotonic()
            answer = self._process.ask(60, do='execute', kind='create',
                                       arguments={'name': name})
            self.longest = max(self.longest, time.monotonic() - begun)
            if answer and 'result' in answer:
                self.created[name] = answer['result']['vdi_id']
            else:
                self.failed.append((name, answer))


class ClusterTest:
    server_class = servers.Server

    def setUp(self):
        super().setUp()
        if not self.server_class.is_installed():
            self.skipTest('%s is not installed' % self.server_class.name)
        server = self.server_class()
        self.addCleanup(server.close)
        server.start()
        option = '%s/c%s' % (server.option, uuid.uuid4().hex[:8])
        self.processes = [
            Process('n%d' % number, option, port) for number, port
            in enumerate(servers.free_ports(COUNT))]
        for process in self.processes:
            self.addCleanup(process.close)
        self.times = {}

    def tearDown(self):
        if os.environ.get('SHEEPDOG_SHOW_TIMES'):
            print('\n%s: %s' % (self.server_class.name, ', '.join(
                '%s %.2f' % item for item in self.times.items())))
        super().tearDown()

    def until(self, condition, what, seconds=SETTLE_SECONDS):
        """Returns the seconds it took."""
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > seconds:
                self.fail('not within %g s: %s; %s' % (seconds, what, [
                    process.is_running and not process.is_stopped and
                    process.state() for process in self.processes]))
            time.sleep(0.03)
        return time.monotonic() - begun

    def agreed(self, processes, least_epoch=0):
        """They, and nobody else, serve in one view."""
        nodes = sorted(process.node for process in processes)
        epochs = set()
        for process in processes:
            state = process.state()
            if not state or not state['serving'] or (
                    state['views'][str(state['epoch'])] != nodes):
                return False
            epochs.add(state['epoch'])
        return len(epochs) == 1 and min(epochs) >= least_epoch

    def epoch(self):
        return next(process.told()['epoch'] for process in self.processes
                    if process.is_running and not process.is_stopped)

    def leader(self):
        found = []
        self.until(lambda: found.extend(
            process for process in self.processes
            if process.is_running and not process.is_stopped and
            (process.state() or {}).get('is_leader')) or found, 'a leader')
        return found[0]

    def others(self, *without):
        return [process for process in self.processes
                if process not in without]

    def test_whoever_dies(self):
        self.form()
        self.kill_the_leader_at_work()
        self.restart_a_member_at_once()
        self.suspend(self.others(self.leader())[0], 'member')
        self.suspend(self.leader(), 'leader')
        self.leave_in_order()
        self.kill_all_and_start_again()
        self.shut_down_and_start_again()
        self.check_epochs()
        self.check_service()

    def form(self):
        for process in self.processes:
            process.start()
        self.until(lambda: all(
            (process.state() or {}).get('status') == 'wait-format'
            for process in self.processes), 'waiting for format')
        answer = self.processes[1].ask(
            SETTLE_SECONDS, do='execute', kind='format',
            arguments={'copies': 2})
        self.assertEqual(1, answer['result']['epoch'])
        self.until(lambda: self.agreed(self.processes), 'format')
        clients = [Client(process, 'a%d-' % number, OPERATIONS) for number,
                   process in enumerate(self.others(self.leader())[:2])]
        self.times['operations/s'] = 2 * OPERATIONS / self.work(clients)
        self.check_created(clients)

    def work(self, clients):
        begun = time.monotonic()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return time.monotonic() - begun

    def check_created(self, clients):
        wanted = {}
        for client in clients:
            self.assertEqual([], client.failed)
            wanted.update(client.created)
        self.assertEqual(len(wanted), len(set(wanted.values())))

        def present(process):
            vdis = process.told()['vdis']
            return wanted.items() <= vdis.items() and (
                len(vdis) == len(set(vdis.values())))

        for process in self.processes:
            if process.is_running and not process.is_stopped:
                self.until(lambda: present(process), 'what was created')

    def kill_the_leader_at_work(self):
        leader = self.leader()
        rest = self.others(leader)
        clients = [Client(process, 'b%d-' % number, OPERATIONS)
                   for number, process in enumerate(rest[:2])]
        for client in clients:
            client.start()
        time.sleep(0.2)
        begun = time.monotonic()
        leader.kill()
        self.until(lambda: self.agreed(rest), 'going on without the leader')
        self.times['kill -9 leader'] = time.monotonic() - begun
        for client in clients:
            client.join()
        self.times['longest operation'] = max(client.longest
                                              for client in clients)
        self.check_created(clients)
        leader.start()
        self.times['restart'] = self.until(
            lambda: self.agreed(self.processes), 'coming back')

    def restart_a_member_at_once(self):
        member = self.others(self.leader())[1]
        epoch = self.epoch()
        member.kill()
        member.start()
        self.times['kill and restart'] = self.until(
            lambda: self.agreed(self.processes, epoch + 1),
            'the new incarnation')

    def suspend(self, process, what):
        rest = self.others(process)
        begun = time.monotonic()
        process.suspend()
        try:
            self.times['suspended ' + what] = self.until(
                lambda: self.agreed(rest), 'going on without it')
            epoch = self.epoch()
            time.sleep(max(0.0, begun + 1.5 * TTL - time.monotonic()))
        finally:
            process.resume()
        self.times['resumed ' + what] = self.until(
            lambda: self.agreed(self.processes, epoch + 1),
            'its coming back')

    def leave_in_order(self):
        """Nobody waits for a lease to run out; but for the machine, maybe.
        """
        for _ in range(TRIES):
            member = self.others(self.leader())[2]
            member.ask(SETTLE_SECONDS, do='stop')
            seconds = self.times['leaving'] = self.until(
                lambda: self.agreed(self.others(member)), 'its leaving')
            member.wait(SETTLE_SECONDS)
            member.start()
            self.until(lambda: self.agreed(self.processes),
                       'its coming back')
            if seconds < TTL:
                return
        self.fail('its leaving took %g s' % seconds)

    def kill_all_and_start_again(self):
        epoch = self.epoch()
        vdis = self.processes[0].told()['vdis']
        for process in self.processes:
            process.kill()
        late = self.processes[3]
        for process in self.others(late):
            process.start()
        address = '127.0.0.1:%d' % late.port
        self.until(lambda: all(
            (process.state() or {}).get('missing') == [address]
            for process in self.others(late)), 'the name of who is missing')
        late.start()
        self.times['cold start'] = self.until(
            lambda: self.agreed(self.processes), 'a cold start')
        for process in self.processes:
            state = process.told()
            self.assertEqual(epoch, state['epoch'])
            self.assertEqual(vdis, state['vdis'])
            self.assertFalse(state['clean_start'])

    def shut_down_and_start_again(self):
        epoch = self.epoch()
        self.processes[2].ask(SETTLE_SECONDS, do='execute',
                              kind='shutdown', arguments={})
        for process in self.processes:
            process.wait(SETTLE_SECONDS)
            process.start()
        self.until(lambda: self.agreed(self.processes), 'a cold start')
        for process in self.processes:
            state = process.told()
            self.assertEqual(epoch, state['epoch'])
            self.assertTrue(state['clean_start'])

    def check_epochs(self):
        """Each has one member list, everywhere."""
        views = {}
        for process in self.processes:
            for epoch, nodes in process.told()['views'].items():
                self.assertEqual(nodes, views.setdefault(int(epoch), nodes))
        self.views = views

    def check_service(self):
        """Nobody served an epoch after another had begun to serve a later
        one that it was not in."""
        first = {}
        for process in self.processes:
            for _, when, is_serving, epoch in process.samples():
                if is_serving and when < first.get(epoch, (when + 1,))[0]:
                    first[epoch] = when, process.node
        for process in self.processes:
            for when, _, is_serving, epoch in process.samples():
                if not is_serving:
                    continue
                for later in range(epoch + 1, epoch + 3):
                    if later in first and process.node not in self.views[
                            later]:
                        self.assertLess(when, first[later][0],
                                        (process.node, epoch, first[later]))


class FileClusterTest(ClusterTest, unittest.TestCase):
    server_class = servers.Files


class ZooKeeperClusterTest(ClusterTest, unittest.TestCase):
    server_class = servers.ZooKeeper


class EtcdClusterTest(ClusterTest, unittest.TestCase):
    server_class = servers.Etcd


class RedisClusterTest(ClusterTest, unittest.TestCase):
    server_class = servers.Redis
