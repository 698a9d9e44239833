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

"""What the documentation names is there: commands, options, exit codes,
files. (The reverse holds by itself: pages list what the code declares.)"""

import pathlib
import re
import shlex
import unittest

from sheepdog.cmd.dog import command as dog_command
from sheepdog.cmd.dog import dispatch
from sheepdog.cmd import exits
from sheepdog.cmd.manage import app as manage_app
from sheepdog.cmd import options
from sheepdog.cmd import sheep
from sheepdog.conf import opts
from sheepdog.world import real

ROOT = pathlib.Path(__file__).parents[4]
SOURCE = ROOT / 'doc' / 'source'
PAGES = sorted(SOURCE.rglob('*.rst')) + [
    ROOT / 'README.rst', ROOT / 'CONTRIBUTING.rst', ROOT / 'ARCHITECTURE.md']

_PROMPT = re.compile(r'^(?:node\d)?[$#] ')
_LITERAL = re.compile(r'``([^`]+)``|(?<!`)`([^`]+)`(?![`_])')
_PATH = re.compile(r'(?:sheepdog|etc|tools|doc|bench|fuzz|tests|cluster|cmd|'
                   r'model|peer|recovery|wire)/[\w./-]+')
_PROGRAMS = ('dog', 'sheep', 'sheepdog-manage', 'make')


def literals(text) -> list:
    """What stands in literals within the text."""
    return [' '.join((one or other).split())
            for one, other in _LITERAL.findall(text)]


def command_lines(text) -> list:
    """Commands in literals and in blocks, as lists of words."""
    lines = literals(text) + [
        _PROMPT.sub('', line.strip())
        for line in re.findall(r'^(?: {3,}|\t)\S.*', text, re.M)]
    found = []
    for line in lines:
        line = line.removeprefix('.venv/bin/').replace('…', '')
        if line.split(' ')[0] in _PROGRAMS:
            try:
                found.append(shlex.split(line, comments=True))
            except ValueError:
                pass  # An apostrophe: it is prose.
    return found


def of_manage(words):
    """(application, command's parser, the words behind it)."""
    program = manage_app.ManageApp()
    begin = next(number for number, word in enumerate(words)
                 if word[0] != '-')
    kind, name, rest = program.command_manager.find_command(words[begin:])
    return program, kind(program, None, name).get_parser(name), (
        words[:begin] + rest)


class CommandsTest(unittest.TestCase):

    def check(self, program, words):
        if program == 'make':
            target = next((w for w in words if '=' not in w), 'help')
            self.assertRegex((ROOT / 'Makefile').read_text(),
                             r'(?m)^[\w -]*\b%s\b[\w -]*:' % target)
        elif program == 'sheep':
            options.parse(sheep.OPTIONS, words)
        elif program == 'dog':
            _values, found, rest = dispatch.find(words)
            options.parse((found.options if found else ())
                          + dog_command.COMMON, rest)
        elif words and words[0] != 'help':
            program, parser, rest = of_manage(words)
            known = {**program.parser._option_string_actions,
                     **parser._option_string_actions}
            for word in rest:
                if word.startswith('-'):
                    self.assertIn(word, known)

    def test_each_command_that_is_named(self):
        count = 0
        for page in PAGES:
            for program, *words in command_lines(page.read_text()):
                with self.subTest(page=page.name, words=words):
                    self.check(program, words)
                    count += 1
        self.assertGreater(count, 100)

    def test_each_option_that_is_named_alone(self):
        known = {'--' + one.long for found in dispatch.COMMANDS
                 for one in found.options + dog_command.COMMON}
        known |= {'--' + one.long for one in sheep.OPTIONS}
        program = manage_app.ManageApp()
        known |= set(program.parser._option_string_actions)
        for name, kind in manage_app.COMMANDS.items():
            known |= set(kind(program, None, name).get_parser(
                name)._option_string_actions)
        for page in PAGES:
            if page.stem in ('plays', 'CONTRIBUTING'):
                continue  # Of other programs.
            for literal in literals(page.read_text()):
                if literal.startswith('--') and 'tls-creds' not in literal:
                    with self.subTest(page=page.name, option=literal):
                        self.assertIn(re.split('[ =]', literal)[0], known)

    def test_each_exit_code(self):
        text = (SOURCE / 'commands.rst').read_text()
        table = re.search(r'(?s)Exit codes\n=+\n\n====.*?\n(.*?)\n====', text)
        told = {int(code) for code in re.findall(r'(?m)^(\d+) ', table[1])}
        known = {value for name, value in vars(exits).items()
                 if name.isupper() and isinstance(value, int)}
        self.assertEqual(known | {real.EXIT_SOFTWARE}, told)


class ConfigurationTest(unittest.TestCase):

    def test_each_option_that_is_named(self):
        known = {}
        for group, declared in opts.list_opts():
            known.setdefault(str(group or 'DEFAULT'), set()).update(
                option.name for option in declared)
        for page in PAGES:
            for literal in literals(page.read_text()):
                match = (re.fullmatch(r'\[(\w+)\](?: (\w+))?.*', literal)
                         or re.fullmatch(r'(\w+)\.(\w+)', literal))
                if not match or match[1].startswith('oslo_') or (
                        literal[0] != '[' and match[1] not in known):
                    continue
                with self.subTest(page=page.name, literal=literal):
                    self.assertIn(match[1], known)
                    if match[2]:
                        self.assertIn(match[2], known[match[1]])


class FilesTest(unittest.TestCase):

    def test_each_file_that_is_named(self):
        count = 0
        for page in PAGES:
            for literal in literals(page.read_text()):
                if not _PATH.fullmatch(literal) or re.search(
                        '[A-Z]{4}|/X', literal):
                    continue
                with self.subTest(page=page.name, literal=literal):
                    count += 1
                    self.assertTrue(any(
                        (place / literal).exists()
                        for place in (ROOT, ROOT / 'sheepdog')))
        self.assertGreater(count, 20)
