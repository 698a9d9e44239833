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

import tempfile
import threading
from unittest import mock

import testtools

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
