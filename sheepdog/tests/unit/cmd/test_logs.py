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

"""Tests of sheepdog.cmd.logs (the rest is in test_sheep, with a daemon)."""

import json
import logging
import os
import socket
import tempfile
import unittest
from unittest import mock

from sheepdog.cmd import exits
from sheepdog.cmd import logs
from sheepdog.conf import log as log_options
from sheepdog.conf import settings

LOG = logging.getLogger('test_logs')


class LogsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, 'meta', 'sheep.log')
        root = logging.getLogger()
        for name, value in (('handlers', []), ('level', root.level)):
            patch = mock.patch.object(root, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def logs(self, **fields):
        made = logs.Logs(settings.LogSettings(self.path, **fields))
        self.addCleanup(made.close)
        return made

    def content(self):
        with open(self.path, encoding='utf-8') as file:
            return file.read()

    def test_nothing_is_written_before_it_is_opened(self):
        made = self.logs()
        LOG.info('early')
        self.assertFalse(os.path.exists(os.path.dirname(self.path)))
        made.open()
        LOG.info('late')
        first, second = self.content().splitlines()
        self.assertTrue(first.endswith('test_logs: early'))
        self.assertTrue(second.endswith('test_logs: late'))

    def test_clients_cannot_forge_lines(self):
        forged = '2026-01-01 00:00:00.000 CRITICAL sheepdog: all is lost'
        for name in ('a\n' + forged, 'a\r\n' + forged, 'a\x1b[2J',
                     'a\x85' + forged, 'a\u2028' + forged, 'a\u202eb',
                     'a\0b'):
            for style in ('default', 'server', 'json'):
                with self.subTest(name=name, style=style):
                    made = self.logs(format=style)
                    made.open()
                    LOG.warning('no VDI %s', name)
                    LOG.warning(name)
                    made.close()
                    lines = self.content().splitlines()
                    os.unlink(self.path)
                    self.assertEqual(2, len(lines))
                    for line in lines:
                        self.assertTrue(line.isprintable(), line)
                        self.assertFalse(line.startswith(forged))

    def test_a_traceback_keeps_its_lines(self):
        made = self.logs()
        made.open()
        try:
            raise ValueError('why')
        except ValueError:
            LOG.exception('it failed')
        self.assertGreater(len(self.content().splitlines()), 3)

    def test_a_crash_record_does_not_open_it(self):
        self.logs()
        LOG.critical('dying')
        self.assertFalse(os.path.exists(self.path))

    def test_last_words(self):
        made = self.logs()
        LOG.info('early')
        made.open_if_there()
        self.assertFalse(os.path.exists(self.path))
        os.makedirs(os.path.dirname(self.path))
        with open(self.path, 'w', encoding='utf-8'):
            pass
        made.open_if_there()
        self.assertIn('early', self.content())

    def test_place_that_cannot_be_written(self):
        self.path = '/proc/none/sheep.log'
        with self.assertRaisesRegex(exits.Stop, '/proc/none/sheep.log'):
            self.logs().open()

    def test_levels(self):
        self.assertEqual(list(log_options.LEVELS), logs.levels())
        for name in logs.levels():
            logs.set_level(name)
            self.assertEqual(name, logs.level())
        self.assertRaises(KeyError, logs.set_level, 'loud')

    def test_level_counts(self):
        self.logs(level='warning').open()
        LOG.info('quiet')
        LOG.warning('loud')
        self.assertNotIn('quiet', self.content())
        logs.set_level('debug')
        LOG.debug('now')
        self.assertIn('now', self.content())

    def test_levels_of_parts(self):
        self.logs(loggers=(('test_logs', 'debug'),)).open()
        self.addCleanup(logs.set_levels, 'info', ())
        LOG.debug('of this part')
        logging.getLogger('other').debug('of another')
        self.assertIn('of this part', self.content())
        self.assertNotIn('of another', self.content())
        self.assertEqual(('debug', 'info', {'test_logs': 'debug'}),
                         (logs.level('test_logs'), logs.level('other'),
                          logs.loggers()))
        logs.set_level('warning')
        LOG.debug('still')
        self.assertIn('still', self.content())
        logs.set_levels('info', ())
        LOG.debug('no more')
        self.assertNotIn('no more', self.content())
        self.assertEqual({}, logs.loggers())
        self.assertRaises(KeyError, logs.set_level, 'loud', 'x')

    def socket(self, name):
        """A datagram socket that the log goes to."""
        path = os.path.join(os.path.dirname(os.path.dirname(self.path)),
                            'socket')
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(path)
        server.settimeout(10)
        patch = mock.patch.object(logs, name, path)
        patch.start()
        self.addCleanup(patch.stop)
        return server

    def test_syslog(self):
        server = self.socket('SYSLOG_PATH')
        self.logs(destination='syslog').open()
        LOG.warning('of wolves')
        # Facility daemon (3), priority warning (4).
        self.assertEqual(
            '<28>sheep[%d]: test_logs: of wolves' % os.getpid(),
            server.recv(9999).decode().rstrip('\0'))

    def test_journal(self):
        server = self.socket('JOURNAL_PATH')
        self.logs(destination='journal').open()
        LOG.error('of\nwolves', extra={'request_id': 'a/7'})
        said = server.recv(9999)
        text = b'test_logs: of\nwolves'
        self.assertIn(b'MESSAGE\n' + len(text).to_bytes(8, 'little') + text,
                      said)
        for field in (b'PRIORITY=3', b'SYSLOG_IDENTIFIER=sheep',
                      b'LOGGER=test_logs', b'REQUEST_ID=a/7'):
            self.assertIn(field + b'\n', said)

    def test_the_journal_is_not_waited_for(self):
        self.socket('JOURNAL_PATH')
        self.logs(destination='journal').open()
        for _line in range(2000):
            LOG.info('a' * 1000)

    def test_no_journal(self):
        with mock.patch.object(logs, 'JOURNAL_PATH', self.path), (
                self.assertRaisesRegex(exits.Stop, 'journal')):
            self.logs(destination='journal').open()

    def test_priorities(self):
        for name, number in (('emerg', 0), ('crit', 2), ('err', 3),
                             ('notice', 5), ('debug', 7)):
            self.assertEqual(number, logs._priority(logs.LEVELS[name]))
        self.assertEqual(7, logs._priority(1))

    def formatted(self, form):
        self.logs(format=form).open()
        LOG.warning('of %s', 'wolves', extra={'request_id': 'a/7'})
        return self.content().splitlines()[-1]

    def test_default_format(self):
        self.assertRegex(
            self.formatted('default'), r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.'
            r'\d{3} WARNING  test_logs: of wolves$')

    def test_server_format(self):
        self.assertRegex(
            self.formatted('server'), r'^\d{4}-\d\d-\d\d \S+ %d WARNING '
            r'test_logs \[.*a/7.*\] of wolves' % os.getpid())

    def test_json_format(self):
        found = json.loads(self.formatted('json'))
        self.assertEqual(
            ('of wolves', 'WARNING', 'test_logs', os.getpid(),
             {'request_id': 'a/7'}),
            (found['message'], found['levelname'], found['name'],
             found['process'], found['extra']))

    def test_libraries_are_quieter(self):
        self.logs(level='info').open()
        logging.getLogger('kazoo.client').info('chatter')
        logging.getLogger('kazoo.client').warning('lost')
        self.assertNotIn('chatter', self.content())
        self.assertIn('lost', self.content())
