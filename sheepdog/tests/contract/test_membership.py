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

"""Membership on tooz, with real servers, and on the loop's time.

Servers that are not installed are skipped.
"""

import logging
import unittest
from unittest import mock
import uuid

import tooz

from sheepdog.cluster import tooz_groups
from sheepdog.cluster import tooz_membership
from sheepdog.testing import servers
from sheepdog.tests.contract import membership_contract

TTL = membership_contract.TTL


class WithServer(unittest.IsolatedAsyncioTestCase):
    server_class = servers.Server

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cls.server_class.is_installed():
            raise unittest.SkipTest('%s is not installed'
                                    % cls.server_class.name)
        cls.server = cls.server_class()
        cls.addClassCleanup(cls.server.close)
        cls.server.start()
        # Drivers and servers are expected to complain.
        logging.disable(logging.CRITICAL)
        cls.addClassCleanup(logging.disable, logging.NOTSET)

    def setUp(self):
        super().setUp()
        # The service stays, the cluster is each test's own.
        self.cluster = 'c' + uuid.uuid4().hex[:8]

    def option(self):
        return '%s/%s' % (self.server.option, self.cluster)

    def make(self):
        return tooz_membership.from_url(self.option(), TTL)


class Interrupted:
    """A call that fails in the middle of a claim."""

    async def test_a_claim_that_is_interrupted(self):
        for name in ('members', 'join'):
            with self.subTest(name):
                await self.interrupt(name)

    async def interrupt(self, name):
        groups = tooz_groups.Groups
        claim, interrupted = groups.claim, getattr(groups, name)
        claims = []

        def claim_first(self, least):
            term = claim(self, least)
            claims.append(term)
            return term

        def fail_once(self, *arguments):
            result = interrupted(self, *arguments)
            if claims == [1]:
                claims.append('failed')
                raise tooz.ToozError('the answer is lost')
            return result

        self.cluster = 'c' + uuid.uuid4().hex[:8]
        with mock.patch.object(groups, 'claim', claim_first), (
                mock.patch.object(groups, name, fail_once)):
            membership, watcher = self.start('a')
            await self.until(lambda: watcher.leads, membership_contract.SOON,
                             'claiming after all')
            self.assertIn('failed', claims)
        await self.until(lambda: self.agreed('a'), membership_contract.SOON,
                         'leading')
        await membership.stop()


class OnServer(membership_contract.MembershipContract, WithServer):
    def freeze(self):
        self.server.suspend()

    def thaw(self):
        self.server.resume()

    def test_check(self):
        self.make().check()

    async def test_a_killed_server_comes_back(self):
        await self.formed('a', 'b')
        self.server.kill()
        self.server.start()
        await self.until(lambda: self.agreed('a', 'b'),
                         membership_contract.LATE + TTL, 'going on')

    async def test_nobody_answers(self):
        port, = servers.free_ports(1)
        membership = tooz_membership.from_url(
            '%s:127.0.0.1:%d' % (self.server.name, port), TTL)
        with self.assertRaisesRegex(tooz_groups.CoordinationRefused,
                                    '127.0.0.1:%d' % port):
            membership.check()
        watcher = membership_contract.Watcher()
        self.memberships['a'], self.watchers['a'] = membership, watcher
        membership.start(membership_contract.info('a'), watcher, 0)
        await self.until(lambda: membership.problem,
                         membership_contract.LATE, 'a reason')
        self.assertFalse(membership.lease_valid())


class FileTest(Interrupted, membership_contract.MembershipContract,
               WithServer):
    server_class = servers.Files
    can_freeze = False


class ZooKeeperTest(Interrupted, OnServer):
    server_class = servers.ZooKeeper


class EtcdTest(Interrupted, OnServer):
    server_class = servers.Etcd


class RedisTest(Interrupted, OnServer):
    server_class = servers.Redis


class ShortSessions(servers.ZooKeeper):
    tick_milliseconds = 100


class ZooKeeperSessionTest(WithServer):
    server_class = ShortSessions

    def test_a_session_cut_short_is_refused(self):
        with self.assertRaisesRegex(tooz_groups.CoordinationRefused,
                                    'sessions of 2 s at most'):
            self.make().check()


# Not tests of their own.
del WithServer, OnServer
