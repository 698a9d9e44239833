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

"""The commands of dog against a fake sheep: output, exit codes, refusals."""

import io
import json
import socket
import unittest
from unittest import mock

from sheepdog.cmd.dog import dispatch
from sheepdog.cmd.dog import recovery
from sheepdog.cmd.dog import unbuilt
from sheepdog.cmd import progress
from sheepdog.model import errors
from sheepdog.testing import fake_sheep
from sheepdog.tests.unit.cmd.dog import test_tables as samples
from sheepdog.tests.unit.cmd import streams

MIB = 1 << 20


class DogCase(unittest.TestCase):
    def setUp(self):
        streams.use_utc(self)
        self.cluster = fake_sheep.FakeCluster()
        self.cluster.answers.update({
            'cluster.info': samples.INFO, 'cluster.format': {'epoch': 1},
            'cluster.shutdown': {}, 'cluster.recover': {},
            'node.list': [samples.member(7000, id=0, incarnation='a.1'),
                          samples.member(7001, id=1, incarnation='b.1')],
            'node.kill': {}, 'vdi.unlock': {}})
        self.sheep = fake_sheep.FakeSheep(self.cluster)
        self.sheep.start()
        self.addCleanup(self.sheep.stop)

    def dog(self, words, stdin=b'', terminal=False, code=0):
        self.streams = streams.Streams(stdin, terminal)
        words = words.split() if isinstance(words, str) else words
        got = dispatch.main(words + ['-a', self.sheep.address], self.streams)
        self.assertEqual(code, got, self.streams.complaint)
        return self.streams.text

    def asked(self, method):
        found = [arguments for name, arguments in self.cluster.asked
                 if name == method]
        self.assertEqual(1, len(found), found)
        found[0].pop('operation_id', None)
        return found[0]


class ClusterTest(DogCase):
    def test_info(self):
        self.assertIn('\nCluster created at Sun Nov 22 08:13:44 2026\n',
                      self.dog('cluster info'))

    def test_info_json(self):
        self.assertEqual(samples.INFO,
                         json.loads(self.dog('cluster info --json')))

    def test_alter_copy(self):
        copies = samples.INFO['settings']['copies']
        self.cluster.answers['cluster.alter-copy'] = {
            'before': copies, 'copies': copies + 1}
        self.assertIn('VDIs made from now on have %d copies' % (copies + 1),
                      self.dog('cluster alter-copy -c %d' % (copies + 1)))
        self.assertEqual(copies + 1,
                         self.asked('cluster.alter-copy')['copies'])
        self.dog('cluster alter-copy -c 1', code=1)
        self.assertIn('VDIs made from now on will survive the loss of no '
                      'zone', self.streams.complaint)
        self.dog('cluster alter-copy -c 1 -f')
        self.dog('cluster alter-copy', code=64)
        self.dog('cluster alter-copy -c 5:2', code=64)

    def test_alter_copy_to_strips(self):
        self.cluster.answers['cluster.alter-copy'] = {
            'before': 3, 'policy_before': 0, 'copies': 6, 'copy_policy': 34}
        self.assertIn('VDIs made from now on are kept as 4:2 strips; those '
                      'that there are', self.dog('cluster alter-copy -c 4:2'))
        self.assertEqual({'copies': 6, 'copy_policy': 0x22, 'force': False},
                         self.asked('cluster.alter-copy'))
        self.assertEqual(34, json.loads(self.dog(
            'cluster alter-copy -c 4:2 --json'))['copy_policy'])
        # Six strips survive less than three copies.
        self.dog('cluster alter-copy -c 8:1', code=1)
        self.assertIn('will survive the loss of 1 zone, instead of 2 zones',
                      self.streams.complaint)

    def format_new(self, words, **keywords):
        self.cluster.answers['cluster.info'] = dict(
            samples.INFO, status='wait-format', settings=None, epochs=[])
        return self.dog(words, **keywords)

    def test_format(self):
        self.assertEqual('using backend plain store\n',
                         self.format_new('cluster format'))
        self.assertEqual(
            {'copies': 3, 'copy_policy': 0, 'block_size_shift': 22,
             'store': 'plain', 'strict': False, 'vdi_locks': True,
             'fixed_vnodes': False, 'recycle_ids': False,
             'avoid_full': False, 'force': False},
            self.asked('cluster.format'))

    def test_format_options(self):
        self.format_new('cluster format -c 2 -z 24 -tlVRF -b plain')
        self.assertEqual(
            {'copies': 2, 'copy_policy': 0, 'block_size_shift': 24,
             'store': 'plain', 'strict': True, 'vdi_locks': True,
             'fixed_vnodes': True, 'recycle_ids': True,
             'avoid_full': True, 'force': False},
            self.asked('cluster.format'))

    def test_format_refused_options(self):
        for words in ('-b tree', '-c 0', '-c 32', '-c x', '-c 3:2', '-c 4:16',
                      '-z 19', '-z 29', '-x', 'more'):
            with self.subTest(words):
                self.format_new('cluster format ' + words, code=64)
        self.assertNotIn('cluster.format', dict(self.cluster.asked))

    def test_format_with_strips(self):
        self.format_new('cluster format -c 4:2')
        asked = self.asked('cluster.format')
        self.assertEqual((6, 0x22), (asked['copies'], asked['copy_policy']))

    def test_format_again_needs_force(self):
        self.dog('cluster format', code=3)
        self.assertIn('-f', self.streams.complaint)
        self.assertNotIn('cluster.format', dict(self.cluster.asked))
        self.dog('cluster format -f')
        self.assertTrue(self.asked('cluster.format')['force'])

    def test_format_again_asks_on_a_terminal(self):
        self.dog('cluster format', b'no\n', terminal=True, code=1)
        self.assertIn('[yes/no]', self.streams.complaint)
        self.assertNotIn('cluster.format', dict(self.cluster.asked))
        self.dog('cluster format', b'what\nyes\n', terminal=True)
        self.assertTrue(self.asked('cluster.format')['force'])

    def test_shutdown_is_silent(self):
        self.assertEqual('', self.dog('cluster shutdown'))
        self.asked('cluster.shutdown')

    def test_reweight(self):
        self.cluster.answers['cluster.reweight'] = {'silent': []}
        self.assertEqual('', self.dog('cluster reweight'))
        self.cluster.answers['cluster.reweight'] = {'silent': ['h:1']}
        self.dog('cluster reweight', code=2)
        self.assertEqual('dog: h:1 does not answer, and keeps its weight\n',
                         self.streams.complaint)

    def test_vnodes(self):
        self.cluster.answers['node.vnodes'] = {}
        self.assertEqual('', self.dog('node vnodes set 77'))
        self.assertEqual({'vnodes': 77}, self.asked('node.vnodes'))
        for words in ('', '0', 'x', '1 2', '99999'):
            self.dog('node vnodes set ' + words, code=64)

    def test_evict(self):
        for name in ('node.evict', 'node.readmit'):
            self.cluster.answers[name] = {}
        self.assertEqual('', self.dog('node evict 3'))
        self.assertEqual({'id': 3, 'force': False}, self.asked('node.evict'))
        self.cluster.asked.clear()
        self.assertEqual('', self.dog('node evict -f 3'))
        self.assertEqual({'id': 3, 'force': True}, self.asked('node.evict'))
        self.assertEqual('', self.dog('node readmit 3'))
        self.assertEqual({'id': 3}, self.asked('node.readmit'))
        for words in ('evict', 'evict x', 'readmit', 'readmit 1 2'):
            self.dog('node ' + words, code=64)

    def test_recover_enable(self):
        self.assertEqual('Cluster recovery: disable\n',
                         self.dog('cluster recover disable'))
        self.assertEqual({'action': 'disable'},
                         self.asked('cluster.recover'))
        self.cluster.asked.clear()
        self.assertEqual('Cluster recovery: enable\n',
                         self.dog('cluster recover enable'))
        self.assertEqual({'action': 'enable'}, self.asked('cluster.recover'))

    def test_recover_force(self):
        self.dog('cluster recover force', code=1)
        self.assertNotIn('cluster.recover', dict(self.cluster.asked))
        self.dog('cluster recover force -f')
        self.assertEqual({'action': 'force'}, self.asked('cluster.recover'))


class NodeTest(DogCase):
    def test_list(self):
        self.assertEqual(
            '0 127.0.0.1:7000 128 0\n1 127.0.0.1:7001 128 0\n',
            self.dog('node list -r'))

    def test_info_with_a_silent_node(self):
        self.cluster.answers['node.info'] = {'nodes': [
            {'id': 0, 'host': 'a', 'port': 1, 'total': 10, 'used': 1,
             'free': 9},
            {'id': 1, 'host': 'b', 'port': 2, 'error': 'no answer'}],
            'virtual_bytes': 5}
        self.assertEqual('0 10 1 9 10%\nTotal 10 1 9 10% 5\n',
                         self.dog('node info -r', code=2))
        self.assertIn('node 1 (b:2): no answer', self.streams.complaint)

    def test_stat(self):
        self.cluster.answers['node.stat'] = {
            'client': samples.COUNTS, 'peer': samples.COUNTS}
        self.assertEqual('Client 0 0 0 0 0 0 0 0\nPeer 0 0 0 0 0 0 0 0\n',
                         self.dog('node stat -r'))

    def test_stat_watch(self):
        answers = [{'client': dict(samples.COUNTS, total=count),
                    'peer': samples.COUNTS} for count in (0, 10)]

        def answer(_arguments):
            if not answers:
                raise errors.ShuttingDown('enough')
            return answers.pop(0)

        self.cluster.answers['node.stat'] = answer
        with mock.patch('sheepdog.cmd.dog.node.WATCH_SECONDS', 0.01):
            text = self.dog('node stat -w', code=2)
        self.assertEqual(6, len(text.splitlines()))
        self.assertIn('RPS', text)

    def test_kill(self):
        self.assertEqual('', self.dog('node kill 1'))
        self.assertEqual({'id': 1}, self.asked('node.kill'))

    def test_kill_local(self):
        self.dog('node kill -l')
        self.assertEqual({'local': True}, self.asked('node.kill'))

    def test_kill_refused(self):
        for words in ('', 'x', '-l 1', '7', '-1'):
            with self.subTest(words):
                self.dog('node kill ' + words, code=64)
        self.assertNotIn('node.kill', dict(self.cluster.asked))

    def test_recovery(self):
        self.cluster.answers['node.recovery'] = [
            samples.member(7000, id=0, done=1, total=2)]
        for words in ('node recovery -r', 'node recovery info -r'):
            self.assertEqual('0 127.0.0.1:7000 128 0 1 2\n', self.dog(words))

    def test_recovery_that_holds_back(self):
        node = samples.member(7000, id=0, done=1, total=2)
        self.cluster.answers['node.recovery'] = [node]
        for usual, said in ((0.21, ', usually 0.2 ms'), (None, '')):
            node['held_back'] = {
                'at_once': 1, 'share': 0.25, 'of': '127.0.0.1:7001',
                'ms': 1.94, 'usual_ms': usual}
            with self.subTest(usual):
                self.assertEqual(
                    '       holds back: clients of 127.0.0.1:7001 wait '
                    '1.9 ms' + said,
                    self.dog('node recovery').splitlines()[-1])
                self.assertEqual(
                    1, len(self.dog('node recovery -r').splitlines()))

    def test_recovery_that_waits_for_who_is_away(self):
        node = samples.member(7000, id=0, done=0, total=0, postponed={
            'nodes': ['127.0.0.1:7003'], 'until': 3600.0, 'objects': 12})
        self.cluster.answers['node.recovery'] = [node]
        self.assertRegex(
            self.dog('node recovery').splitlines()[-1],
            r'^Postponed until \d\d:00:00: what 127.0.0.1:7003 held, as it '
            r'may come back\.$')
        self.assertEqual('', self.dog('node recovery -r'))

    def test_recover_now(self):
        self.assertEqual('', self.dog('cluster recover now'))
        self.assertEqual({'action': 'now'}, self.asked('cluster.recover'))

    def test_recovery_on_a_terminal(self):
        nodes = [samples.member(7000, id=0, done=done, total=200,
                                seconds_left=left)
                 for done, left in ((0, None), (90, 75.2), (200, 0.0))]
        nodes[1]['held_back'] = {
            'at_once': 1, 'share': 0.25, 'of': '127.0.0.1:7001', 'ms': 1.9,
            'usual_ms': 0.2}
        states = iter([nodes[:1], [nodes[1]], [nodes[2]]])
        calls = mock.Mock(recovery=lambda: next(states))
        session = mock.Mock(is_json=False, is_raw=False)
        session.client.nodes = calls
        out = session.streams.stdout = io.StringIO()
        out.isatty = lambda: True
        session.show = lambda _result, lines: [
            print(line, file=out) for line in lines]
        with mock.patch.object(recovery.time, 'sleep'):
            recovery.show(session)
        empty, half = '.' * 30, '#' * 13 + '.' * 17
        self.assertEqual(
            'Nodes In Recovery:\n'
            '   0   127.0.0.1:7000       [%s]   0.0%%  \n'
            '\x1b[2A\x1b[J'
            'Nodes In Recovery:\n'
            '   0   127.0.0.1:7000       [%s]  45.0%%  '
            'about 1 min 15 s left\n'
            '       holds back: clients of 127.0.0.1:7001 wait 1.9 ms, '
            'usually 0.2 ms\n'
            '\x1b[3A\x1b[J'
            'No node is in recovery.\n' % (empty, half), out.getvalue())

    def test_throttle(self):
        self.cluster.answers['node.throttle'] = {'max': 8, 'interval': 20}
        self.assertEqual('8 objects at once, 20 ms of rest behind each\n',
                         self.dog('node recovery get-throttle'))
        self.assertEqual('8 20\n', self.dog('node recovery get-throttle -r'))
        self.cluster.asked.clear()
        self.assertEqual('', self.dog('node recovery set-throttle 4 250'))
        self.assertEqual({'action': 'set', 'max': 4, 'interval': 250,
                          'everyone': False}, self.asked('node.throttle'))

    def test_throttle_of_all(self):
        self.cluster.answers['node.throttle'] = {'nodes': [
            {'address': 'a:1', 'max': 4, 'interval': 0},
            {'address': 'b:1', 'error': 'does not answer'}]}
        self.dog('node recovery set-throttle -A 4 0', code=2)
        self.assertTrue(self.asked('node.throttle')['everyone'])
        self.assertEqual('dog: b:1: does not answer\n',
                         self.streams.complaint)

    def test_throttle_refused(self):
        for words in ('', '1', '1 2 3', 'x 1', '1 x', '1025 0', '-1 0',
                      '1 3600001'):
            with self.subTest(words):
                self.dog('node recovery set-throttle ' + words, code=64)
        self.assertNotIn('node.throttle', dict(self.cluster.asked))

    def test_log(self):
        self.assertEqual('', self.dog('node log level set debug'))
        self.assertEqual('debug\n', self.dog('node log level get'))
        self.assertEqual('emerg\ninfo\ndebug\n',
                         self.dog('node log level list'))


class VdiTest(DogCase):
    def test_create(self):
        self.assertEqual('', self.dog('vdi create v 1G'))
        self.assertEqual(
            {'name': 'v', 'size': 1 << 30, 'copies': 0, 'copy_policy': 0,
             'block_size_shift': 0},
            self.asked('vdi.create'))

    def test_create_options_anywhere(self):
        self.dog('vdi create v -c 2 16M -z 20')
        self.assertEqual(
            {'name': 'v', 'size': 16 * MIB, 'copies': 2, 'copy_policy': 0,
             'block_size_shift': 20},
            self.asked('vdi.create'))

    def test_create_refused(self):
        for words in ('v', 'v 0', 'v x', 'v 1Z', 'v -1', 'v 9999999P',
                      'v 1G more', '-y v 1G', '-c 3:2 v 1G', '-c 0 v 1G',
                      '-z 40 v 1G'):
            with self.subTest(words):
                self.dog('vdi create ' + words, code=64)
        self.assertEqual([], self.cluster.asked)

    def test_create_with_strips(self):
        self.dog('vdi create -c 8:3 v 1G')
        asked = self.asked('vdi.create')
        self.assertEqual((11, 0x43), (asked['copies'], asked['copy_policy']))

    def test_create_twice(self):
        self.dog('vdi create v 1M')
        self.dog('vdi create v 1M', code=3)
        self.assertEqual("dog: the VDI 'v' exists already\n",
                         self.streams.complaint)

    def test_create_json(self):
        made = json.loads(self.dog('vdi create v 1M --json'))
        self.assertEqual('v', made['name'])

    def test_list(self):
        self.dog('vdi create one 20M')
        self.dog('vdi create two 20M')
        self.assertEqual(2, len(self.dog('vdi list -r').splitlines()))
        line, = self.dog('vdi list -r one').splitlines()
        self.assertTrue(line.startswith('= one 0 20971520 0 0 1795335224 '))
        self.dog('vdi list three', code=5)

    def test_resize(self):
        self.dog('vdi create v 1M')
        self.assertEqual('', self.dog('vdi resize v 2M'))
        self.assertEqual(2 * MIB, self.cluster.vdis['v']['size'])
        self.dog('vdi resize v 1M', code=64)
        self.dog('vdi resize v 0', code=64)
        self.dog('vdi resize w 2M', code=5)

    def test_resize_to_less(self):
        self.dog('vdi create v 4M')
        self.assertEqual('{}\n', self.dog('vdi resize v 2M -f --json'))
        self.assertEqual(2 * MIB, self.cluster.vdis['v']['size'])
        self.dog('vdi resize v 1M', b'no\n', terminal=True, code=1)
        self.assertEqual(2 * MIB, self.cluster.vdis['v']['size'])
        self.dog('vdi resize v 1M', b'yes\n', terminal=True)
        self.assertEqual(MIB, self.cluster.vdis['v']['size'])
        self.dog('vdi resize v 2M', terminal=True)

    def test_alter_copy(self):
        self.dog('vdi create v 1M -c 2')
        self.cluster.answers['vdi.alter-copy'] = {
            'before': 2, 'policy_before': 0, 'copies': 3, 'copy_policy': 0,
            'vdis': [7]}
        self.assertEqual(
            'VDI v: 3 copies instead of 2; they are made and dropped in the '
            'background (dog node recovery)\n',
            self.dog('vdi alter-copy v -c 3'))
        self.assertEqual({'name': 'v', 'copies': 3, 'copy_policy': 0,
                          'force': False}, self.asked('vdi.alter-copy'))
        self.assertEqual(3, json.loads(self.dog(
            'vdi alter-copy v -c 3 --json'))['copies'])
        self.dog('vdi alter-copy v', code=64)

    def test_alter_copy_to_strips(self):
        self.dog('vdi create v 1M -c 2')
        self.cluster.answers['vdi.alter-copy'] = {
            'before': 2, 'policy_before': 0, 'copies': 6,
            'copy_policy': 0x22, 'vdis': [7]}
        self.assertEqual(
            'VDI v: 4:2 strips instead of 2; its objects are copied in the '
            'background (dog vdi list)\n',
            self.dog('vdi alter-copy v -c 4:2'))
        self.assertEqual({'name': 'v', 'copies': 6, 'copy_policy': 0x22,
                          'force': False}, self.asked('vdi.alter-copy'))

    def test_alter_copy_says_what_it_leaves(self):
        """Snapshots keep theirs, and it cannot be done for ever."""
        self.dog('vdi create v 1M -c 2')
        answer = {'before': 2, 'policy_before': 0, 'copies': 6,
                  'copy_policy': 0x22, 'vdis': [7], 'times_left': 6}
        self.cluster.answers['vdi.alter-copy'] = answer
        shown = dict(self.cluster.vdis['v'])
        for count, left, text in (
                (0, 6, ''), (1, 3, '; its snapshot keeps what it has'),
                (2, 2, '; its snapshots keep what they have; it can be '
                 'altered so 2 times more'),
                (0, 1, '; it can be altered so once more'),
                (0, 0, '; it can be altered so not once more')):
            answer['times_left'] = left
            self.cluster.answers['vdi.list'] = [shown] + [
                dict(shown, snapshot=True, snap_id=number)
                for number in range(1, count + 1)]
            self.assertEqual(
                'VDI v: 4:2 strips instead of 2; its objects are copied in '
                'the background (dog vdi list)%s\n' % text,
                self.dog('vdi alter-copy v -c 4:2'))

    def test_alter_copy_asks_before_there_are_fewer(self):
        self.dog('vdi create v 1M -c 3')
        self.cluster.answers['vdi.alter-copy'] = {
            'before': 3, 'policy_before': 0, 'copies': 2, 'copy_policy': 0,
            'vdis': [7]}
        self.dog('vdi alter-copy v -c 2', code=1)
        self.assertIn('VDI v will survive the loss of 1 zone, instead of 2 '
                      'zones. Nothing was done: -f', self.streams.complaint)
        self.dog('vdi alter-copy v -c 2', stdin=b'no\n', terminal=True,
                 code=1)
        self.assertNotIn('vdi.alter-copy',
                         [name for name, _ in self.cluster.asked])
        self.dog('vdi alter-copy v -c 2', stdin=b'yes\n', terminal=True)
        self.assertFalse(self.asked('vdi.alter-copy')['force'])
        self.cluster.asked.clear()
        self.dog('vdi alter-copy v -c 2 -f')
        self.assertTrue(self.asked('vdi.alter-copy')['force'])

    def test_alteration_under_way(self):
        self.dog('vdi create v 1M -c 3')
        self.cluster.vdis['v']['copies_before'] = 2
        self.assertRegex(self.dog('vdi list'), r' 2>3 ')
        self.assertNotIn('>', self.dog('vdi list -r'))
        self.assertEqual(2, json.loads(
            self.dog('vdi list --json'))[0]['copies_before'])

    def test_delete(self):
        self.dog('vdi create v 1M')
        self.assertEqual('', self.dog('vdi delete v'))
        self.dog('vdi delete v', code=5)

    def test_delete_of_a_snapshot(self):
        self.cluster.answers['vdi.delete'] = {}
        for words, tag, snap_id in (('-s s1', 's1', 0), ('-s 7', '', 7),
                                    ('', '', 0)):
            self.cluster.asked.clear()
            self.dog('vdi delete v ' + words)
            self.assertEqual({'name': 'v', 'tag': tag, 'snap_id': snap_id},
                             self.asked('vdi.delete'))

    def test_write_and_read(self):
        data = bytes(range(256)) * (3 * MIB // 256)
        self.dog('vdi create v 4M')
        self.assertEqual('', self.dog('vdi write v 512', data))
        self.assertEqual(data, bytes(
            self.cluster.content['v'][512:512 + len(data)]))
        self.assertEqual(self.cluster.writes, self.cluster.durable_writes)
        self.assertGreater(self.cluster.flushes, 0)
        self.dog('vdi read v 512 3M')
        self.assertEqual(data, self.streams.output)
        self.dog('vdi read v')
        self.assertEqual(bytes(self.cluster.content['v']),
                         self.streams.output)
        self.dog('vdi read v 4M')
        self.assertEqual(b'', self.streams.output)

    def test_write_back(self):
        self.dog('vdi create v 4M')
        self.dog('vdi write -w v', b'x' * MIB)
        self.assertEqual(0, self.cluster.durable_writes)
        self.assertGreater(self.cluster.flushes, 0)

    def test_write_takes_no_more_than_len(self):
        self.dog('vdi create v 4M')
        self.dog('vdi write v 0 3', b'abcdef')
        self.assertEqual(b'abc\0', self.cluster.content['v'][:4])

    def test_write_with_too_little_input(self):
        self.dog('vdi create v 4M')
        self.dog('vdi write v 0 1M', b'abc', code=1)
        self.assertIn('3 of 1048576 bytes', self.streams.complaint)

    def test_write_with_too_much_input(self):
        self.dog('vdi create v 1M')
        self.dog('vdi write v', b'x' * (MIB + 1), code=4)
        self.assertEqual(b'x' * MIB, self.cluster.content['v'])

    def test_range_beyond_the_end(self):
        self.dog('vdi create v 1M')
        self.dog('vdi read v 2M', code=1)
        self.dog('vdi read v 0 2M', code=1)
        self.dog('vdi write v 512 1M', code=1)
        self.dog('vdi read v x', code=64)

    def test_read_of_nothing(self):
        self.dog('vdi read v', code=5)

    def test_write_of_a_locked_vdi(self):
        self.dog('vdi create v 1M')
        self.cluster.locks['v'] = 'another'
        self.dog('vdi write v', b'x', code=1)
        self.dog('vdi read v 0 1')
        self.assertEqual(b'\0', self.streams.output)

    def test_progress_is_shown_when_it_takes_long(self):
        self.dog('vdi create v 4M')
        with mock.patch.object(progress, 'BEGIN_SECONDS', 0), \
                mock.patch.object(progress, 'EVERY_SECONDS', 0):
            self.dog('vdi read v', terminal=True)
            self.assertIn('\r 50 %  2.0 MB of 4.0 MB',
                          self.streams.complaint)
            self.dog('vdi read v')
            self.assertEqual('', self.streams.complaint)

    def test_lock_list(self):
        self.cluster.answers['vdi.locks'] = []
        self.assertEqual(
            '  Name         Id  VDI id  Tag            Owner node(s)\n',
            self.dog('vdi lock list'))

    def test_unlock(self):
        self.assertEqual('', self.dog('vdi lock unlock v'))
        self.assertIn('not flushed', self.streams.complaint)
        self.dog('vdi lock unlock v', b'no\n', terminal=True, code=1)
        self.assertEqual({'name': 'v'}, self.asked('vdi.unlock'))
        self.cluster.answers['vdi.unlock'] = errors.VdiNotLocked('it is not')
        self.dog('vdi lock unlock v', code=5)


class MainTest(DogCase):
    def test_usage(self):
        for words in ('', 'vdi', 'vdi lock', 'cluster recover'):
            with self.subTest(words):
                got = streams.Streams()
                self.assertEqual(64, dispatch.main(words.split(), got))
                self.assertIn('Commands:', got.complaint)
                self.assertEqual('', got.text)

    def test_help(self):
        for words in ('-h', 'vdi -h', '--help', 'vdi create --help'):
            with self.subTest(words):
                got = streams.Streams()
                self.assertEqual(0, dispatch.main(words.split(), got))
                self.assertIn('Usage: dog', got.text)
                self.assertEqual('', got.complaint)

    def test_unknown(self):
        for words in ('walk', 'vdi walk', 'vdi lists', 'vdi list -q',
                      'vdi list a b', 'cluster info x', 'vdi list --jso=1',
                      'vdi list -p x', 'vdi list -p 70000', 'vdi list -p'):
            with self.subTest(words):
                got = streams.Streams()
                self.assertEqual(64, dispatch.main(words.split(), got))
                self.assertEqual(1, len(got.complaint.splitlines()))

    def test_known_but_not_built(self):
        for words in unbuilt.WORDS:
            with self.subTest(words):
                got = streams.Streams()
                self.assertEqual(64, dispatch.main([*words, 'x', '-f'], got))
                self.assertIn('not built yet in this version',
                              got.complaint)

    def test_all_of_the_reference_is_known(self):
        # Group, command: those of the command reference.
        known = {words[:2] for words in unbuilt.WORDS} | {
            found.words[:2] for found in dispatch.COMMANDS}
        for words in ('cluster info format shutdown reweight check recover '
                      'snapshot alter-copy',
                      'node list info stat kill recovery md log vnodes '
                      'format evict readmit',
                      'vdi create snapshot clone delete rollback list tree '
                      'graph object track setattr getattr resize read write '
                      'backup restore check alter-copy lock'):
            group, *names = words.split()
            for name in names:
                self.assertIn((group, name), known)

    def test_options_before_the_command(self):
        got = streams.Streams()
        self.assertEqual(0, dispatch.main(
            ['-a', self.sheep.address, '-r', 'node', 'list'], got))
        self.assertEqual(2, len(got.text.splitlines()))

    def test_port_option(self):
        host, _, port = self.sheep.address.partition(':')
        got = streams.Streams()
        self.assertEqual(0, dispatch.main(
            ['node', 'list', '-a', host, '-p', port, '-r'], got))

    def test_second_address(self):
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            closed = '127.0.0.1:%d' % sock.getsockname()[1]
        got = streams.Streams()
        self.assertEqual(0, dispatch.main(
            ['node', 'list', '-a', closed + ',' + self.sheep.address], got))
        self.assertEqual(2, dispatch.main(
            ['node', 'list', '-a', closed], got))
        self.assertIn('cannot connect to ' + closed, got.complaint)

    def test_elapsed_time_goes_to_stderr(self):
        self.assertEqual('', self.dog('cluster shutdown -T'))
        self.assertRegex(self.streams.complaint,
                         r'^Elapsed time: \d+\.\d{3} seconds\n$')

    def test_exit_codes(self):
        for error, code in (
                (errors.WaitForFormat, 2), (errors.WaitForJoin, 2),
                (errors.ShuttingDown, 2), (errors.SystemFailure, 2),
                (errors.StorageError, 2), (errors.NoSpace, 4),
                (errors.NoVdi, 5), (errors.NoTag, 5), (errors.VdiExists, 3),
                (errors.VdiLocked, 1), (errors.ReadOnly, 1),
                (errors.UnknownError, 1), (errors.InvalidParameters, 64)):
            with self.subTest(error.__name__):
                self.cluster.answers['vdi.list'] = error('for a reason')
                self.dog('vdi list', code=code)
                self.assertEqual('dog: for a reason\n',
                                 self.streams.complaint)

    def test_version(self):
        self.assertEqual(0, dispatch.main(['--version'], streams.Streams()))

    def test_broken_pipe(self):
        got = streams.Streams()
        got.stdout = mock.Mock()
        got.stdout.write.side_effect = BrokenPipeError
        with mock.patch('os.dup2') as dup2, mock.patch('os.open'):
            self.assertEqual(1, dispatch.main(
                ['node', 'list', '-a', self.sheep.address], got))
        dup2.assert_called_once()
