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

"""Tests of sheepdog-manage against a fake sheep."""

import json
import logging
import os
import tempfile
import unittest
from unittest import mock

from sheepdog.cmd import manage
from sheepdog.model import errors
from sheepdog.testing import fake_sheep
from sheepdog.tests.unit.cmd.dog import test_tables as samples
from sheepdog.tests.unit.cmd import streams
from sheepdog.tests.unit.cmd import test_departure as copies
from sheepdog.tests.unit.cmd import test_diagnosis as facts


class ManageCase(unittest.TestCase):
    def setUp(self):
        streams.use_utc(self)
        # cliff adds its handlers to the root logger, and is meant to run
        # once.
        patch = mock.patch.object(logging.getLogger(), 'handlers', [])
        patch.start()
        self.addCleanup(patch.stop)
        self.cluster = fake_sheep.FakeCluster()
        self.cluster.answers.update({
            'cluster.info': samples.INFO, 'node.list': [
                samples.member(7000, id=0)],
            'node.info': {'virtual_bytes': 5 << 30, 'nodes': [
                dict(samples.member(7000, id=0), total=20 << 30,
                     used=1 << 30, free=19 << 30)]},
            'node.recovery': [], 'node.status': {'nbd': '127.0.0.1:10809'},
            'node.kill': {}, 'cluster.format': {}, 'cluster.shutdown': {},
            'cluster.recover': {}, 'vdi.unlock': {}})
        self.sheep = fake_sheep.FakeSheep(self.cluster)
        self.sheep.start()
        self.addCleanup(self.sheep.stop)

    def manage(self, words, code=0):
        self.streams = streams.Streams()
        logging.getLogger().handlers.clear()
        with mock.patch('sys.stderr', self.streams.stderr), \
                mock.patch('sys.stdout', self.streams.stdout):
            got = manage.main(['-a', self.sheep.address] + words.split(),
                              self.streams)
        self.assertEqual(code, got,
                         self.streams.text + self.streams.complaint)
        return self.streams.text

    def rows(self, words):
        return json.loads(self.manage(words + ' -f json'))

    def asked(self, method):
        return [arguments for name, arguments in self.cluster.asked
                if name == method]


class StatusTest(ManageCase):
    def test_status(self):
        status = self.rows('status')
        self.assertEqual('running, auto-recovery enabled', status['state'])
        self.assertEqual(20 << 30, status['total_bytes'])
        self.assertEqual('nbd://127.0.0.1:10809', status['nbd'])
        self.assertEqual([], status['recovering'])
        self.assertEqual(1, len(status['warnings']))

    def test_status_as_a_table(self):
        self.assertRegex(self.manage('status'),
                         r'\| total_bytes +\| 20 GB +\|')

    def test_status_while_waiting(self):
        self.cluster.answers['cluster.info'] = dict(
            samples.INFO, status='wait-format', settings=None, epochs=[],
            leader=None)
        self.assertEqual('dog cluster format',
                         self.rows('status')['waits_for'])
        self.assertEqual([], self.asked('node.info'))

    def test_status_with_parts_missing(self):
        self.cluster.answers['node.info'] = errors.SystemFailure('broken')
        self.assertIn('broken', self.rows('status')['warnings'])

    def test_no_sheep(self):
        self.sheep.stop()
        self.manage('status', code=2)
        self.assertEqual(1, len(self.streams.complaint.splitlines()))
        self.assertIn('cannot connect', self.streams.complaint)


class WhyTest(ManageCase):
    def facts(self, *changes):
        self.cluster.answers['cluster.facts'] = facts.found(*changes)

    def test_all_is_well(self):
        self.facts()
        self.assertEqual(
            'well: 3 of 3 nodes serve, epoch 2, led by 10.0.0.1:7000\n',
            self.manage('status --why'))
        self.assertEqual(
            {'verdict': 'well', 'serving': 3, 'known': 3, 'epoch': 2,
             'leader': '10.0.0.1:7000', 'findings': []},
            self.rows('status --why'))

    def test_a_fault(self):
        self.facts({'store': {'is_full': True}}, {'lapsed': [1.0, 'x']})
        told = json.loads(self.manage('status --why -f json', code=1))
        finding, = told['findings']
        self.assertEqual(
            ('disk-full', 'degraded', None, ['10.0.0.1:7000'],
             'runbook/disk-full'),
            tuple(finding[key] for key in (
                'code', 'severity', 'since', 'nodes', 'page')))
        self.assertRegex(
            self.manage('status --why', code=1),
            r'(?s)disk-full \(degraded\)\n    what:  the disk of '
            r'10.0.0.1:7000 .*\n    means: .*\n    to do: .*\n'
            r'    page:  runbook/disk-full\n')

    def test_nothing_is_served(self):
        self.facts(facts.WAITING, facts.WAITING, 'refused')
        self.assertIn('since 1970-01-12 13:40:00',
                      self.manage('status --why', code=2))

    def test_nobody_answers(self):
        self.sheep.stop()
        told = json.loads(self.manage('status --why -f json', code=2))
        self.assertEqual(['no-answer'],
                         [one['code'] for one in told['findings']])


class SafeToStopTest(ManageCase):
    def setUp(self):
        super().setUp()
        self.cluster.answers['cluster.facts'], self.cluster.answers[
            'cluster.copies'] = copies.given([{}, {}, {}], copies.ALL)

    def test_yes(self):
        told = self.rows('safe-to-stop 1')
        self.assertEqual(('10.0.0.2:7000', 'yes', [], 4, 0), tuple(
            told[name] for name in ('node', 'safe', 'against', 'held',
                                    'none_left')))
        self.assertIn('few-zones', [one['code'] for one in told['effects']])
        self.assertRegex(self.manage('safe-to-stop 10.0.0.2'),
                         r'\| safe +\| yes +\|')

    def test_no_and_whatever_clients_do(self):
        self.cluster.answers['cluster.facts'] = copies.given(
            [{}, copies.CLIENT, {}], copies.ALL)[0]
        told = json.loads(self.manage('safe-to-stop 1 -f json', code=1))
        self.assertEqual(['clients'], [one['code']
                                       for one in told['against']])
        self.manage('safe-to-stop 1 --ignore-clients')

    def test_it_is_asked_again_while_the_members_change(self):
        unsettled = copies.given([{}, {}, {}], [
            dict(one, is_settled=False) for one in copies.ALL])[1]
        with mock.patch('time.sleep') as sleep:
            self.cluster.answers['cluster.copies'] = unsettled
            self.manage('safe-to-stop 1', code=2)
            self.assertEqual(4, sleep.call_count)

    def test_no_such_node(self):
        self.manage('safe-to-stop 9', code=5)
        self.assertIn('known are', self.streams.complaint)


class LogTest(ManageCase):
    def test_levels(self):
        self.cluster.answers['node.log'] = {'nodes': [
            {'address': 'a:1', 'level': 'info', 'loggers': {'x': 'debug'}},
            {'address': 'b:1', 'level': 'debug', 'loggers': {}}]}
        self.assertEqual(
            [{'Address': 'a:1', 'Level': 'info', 'Loggers': ['x:debug'],
              'Error': ''},
             {'Address': 'b:1', 'Level': 'debug', 'Loggers': [],
              'Error': ''}], self.rows('log level show'))
        self.manage('log level set debug --logger x')
        self.assertEqual({'action': 'set', 'level': 'debug', 'logger': 'x',
                          'everyone': True}, self.asked('node.log')[-1])
        self.manage('log level set loud', code=64)

    def test_trace(self):
        self.cluster.answers['node.trace'] = {'nodes': [
            {'address': 'a:1', 'is_on': True, 'names': ['vm']}]}
        self.assertEqual([{'Address': 'a:1', 'On': True, 'VDIs': ['vm'],
                           'Error': ''}], self.rows('trace on vm other'))
        self.manage('trace off')
        self.manage('trace show')
        self.assertEqual(
            [('on', 'vm,other'), ('off', ''), ('show', '')],
            [(one['action'], one['names'])
             for one in self.asked('node.trace')])

    def test_one_does_not_answer(self):
        self.cluster.answers['node.log'] = {'nodes': [
            {'address': 'a:1', 'error': 'gone'}]}
        self.assertIn('gone', self.manage('log level show', code=2))


class ConfigTest(ManageCase):
    def config(self, content, code=0):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'sheepdog.conf')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(content)
            words = 'config --config-file ' + path
            if code:
                return self.manage(words, code), path
            return {row['Option']: row for row in self.rows(words)}, path

    def test_sources(self):
        rows, path = self.config(
            '[DEFAULT]\nport = 7009\n[journal]\nsize=1G\n')
        self.assertEqual({'Option': 'port', 'Value': '7009', 'Source': path},
                         rows['port'])
        self.assertEqual('1G', rows['journal.size']['Value'])
        self.assertEqual('default', rows['cluster.url']['Source'])

    def test_refused(self):
        for content, named in (
                ('[DEFAULT]\nprot = 7009\n', 'prot'),
                ('[DEFAULT]\nport = x\n', 'port'),
                ('[DEFAULT]\ndirectio = true\n', 'directio')):
            with self.subTest(content):
                self.config(content, code=64)
                self.assertIn(named, self.streams.complaint)


class GroupsTest(ManageCase):
    def test_cluster(self):
        shown = self.rows('cluster show')
        self.assertEqual('3', shown['redundancy'])
        self.assertEqual(samples.CREATED, shown['created'])
        self.assertEqual([2, 1], [row['Epoch'] for row in
                                  self.rows('cluster epochs')])

    def test_format(self):
        self.manage('cluster format', code=3)
        self.manage('cluster format --force --copies 2')
        asked, = self.asked('cluster.format')
        self.assertEqual((2, True), (asked['copies'], asked['force']))
        self.manage('cluster format --force --copies 4:2')
        asked = self.asked('cluster.format')[-1]
        self.assertEqual((6, 0x22), (asked['copies'], asked['copy_policy']))
        for option in ('--copies 0', '--copies 3:2',
                       '--block-size-shift 40'):
            self.manage('cluster format --force ' + option, code=64)

    def test_shutdown_and_recover(self):
        self.manage('cluster recover', code=64)
        self.manage('cluster recover --force')
        self.manage('cluster shutdown')
        self.assertEqual(1, len(self.asked('cluster.shutdown')))
        self.manage('cluster recover --disable')
        self.manage('cluster recover --enable')
        self.manage('cluster recover --enable --force', code=64)
        self.assertEqual(['force', 'disable', 'enable'],
                         [asked['action'] for asked
                          in self.asked('cluster.recover')])

    def test_weights(self):
        self.cluster.answers.update({'cluster.reweight': {'silent': []},
                                     'node.vnodes': {}})
        self.manage('cluster reweight')
        self.cluster.answers['cluster.reweight'] = {'silent': ['h:1']}
        self.manage('cluster reweight', code=2)
        self.manage('node vnodes 70')
        self.assertEqual(70, self.asked('node.vnodes')[0]['vnodes'])

    def test_throttle(self):
        self.cluster.answers['node.throttle'] = {'nodes': [
            {'address': 'a:1', 'max': 4, 'interval': 9}]}
        row, = self.rows('node throttle')
        self.assertEqual((4, 9), (row['Objects at once'], row['Rest in ms']))
        self.rows('node throttle --max 4 --interval 9')
        self.assertEqual(
            [{'action': 'get', 'everyone': True},
             {'action': 'set', 'max': 4, 'interval': 9, 'everyone': True}],
            self.asked('node.throttle'))

    def test_nodes(self):
        self.cluster.answers['node.stat'] = {
            'client': samples.COUNTS, 'peer': samples.COUNTS}
        self.assertEqual(7000, self.rows('node list')[0]['Port'])
        self.assertEqual(19 << 30, self.rows('node space')[0]['Free'])
        self.assertEqual('peer', self.rows('node stat')[1]['Request'])
        self.assertEqual([], self.rows('node recovery'))
        self.manage('node stop 0')
        self.assertEqual([{'id': 0}], self.asked('node.kill'))
        self.manage('node stop 9', code=64)

    def test_vdis(self):
        self.assertEqual('v', self.rows('vdi create v 1M')['name'])
        self.manage('vdi create v 1M', code=3)
        self.manage('vdi resize v 2M')
        row, = self.rows('vdi list')
        self.assertEqual(('v', 2 << 20), (row['Name'], row['Size']))
        self.manage('vdi resize v 1M', code=64)
        self.manage('vdi resize v 1M --force')
        self.assertEqual(1 << 20, self.rows('vdi list')[0]['Size'])
        self.manage('vdi delete v')
        self.manage('vdi delete v', code=5)
        for words in ('v', 'v 0', 'v x', 'v 1M --copies x'):
            self.manage('vdi create ' + words, code=64)

    def test_locks(self):
        self.cluster.answers['vdi.locks'] = [
            {'name': 'v', 'tag': '', 'snap_id': 0, 'vdi_id': 7,
             'mode': 'exclusive', 'owners': [samples.member(7000)]}]
        row, = self.rows('lock list')
        self.assertEqual(['127.0.0.1:7000'], row['Owners'])
        self.manage('lock break v')
        self.assertEqual('v', self.asked('vdi.unlock')[0]['name'])

    def test_unknown_command(self):
        self.manage('vdi walk', code=64)

    def test_help(self):
        got = streams.Streams()
        self.assertEqual(0, manage.main([], got))
        for name in ('status', 'config', 'vdi list', 'cluster show'):
            self.assertIn('  ' + name, got.text)
