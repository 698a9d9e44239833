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

"""Tests of sheepdog.client.client and sheepdog.client.calls."""

import socket
import threading
import time
import unittest

from sheepdog.client import client
from sheepdog.model import errors
from sheepdog.testing import fake_sheep
from sheepdog.tests.unit.client import case


SECONDS = 60.0
"""However busy the machine is."""


def closed_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return '127.0.0.1:%d' % sock.getsockname()[1]


class ClientTest(case.ClientCase):
    def asked(self, method):
        return [arguments for name, arguments in self.cluster.asked
                if name == method]

    def test_calls_share_a_connection(self):
        self.client.vdis.list()
        self.client.vdis.list()
        self.assertEqual(1, len(self.sheep[0].greeted))
        self.assertEqual(0, len(self.sheep[1].greeted))

    def test_next_sheep_when_the_first_is_not_there(self):
        chosen = client.Client([closed_port(), self.sheep[1].address])
        self.addCleanup(chosen.close)
        self.assertEqual([], chosen.vdis.list())

    def test_none_there_fails_at_once_and_names_all(self):
        addresses = [closed_port(), closed_port()]
        begin = time.monotonic()
        with self.assertRaises(errors.Unreachable) as caught:
            client.Client(addresses, timeout=4 * SECONDS).vdis.list()
        self.assertLess(time.monotonic() - begin, SECONDS)
        for address in addresses:
            self.assertIn(address, str(caught.exception))

    def test_next_sheep_when_the_first_dies(self):
        self.client.vdis.list()
        self.sheep[0].stop()
        self.assertEqual([], self.client.vdis.list())
        self.assertEqual(1, len(self.sheep[1].greeted))

    def test_next_sheep_when_the_first_stands_still(self):
        with client.Client([sheep.address for sheep in self.sheep],
                           attempt_timeout=0.2) as patient:
            self.sheep[0].mangle = lambda opcode, header, payload: (
                payload if opcode == 0x80 else None)
            begin = time.monotonic()
            self.assertEqual([], patient.vdis.list())
            self.assertLess(time.monotonic() - begin, SECONDS)

    def test_change_is_not_done_twice(self):
        # The first sheep does it, and dies with the answer.
        self.sheep[0].mangle = lambda opcode, header, payload: (
            payload if opcode == 0x80 else self.sheep[0].break_connections())
        made = self.client.vdis.create('v', 4096)
        self.assertEqual('v', made['name'])
        first, second = self.asked('vdi.create')
        self.assertEqual(first['operation_id'], second['operation_id'])

    def test_each_change_has_its_own_id(self):
        self.client.vdis.create('v', 4096)
        self.client.vdis.delete('v')
        self.client.vdis.create('v', 4096)
        ids = {arguments['operation_id']
               for _method, arguments in self.cluster.asked}
        self.assertEqual(3, len(ids))

    def test_patience_with_a_transient_error(self):
        answers = [errors.NotServing('epoch changes'), None]

        def answer(_arguments):
            if answers:
                error = answers.pop(0)
                if error:
                    raise error
            return ['there']

        self.cluster.answers['vdi.list'] = answer
        self.assertEqual(['there'], self.client.vdis.list())

    def test_patience_ends(self):
        self.cluster.answers['vdi.list'] = errors.NotServing('no lease')
        begin = time.monotonic()
        with self.assertRaisesRegex(errors.NotServing, 'no lease'):
            self.client.call('vdi.list', timeout=0.3)
        self.assertLess(time.monotonic() - begin, SECONDS)

    def test_other_errors_come_at_once(self):
        self.cluster.answers['vdi.list'] = errors.WaitForFormat('not yet')
        with self.assertRaisesRegex(errors.WaitForFormat, 'not yet'):
            self.client.vdis.list()
        self.assertEqual(1, len(self.cluster.asked))

    def test_grouped_calls_say_what_the_contract_says(self):
        self.cluster.answers.update({
            'cluster.format': {}, 'cluster.recover': {}, 'vdi.unlock': {},
            'node.kill': {}, 'node.list': [{'id': 0}, {'id': 1}]})
        self.client.cluster.format(copies=2, force=True)
        self.client.cluster.recover_force()
        self.client.vdis.unlock('v')
        self.client.nodes.kill(1)
        asked = dict(self.cluster.asked)
        self.assertEqual(
            {'copies': 2, 'copy_policy': 0, 'block_size_shift': 22,
             'store': 'plain', 'strict': False, 'vdi_locks': True,
             'fixed_vnodes': False, 'recycle_ids': False,
             'avoid_full': False, 'force': True},
            {key: value for key, value in asked['cluster.format'].items()
             if key != 'operation_id'})
        self.assertEqual('force', asked['cluster.recover']['action'])
        self.assertEqual('v', asked['vdi.unlock']['name'])
        self.assertEqual({'id': 1}, asked['node.kill'])

    def test_kill_of_no_node(self):
        self.cluster.answers['node.list'] = [{'id': 0}]
        with self.assertRaisesRegex(errors.InvalidParameters, 'no node 3'):
            self.client.nodes.kill(3)

    def kill_and_lose(self, incarnation):
        def lose(_arguments):
            self.sheep[0].break_connections()
            return {}

        self.cluster.answers.update({
            'node.kill': lose, 'node.list': [
                {'id': 0, 'incarnation': incarnation}]})
        self.client.nodes.kill(0)

    def test_kill_is_sent_once(self):
        with self.assertRaises(errors.Unreachable):
            self.kill_and_lose('another.1')
        self.assertEqual(1, len(self.asked('node.kill')))

    def test_kill_of_the_sheep_that_is_asked(self):
        self.kill_and_lose('fake.1')
        self.assertEqual(1, len(self.asked('node.kill')))

    def test_log_level(self):
        self.client.nodes.set_log_level('debug')
        self.assertEqual('debug', self.client.nodes.log_level())
        self.assertIn('emerg', self.client.nodes.log_levels())

    def test_no_address(self):
        self.assertRaises(errors.InvalidParameters, client.Client, [])


class ShutdownTest(unittest.TestCase):
    def setUp(self):
        self.cluster = fake_sheep.FakeCluster()
        self.sheep = fake_sheep.FakeSheep(self.cluster)
        self.sheep.start()
        self.addCleanup(self.sheep.stop)
        self.client = client.Client([self.sheep.address], timeout=2.0)
        self.addCleanup(self.client.close)

    def test_answered(self):
        self.cluster.answers['cluster.shutdown'] = {}
        self.client.cluster.shutdown()

    def test_sheep_is_gone_before_it_answered(self):
        def go(_arguments):
            threading.Thread(target=self.sheep.stop).start()
            time.sleep(0.2)
            raise errors.ShuttingDown('too late to be heard')

        self.cluster.answers['cluster.shutdown'] = go
        self.client.cluster.shutdown()

    def test_connection_lost_but_the_sheep_lives(self):
        def lose(_arguments):
            self.sheep.break_connections()
            return {}

        self.cluster.answers['cluster.shutdown'] = lose
        self.cluster.answers['cluster.info'] = {'status': 'ok'}
        # The second attempt is answered from the first one's result.
        self.client.cluster.shutdown()
        self.assertEqual(2, len(self.cluster.asked))

    def test_never_there(self):
        self.sheep.stop()
        self.assertRaises(errors.Unreachable, self.client.cluster.shutdown)
