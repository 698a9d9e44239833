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

"""While nodes die, lapse and come back: nothing is left out, and doubles are
the same to the letter."""

import collections
import logging
import unittest

from sheepdog.cmd import wiring
from sheepdog.faces.notifications import events
from sheepdog.testing import scenario

SEEDS = (1, 2, 3, 4, 8, 15)
"""Some with cold starts, some with lapses, some with many epochs."""


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class _Epochs:
    """A ``ClusterListener`` that notes which epochs there were: for each
    time that the cluster was formatted, their numbers."""

    def __init__(self, cluster, found):
        self.cluster = cluster
        self.found = found

    def on_view(self, old, new, cold):
        self.found.setdefault(self.cluster.state.created,
                              set()).add(new.epoch)

    def on_event(self, event):
        pass

    def on_freeze(self):
        pass

    on_lapse = on_shutdown = on_freeze


class ListenedSheep(wiring.Sheep):
    epochs: dict

    def _build(self):
        super()._build()
        self.cluster.add_listener(_Epochs(self.cluster, self.epochs))


class NotificationsTest(unittest.TestCase):
    """One test per seed, see below."""

    maxDiff = None

    def run_seed(self, seed):
        sinks, epochs = {}, {}

        def build(world, membership, settings):
            # What was sent outlives who sent it.
            sheep = ListenedSheep(
                world, membership, settings, '', wiring.NoLogControl(),
                sinks.setdefault(settings.host, events.ListSink()))
            sheep.epochs = epochs
            return sheep

        result = scenario.run_seed(seed, build)
        self.assertEqual([], result.failures, str(result))
        told = {}
        for sink in sinks.values():
            for kind, payload in sink.sent:
                fields = {name: value for name, value in payload.items()
                          if name != 'reporter'}
                self.assertEqual((kind.name, fields), told.setdefault(
                    payload['event_id'], (kind.name, fields)))
        return epochs, list(told.values())


def _test_of(seed):
    def test(self):
        epochs, told = self.run_seed(seed)

        def epochs_of(kind):
            return sorted(fields['epoch'] for name, fields in told
                          if name == kind)

        # (An operator of the seed may have formatted it anew.)
        firsts = sorted(min(found) for found in epochs.values())
        self.assertEqual(firsts, epochs_of('cluster.formatted'))
        later = collections.Counter(
            epoch for found in epochs.values()
            for epoch in found - {min(found)})
        changed = collections.Counter(epochs_of('epoch.changed'))
        self.assertEqual({}, changed - later)
        # (One that begins with a start after a full stop is told as that.)
        self.assertLessEqual(set(later - changed),
                             set(epochs_of('cluster.started')))
        self.assertIn('vdi.created', [name for name, _ in told])

    return test


for _seed in SEEDS:
    setattr(NotificationsTest, 'test_seed_%05d' % _seed, _test_of(_seed))
