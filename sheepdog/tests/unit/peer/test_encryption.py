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

"""TLS for cluster connections: who must, and what if not."""

import types
import unittest

from sheepdog.model import errors
from sheepdog.model import pem
from sheepdog.peer import access as access_module
from sheepdog.peer import link
from sheepdog.tests.unit import jumping
from sheepdog.world import api

FILES = pem.TlsFiles('/cert', '/key', '/ca', True)


class Network:
    """Says TLS to those whose host is in ``speaking``."""

    def __init__(self, *speaking):
        self.speaking = speaking
        self.asked = []

    def tls(self, files):
        return 'tls of ' + files.certificate

    async def connect(self, factory, host, port, timeout, tls=None):
        self.asked.append(tls)
        if tls is not None and host not in self.speaking:
            raise api.TlsFailed('no TLS handshake: closed')


def make_access(network, **settings):
    world = types.SimpleNamespace(
        network=network, clock=types.SimpleNamespace(monotonic=lambda: 0.0))
    return world, access_module.Access(
        world, access_module.AccessSettings(**settings))


def connection(is_local=False, is_encrypted=False):
    return types.SimpleNamespace(
        is_local=is_local, is_encrypted=is_encrypted, peername='10.0.0.1:1',
        peer_host='10.0.0.1')


class AccessTest(unittest.TestCase):

    def test_in_clear_where_it_is_required(self):
        _world, access = make_access(Network(), tls_files=FILES)
        self.assertEqual('required', access.describe()['tls'])
        with self.assertRaisesRegex(errors.AccessRefused, '--tls-dir'):
            access.check_encrypted(connection())
        access.check_encrypted(connection(is_encrypted=True))
        access.check_encrypted(connection(is_local=True))

    def test_in_clear_where_it_is_not(self):
        for settings, told in (
                ({}, 'none'),
                ({'tls_files': FILES, 'is_tls_required': False}, 'offered')):
            _world, access = make_access(Network(), **settings)
            self.assertEqual(told, access.describe()['tls'])
            access.check_encrypted(connection())

    def test_no_seal_where_tls_protects(self):
        self.assertTrue(access_module.needs_seal(connection()))
        self.assertFalse(access_module.needs_seal(
            connection(is_encrypted=True)))


class LinkTest(jumping.Case):

    async def open(self, network, **settings):
        """What a link asks of the world: with TLS or without."""
        world, access = make_access(network, **settings)
        one = link.Link(world, 'ours', 'theirs', ('there', 7000), access)
        await one._open()
        return network.asked

    async def test_without_certificates(self):
        self.assertEqual([None], await self.open(Network()))

    async def test_required(self):
        self.assertEqual(['tls of /cert'], await self.open(
            Network('there'), tls_files=FILES))
        network = Network()
        with self.assertLogs('sheepdog.peer', 'WARNING') as logs:
            with self.assertRaises(api.TlsFailed):
                await self.open(network, tls_files=FILES)
        self.assertEqual(['tls of /cert'], network.asked)
        self.assertIn('there:7000: no TLS handshake', logs.output[0])

    async def test_offered(self):
        self.assertEqual(['tls of /cert'], await self.open(
            Network('there'), tls_files=FILES, is_tls_required=False))
        self.assertEqual(['tls of /cert', None], await self.open(
            Network(), tls_files=FILES, is_tls_required=False))
