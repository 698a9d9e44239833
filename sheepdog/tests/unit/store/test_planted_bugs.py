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

"""The crash test must find what it is there to find."""

import unittest
from unittest import mock

from sheepdog.store import journal
from sheepdog.store import objects
from sheepdog.store import records
from sheepdog.store import saving
from sheepdog.store import syncing
from sheepdog.store import writer
from sheepdog.tests.unit.store import test_crashes

SEEDS_MAX = 60


class PlantedBugTest(unittest.TestCase):
    def assert_found(self, target, name: str, replacement) -> None:
        with mock.patch.object(target, name, replacement):
            for seed in range(1, SEEDS_MAX + 1):
                try:
                    test_crashes.Run(seed).run()
                except test_crashes.Failure:
                    return
        self.fail('%d seeds did not find it' % SEEDS_MAX)

    def test_acknowledged_before_the_sync(self):
        def answer_at_once(self):
            self._is_syncing = True
            self._syncing = self._waiting
            self._waiting = []
            self._synced(None)

        self.assert_found(writer.Writer, '_sync', answer_at_once)

    def test_changed_before_the_journal_names_it(self):
        start = writer.Writer.start

        def start_at_once(self, obj, op):
            if obj.exists and op.kind < records.REMOVE:
                obj.armed = self._journal.generation
            start(self, obj, op)

        self.assert_found(writer.Writer, 'start', start_at_once)

    def test_a_segment_freed_before_its_objects_are_synced(self):
        self.assert_found(saving.Saver, '_begin',
                          lambda self, oid: None)

    def test_a_segment_freed_before_its_records_are_applied(self):
        self.assert_found(journal.Segment, 'pending', property(
            lambda self: 0, lambda self, value: None))

    def test_a_segment_used_again_before_it_is_void(self):
        async def free(self, segment):
            segment.is_free = True
            segment.is_dirty = False
            segment.named = {}

        self.assert_found(journal.Journal, 'free', free)

    def test_records_from_before_a_creation_replayed(self):
        self.assert_found(records.Record, 'is_reset', property(
            lambda self: self.kind == records.REMOVE))

    def test_names_not_synced(self):
        self.assert_found(syncing.Syncs, 'directory',
                          lambda self, waiter: waiter(None))

    def test_a_long_write_over_what_only_the_journal_has(self):
        self.assert_found(objects.Object, 'is_fresh',
                          lambda self, first, end: False)
