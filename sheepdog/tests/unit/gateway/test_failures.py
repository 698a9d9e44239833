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

"""Tests of sheepdog.gateway.failures."""

import types
import unittest

from sheepdog.gateway import failures
from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.wire import peer as wire


class FailuresTest(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        member = view_model.Member('n', 'n.1', '10.0.0.1', 7000, 1, 1)
        self.cluster = types.SimpleNamespace(
            incarnation='n.1', view=view_model.View(1, 1, 0.0, (member,)))
        self.failures = failures.Failures(
            types.SimpleNamespace(monotonic=lambda: self.now), self.cluster)
        self.change = operation.Change(None, wire.WRITE, 5 << 32, 0, 512,
                                       b'', True, False, 0, None)
        self.change.count = 7

    def note(self, *noted):
        with self.assertLogs('sheepdog.gateway.failures', 'INFO') as logs:
            failures.LOG.info('end')
            for entry, error in noted:
                self.failures.note(entry, error)
        return logs.records[1:]

    def test_names(self):
        read = operation.Read(None, 5 << 32, 0, 512, None)
        record, other = self.note((self.change, errors.NoSpace('full')),
                                  (read, errors.StorageError('EIO')))
        self.assertEqual(
            '10.0.0.1:7000/7: write of object 0000000500000000, bytes 0 to '
            '512, failed: NoSpace: full', record.getMessage())
        self.assertEqual('10.0.0.1:7000/7', record.request_id)
        self.assertIn('10.0.0.1:7000/read: read of', other.getMessage())

    def test_without_a_view(self):
        self.cluster.view = None
        record, = self.note((self.change, errors.NotServing('lapsed')))
        self.assertIn('n.1/7: write', record.getMessage())

    def test_what_is_the_clients_affair(self):
        self.assertEqual([], self.note(*(
            (self.change, error('x')) for error in failures.EXPECTED)))

    def test_many(self):
        many = [(self.change, errors.NoSpace('full'))] * 30
        self.assertEqual(failures.AT_ONCE, len(self.note(*many)))
        self.now = failures.SECONDS
        self.assertIn('20 more', self.note(many[0])[0].getMessage())
