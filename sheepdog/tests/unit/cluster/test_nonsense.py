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

"""What a sheep that has the key, and a bug, may say: it is told that it is
wrong, and the cluster goes on."""

import unittest
from unittest import mock

from sheepdog.cluster import cluster as cluster_module
from sheepdog.cluster import decisions
from sheepdog.cluster import entries
from sheepdog.cluster import messages
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.tests.unit.cluster import harness

GIANT = 1 << 62


class NonsenseTest(unittest.TestCase):
    def setUp(self):
        self.net = harness.Net(1, 3)
        self.addCleanup(self.net.close)
        self.net.formed()
        self.leader = next(node for node in self.net.nodes.values()
                           if node.cluster.explain()['is_leader'])
        self.follower = next(node for node in self.net.nodes.values()
                             if node is not self.leader)

    def tell(self, node, message, sender=None):
        """What ``node`` answers, or raises."""
        cluster = node.cluster

        async def handle():
            try:
                return await cluster.handle(
                    sender or message.get('leader', 'n9.1'), message)
            except errors.SheepdogError as error:
                return error

        return node.host.run(handle())

    def still_well(self):
        self.net.run_for(10)
        for node in self.net.nodes.values():
            self.assertTrue(node.is_running, node.name)
            self.assertTrue(node.cluster.serving(), node.name)
            self.assertEqual(1, node.cluster.view.epoch)
        self.assertEqual([], self.net.simulation.errors())
        for node in self.net.nodes.values():
            result = self.net.result(node, 'create',
                                     {'name': 'of %s' % node.name})
            self.assertIsInstance(result, dict, result)

    def from_leader(self, kind, **fields):
        cluster = self.follower.cluster
        return dict(fields, kind=kind, to=cluster.incarnation,
                    term=self.leader.cluster.explain()['term'],
                    leader=self.leader.cluster.incarnation)

    # To the leader.

    def test_operations_that_make_no_sense(self):
        for kind, arguments in (
                ('lock', {}), ('lock', {'vdi_id': True, 'owner': 'o'}),
                ('lock', {'vdi_id': 1, 'owner': 'o', 'mode': []}),
                ('lock', {'vdi_id': [], 'owner': 'o'}),
                ('unlock', {'vdi_id': 1.0}), ('unlock', {'vdi_id': None}),
                ('settings', {'changes': 5}),
                ('settings', {'changes': {'copies': 'x'}}),
                ('settings', {'changes': {'copies': GIANT}}),
                ('settings', {'changes': {'block_size_shift': 64}}),
                ('settings', {'changes': {'vdi_locks': None}}),
                ('recovered', {'incarnation': [], 'epoch': 1}),
                ('recovered', {'incarnation': 'x', 'epoch': '1'}),
                ('format', {'force': True, 'copies': 'x'}),
                ('format', {'force': True, 'copies': None}),
                ('format', {'force': True, 'copies': True}),
                ('format', {'force': True, 'block_size_shift': []}),
                ('format', {'force': True, 'store': 5}),
                ('format', {'force': True, 'fixed_vnodes': 'no'}),
                ('recover-force', {'what': {}})):
            with self.subTest(kind, arguments=arguments):
                answer = self.tell(self.leader, {
                    'kind': 'execute', 'operation': 'o', 'name': kind,
                    'arguments': arguments})
                self.assertIsInstance(answer, errors.InvalidParameters)
        self.still_well()

    def test_names_of_operations(self):
        """They go into the log of all: what is no name must not."""
        for operation in ('', 5, None, [], 'x' * 129):
            with self.subTest(operation):
                answer = self.tell(self.leader, {
                    'kind': 'execute', 'operation': operation,
                    'name': 'create', 'arguments': {'name': 'a'}})
                self.assertIsInstance(answer, errors.InvalidParameters)
            for node in self.leader, self.follower:
                if operation in ('', None):
                    continue  # They make one.
                with self.subTest(operation, node=node.name):
                    answer = self.net.result(node, 'create', {'name': 'a'},
                                             operation_id=operation or 5)
                    self.assertIsInstance(answer, errors.InvalidParameters)
        self.still_well()

    # To a follower.

    def record(self, event, **fields):
        state = self.follower.cluster.state
        fields = {'sequence': state.sequence + 1, 'term': state.term,
                  'time': 0.0, 'event': event, **fields}
        return list(entries.Record(**fields))

    def test_events_that_make_no_sense(self):
        """They must not be written down either: no start would get over
        them again."""
        view = self.follower.cluster.view.to_dict()
        for event in (
                {}, {'kind': []}, {'kind': 'paint'}, {'kind': 'lock'},
                {'kind': 'lock', 'vdi_id': [], 'mode': 'exclusive',
                 'owner': 'o'},
                {'kind': 'lock', 'vdi_id': 1, 'mode': {}, 'owner': 'o'},
                {'kind': 'unlock', 'vdi_id': 1},
                {'kind': 'unlock', 'vdi_id': 1, 'owner': 'o'},
                {'kind': 'vdi-create'}, {'kind': 'vdi-create', 'entry': {}},
                {'kind': 'vdi-create', 'entry': {
                    'vdi_id': 1 << 24, 'name': 'a'}},
                {'kind': 'vdi-delete', 'vdi_id': {}},
                {'kind': 'vdi-delete', 'vdi_id': 77},
                {'kind': 'vdi-resize'},
                {'kind': 'settings', 'changes': {'copies': 'x'}},
                {'kind': 'recovered', 'incarnation': [], 'epoch': 1},
                {'kind': 'recovered', 'incarnation': 'n', 'epoch': 1},
                {'kind': 'epoch'}, {'kind': 'epoch', 'view': {}},
                {'kind': 'epoch', 'view': dict(view, epoch=1 << 32)},
                {'kind': 'epoch', 'view': dict(view, epoch='2')},
                {'kind': 'epoch', 'view': dict(view, members=[dict(
                    view['members'][0], vnodes=GIANT)])},
                {'kind': 'format', 'settings': {}, 'view': view}):
            with self.subTest(event):
                answer = self.tell(self.follower, self.from_leader(
                    'events', records=[self.record(event)]))
                self.assertIsInstance(answer, errors.SheepdogError)
        self.still_well()
        self.follower.host.kill()
        self.follower.start()
        self.net.run_until(self.net.is_settled, what='it starts again')

    def test_records_that_make_no_sense(self):
        good = {'kind': 'resume'}
        sequence = self.follower.cluster.state.sequence
        for records in (
                [5], [[]], [{}], [[1]], [self.record(good)[:3]],
                [self.record(good, sequence='1')],
                [self.record(good, term=GIANT)],
                [self.record(good, time='now')],
                [self.record(good, operation=5)],
                [self.record(good), self.record(good)],
                [self.record(good),
                 self.record(good, sequence=sequence + 3)]):
            with self.subTest(records):
                answer = self.tell(self.follower, self.from_leader(
                    'events', records=records))
                self.assertIsInstance(answer, errors.InvalidParameters)
        self.still_well()

    def test_a_record_of_an_earlier_leader(self):
        """Another history: that life is over, and the next is synced."""
        answer = self.tell(self.follower, self.from_leader(
            'events', records=[self.record({'kind': 'resume'}, term=0)]))
        self.assertIn('refused', answer)
        self.net.run_until(self.net.is_settled, what='it joins again')
        self.assertEqual([], self.net.simulation.errors())

    def test_a_record_of_nobody(self):
        """Somebody makes one up, for one sheep only, and calls itself the
        next leader: whose history differs begins anew."""
        for node in self.net.nodes.values():
            with self.subTest(node.name):
                cluster = node.cluster
                term = cluster.explain()['term'] + 1
                answer = self.tell(node, {
                    'kind': 'events', 'to': cluster.incarnation,
                    'term': term, 'leader': 'n9.1',
                    'records': [list(cluster.state.next_record(
                        term, 0.0, {'kind': 'resume'}))]})
                self.assertEqual({'ok': True}, answer)
                # At the same place as the one that the leader adds now.
                self.net.result(self.leader, 'create', {
                    'name': 'of %s' % node.name})
                self.net.run_until(
                    lambda: self.net.is_settled() and len({
                        one.cluster.state.position for one
                        in self.net.nodes.values()}) == 1,
                    what='all agree')
                self.assertEqual([], self.net.simulation.errors())

    def test_messages_that_make_no_sense(self):
        state = self.follower.cluster.state.to_dict()
        sync = {'views': [], 'cold': False, 'clean': False}
        good = self.from_leader('ping')
        for message in (
                {}, {'kind': []}, {'kind': 'paint'}, {'kind': 'survey'},
                dict(good, term='1'), dict(good, term=True),
                dict(good, term=-1), dict(good, to=5),
                self.from_leader('prepare', prepared={}),
                self.from_leader('prepare', prepared=[]),
                self.from_leader('prepare', prepared={
                    'epoch': 1 << 32, 'term': 1, 'attempt': 1, 'sequence': 1,
                    'created': 1, 'view': None}),
                self.from_leader('waiting', status='wait-join', reason='',
                                 missing=[5]),
                self.from_leader('sync', state=state),
                self.from_leader('sync', state=[], **sync),
                self.from_leader('sync', state={}, **sync)):
            with self.subTest(message):
                answer = self.tell(self.follower, message)
                self.assertIsInstance(answer, errors.InvalidParameters)
        for name, wrong in (
                ('locks', [[1, 'exclusive', [5]]]), ('locks', [[1, 2, []]]),
                ('locks', [[[], 'exclusive', ['o']]]), ('locks', [5]),
                ('locks', [[9, 'exclusive', ['o']]]),
                ('fences', [['a', 'b']]), ('recovered', [[1, 1]]),
                ('operations', [[1, {}, 'now']]), ('settled', 'now'),
                ('settings', None), ('time', 'now'), ('vdis', [{}])):
            with self.subTest(name, wrong=wrong):
                with self.assertRaises(errors.InvalidParameters):
                    state_module.State.from_dict(dict(state, **{name: wrong}))
        self.still_well()

    # As an answer.

    def test_answers_that_make_no_sense(self):
        good = {'ok': True, 'state': {}, 'tail': [], 'views': [],
                'prepared': None}
        for kind, answer in (
                ('ping', {}), ('ping', {'ok': 1}), ('ping', {'refused': 5}),
                ('ping', {'refused': []}), ('ping', {'refused': 'mood'}),
                ('ping', {'refused': 'term'}),
                ('ping', {'refused': 'term', 'promised': '9'}),
                ('ping', {'refused': 'term', 'promised': -1}),
                ('survey', {'ok': True}),
                ('survey', {'ok': True, 'answer': []}),
                ('fetch', {'ok': True}), ('fetch', dict(good, state=5)),
                ('fetch', dict(good, tail={})),
                ('fetch', dict(good, prepared=[]))):
            with self.subTest(kind, answer=answer):
                with self.assertRaises(errors.CorruptFrame):
                    messages.checked_answer(kind, answer)
        self.assertIs(good, messages.checked_answer('fetch', good))

    def test_who_answers_nonsense_is_dealt_with(self):
        """The leader goes on with the others."""
        follower = self.follower.cluster

        async def nonsense(message):
            return {'refused': 'term', 'promised': 'many'}

        with mock.patch.object(follower._follower, '_obey', nonsense):
            self.net.run_until(
                lambda: len(self.leader.cluster.view.members) == 2,
                what='the others go on')
        self.assertEqual([], self.net.simulation.errors())

    def test_no_answer_from_the_leader(self):
        """An operation is asked for again, until the time is over."""
        async def nonsense(sender, message):
            return {}

        with mock.patch.object(cluster_module.Cluster, 'handle', nonsense):
            answer = self.net.result(self.follower, 'create', {'name': 'a'},
                                     timeout=2)
        self.assertIsInstance(answer, errors.NotServing)


class DecisionsTest(unittest.TestCase):
    def test_format_settings(self):
        settings = decisions.format_settings({'copies': 2}, (), 1.5)
        self.assertEqual((2, (1 << 32) + 500000000),
                         (settings.copies, settings.created))
        for wrong in ({'copies': '2'}, {'copies': 2.0}, {'copies': True},
                      {'block_size_shift': None}, {'store': 1},
                      {'strict': 1}):
            with self.subTest(wrong):
                with self.assertRaises(errors.InvalidParameters):
                    decisions.format_settings(wrong, (), 1.5)
