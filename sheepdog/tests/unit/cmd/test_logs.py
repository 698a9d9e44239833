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

import logging
import os
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

    def test_libraries_are_quieter(self):
        self.logs(level='info').open()
        logging.getLogger('kazoo.client').info('chatter')
        logging.getLogger('kazoo.client').warning('lost')
        self.assertNotIn('chatter', self.content())
        self.assertIn('lost', self.content())
