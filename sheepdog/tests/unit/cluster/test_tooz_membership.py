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

import builtins
import tempfile
import threading
from unittest import mock

import testtools

from sheepdog.cluster import address
from sheepdog.cluster import tooz_groups
from sheepdog.cluster import tooz_membership


class CheckTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.membership = tooz_membership.from_url(
            'local:' + directory.name, 5.0)

    def test_it_does_not_wait_for_the_driver_to_stop(self):
        may_end, has_begun, has_ended = (threading.Event()
                                         for _ in range(3))
        self.addCleanup(may_end.set)

        def stop(groups):
            has_begun.set()
            may_end.wait(30)
            has_ended.set()

        with mock.patch.object(tooz_groups.Groups, '_stop', stop):
            self.assertEqual([], self.membership.check())
            self.assertTrue(has_begun.wait(60))
            self.assertFalse(has_ended.is_set())


class FileGroupsTest(testtools.TestCase):
    """Groups in files, of which no call shuts out that of another sheep."""

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.address = address.parse('local', 5.0, directory.name)

    def groups(self, incarnation):
        groups = tooz_groups.Groups(self.address, self.address.urls[0],
                                    incarnation)
        groups.start()
        self.addCleanup(groups._stop)
        return groups

    def test_nobody_sees_a_member_half_written(self):
        one, other = self.groups('one'), self.groups('other')
        one.join('members', {'info': 1})
        seen = []

        def opened(path, mode='r'):
            file = builtins.open(path, mode)
            if 'w' in mode:
                seen.append((other.members('members'),
                             other.all_capabilities('members'),
                             other.capabilities('members', 'two')))
            return file

        with mock.patch('tooz.drivers.file.open', opened, create=True):
            self.groups('two').join('members', {'info': 2})
        self.assertEqual([(['one'], {'one': {'info': 1}}, None)], seen)
        self.assertEqual({'one': {'info': 1}, 'two': {'info': 2}},
                         other.all_capabilities('members'))

    def test_a_member_leaves_and_joins_again(self):
        one, other = self.groups('one'), self.groups('other')
        one.join('leader', {'term': 1})
        one.leave('leader')
        self.assertEqual({}, other.all_capabilities('leader'))
        one.join('leader', {'term': 2})
        self.assertEqual({'one': {'term': 2}},
                         other.all_capabilities('leader'))
        one.heartbeat()
        self.assertEqual(['one'], other.members('leader'))
