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

"""Tests of sheepdog.conf.config, sheepdog.conf.opts and the options."""

import contextlib
import io
import os
import re
import tempfile
import unittest
from unittest import mock

from oslo_config import generator

from sheepdog.conf import config
from sheepdog.conf import opts


class ConfigTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def file(self, content, name='a.conf'):
        path = os.path.join(self.directory, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(content)
        return path

    def refusal(self, content):
        with self.assertRaises(config.ConfigRefused) as caught:
            conf = config.new_config([self.file(content)])
            list(config.values(conf))
        return str(caught.exception)

    def test_defaults(self):
        conf = config.new_config([])
        self.assertEqual(7000, conf.port)
        self.assertEqual(512 << 20, conf.journal.size)
        self.assertEqual({'default'}, {
            source for _group, _option, _value, source
            in config.values(conf)})

    def test_files(self):
        first = self.file('[DEFAULT]\nport = 7001\nzone = 3\n')
        second = self.file('[DEFAULT]\nport = 7002\n'
                           '[journal]\nsize = 2G\nskip = true\n'
                           '[nbd]\nenabled = yes\n', 'b.conf')
        conf = config.new_config([first, second])
        self.assertEqual((7002, 3), (conf.port, conf.zone))
        self.assertEqual(2 << 30, conf.journal.size)
        self.assertTrue(conf.journal.skip and conf.nbd.enabled)

    def test_command_line_goes_before_files(self):
        conf = config.new_config([self.file('[DEFAULT]\nport = 7001\n')])
        config.override(conf, '', 'port', '7002')
        config.override(conf, 'journal', 'size', '1M')
        self.assertEqual(7002, conf.port)
        self.assertEqual(1 << 20, conf.journal.size)
        sources = {config.shown_name(group, option.name): source
                   for group, option, _value, source
                   in config.values(conf)}
        self.assertEqual('command line', sources['port'])
        self.assertEqual('command line', sources['journal.size'])

    def test_override_refused(self):
        conf = config.new_config([])
        for group, name, value in (
                ('', 'port', 'x'), ('', 'port', '70000'),
                ('', 'zone', '-2'), ('journal', 'size', '1X'),
                ('log', 'level', 'loud'), ('cluster', 'ttl_seconds', '0')):
            with self.subTest((name, value)):
                with self.assertRaisesRegex(config.ConfigRefused, name):
                    config.override(conf, group, name, value)

    def test_number_refused_in_plain_words(self):
        with self.assertRaises(config.ConfigRefused) as caught:
            config.override(config.new_config([]), '', 'port', 'x')
        self.assertEqual("port: 'x' is not a number", str(caught.exception))

    def test_a_dollar(self):
        for url in ('$zookeeper:a:2181', '$url', '${cluster.url}'):
            with self.subTest(url):
                told = self.refusal('[cluster]\nurl = %s\n' % url)
                self.assertIn('cluster.url', told)
                self.assertIn('"$$"', told)
        conf = config.new_config([self.file('[cluster]\nurl = a$$b\n')])
        self.assertEqual('a$b', conf.cluster.url)

    def test_default_file(self):
        path = self.file('[DEFAULT]\nport = 7005\n')
        with mock.patch.object(config, 'DEFAULT_FILE', path):
            self.assertEqual(7005, config.new_config().port)
        with mock.patch.object(config, 'DEFAULT_FILE', path + 'x'):
            self.assertEqual(7000, config.new_config().port)

    def test_no_such_file(self):
        self.assertRaisesRegex(config.ConfigRefused, 'nowhere.conf',
                               config.new_config, ['/nowhere.conf'])

    def test_what_oslo_messaging_reads_itself(self):
        path = self.file('[oslo_messaging_rabbit]\nssl = true\n'
                         '[oslo_messaging_notifications]\n'
                         'driver = log\ndriver = noop\n')
        conf = config.new_config([path])
        self.assertEqual(['log', 'noop'],
                         conf.oslo_messaging_notifications.driver)
        self.assertIn('drvier', self.refusal(
            '[oslo_messaging_notifications]\ndrvier = log\n'))

    def test_mistakes_in_files(self):
        for content, named in (
                ('[DEFAULT]\nprot = 1\n', 'prot'),
                ('[jurnal]\nsize = 1\n', 'jurnal'),
                ('[journal]\nport = 1\n', 'port'),
                ('[DEFAULT]\nport = x\n', 'port'),
                ('[journal]\nsize = lots\n', 'size'),
                ('[DEFAULT\nport = 1\n', 'a.conf'),
                ('nonsense\n', 'a.conf')):
            with self.subTest(content):
                text = self.refusal(content)
                self.assertIn(named, text)
                self.assertEqual(1, len(text.splitlines()))

    def test_binary_file(self):
        path = os.path.join(self.directory, 'binary')
        with open(path, 'wb') as file:
            file.write(b'\xff\xfe\x00')
        self.assertRaises(config.ConfigRefused, config.new_config, [path])


class OptsTest(unittest.TestCase):
    def test_each_option_has_a_help_text(self):
        for _group, options in opts.list_opts():
            for option in options:
                self.assertTrue(option.help.endswith('.'), option.name)

    def test_sample_file_is_understood(self):
        conf = generator.cfg.ConfigOpts()
        generator.register_cli_opts(conf)
        conf(args=['--namespace', 'sheepdog'], default_config_files=[])
        output = io.StringIO()
        with mock.patch.object(
                generator, '_list_opts', lambda namespaces: [
                    ('sheepdog', opts.list_opts())]):
            generator.generate(conf, output)
        sample = output.getvalue()
        self.assertIn('#size = 512M', sample)
        # With all lines of options in force, it is a valid configuration
        # once the placeholders without meaning are gone.
        options = re.sub(r'(?m)^#(\w+ = .*)$', r'\1', sample)
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
            file.write(options)
            file.flush()
            with contextlib.redirect_stderr(io.StringIO()):
                conf = config.new_config([file.name])
            self.assertEqual(512 << 20, conf.journal.size)
            self.assertEqual('127.0.0.1', conf.bindaddr)
