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

"""Manual pages and completion say what the commands say."""

import configparser
import shutil
import subprocess
import unittest

from sheepdog.cmd.dog import dispatch
from sheepdog.cmd import exits
from tools import manual

BASH = r'''
source "$1"
shift
compopt() { echo "files"; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_${1//-/_}
printf '%s\n' "${COMPREPLY[@]}"
'''

ZSH = r'''
compadd() { shift; print -l -- "$@" }
_describe() { print -l -- "${found[@]%%:*}" }
_files() { print files }
file=$1; shift
words=("$@") CURRENT=$# PREFIX=${@[-1]}
source $file
'''


class InStepTest(unittest.TestCase):
    maxDiff = None

    def test_files(self):
        for name, text in manual.files().items():
            with self.subTest(name):
                path = manual.ROOT / name
                self.assertTrue(path.exists() and path.read_text() == text,
                                '%s: run `make manual`' % name)

    def test_packages_have_them(self):
        declared = configparser.ConfigParser()
        declared.read(manual.ROOT / 'setup.cfg')
        named = declared['files']['data_files'].split()
        for name in manual.files():
            self.assertIn(name, named)

    def test_each_command_has_a_place(self):
        text = manual.page(manual.dog())
        for found in dispatch.COMMANDS:
            self.assertIn('\n.TP\n\\fB%s\\fR' % ' '.join(
                found.words).replace('-', '\\-'), text)
        known = {value for name, value in vars(exits).items()
                 if name.isupper() and isinstance(value, int)}
        self.assertEqual(known, {code for code, _ in manual.EXITS})

    @unittest.skipUnless(shutil.which('groff'), 'groff is not installed')
    def test_pages_are_well_formed(self):
        for name in manual.files():
            if name.startswith('doc/man/'):
                done = subprocess.run(
                    ['groff', '-man', '-Tascii', '-ww', '-z',
                     manual.ROOT / name], capture_output=True, text=True)
                self.assertEqual((0, ''), (done.returncode, done.stderr))


class Completion:
    """What is offered behind some words, the last of them half typed."""

    def test_commands(self):
        self.assertIn('vdi', self.ask('dog', ''))
        self.assertNotIn('files', self.ask('dog', ''))
        offered = self.ask('dog', 'vdi', 'object', '')
        self.assertEqual(['dump-inode', 'location', 'map'], sorted(offered))
        self.assertIn('setattr', self.ask('dog', '-a', 'vdi', '-r', 'vdi',
                                          's'))
        self.assertIn('list', self.ask('sheepdog-manage', '--address', 'h',
                                       'node', ''))

    def test_options(self):
        offered = self.ask('dog', 'benchmark', 'io', '--')
        self.assertLessEqual({'--write', '--json', '--key-file'},
                             set(offered))
        self.assertNotIn('--delay', offered)
        self.assertIn('--foreground', self.ask('sheep', '--f'))

    def test_files(self):
        self.assertEqual(['files'], self.ask('dog', 'vdi', 'read', ''))
        self.assertEqual(['files'], self.ask('dog', '--key-file', ''))
        # A flag of one command takes a value in another.
        self.assertEqual(['files'], self.ask('dog', 'top', '-d', ''))
        self.assertEqual(['files'], self.ask('dog', 'vdi', 'setattr', '-d',
                                             ''))


@unittest.skipUnless(shutil.which('bash'), 'bash is not installed')
class BashTest(Completion, unittest.TestCase):

    def ask(self, *words):
        done = subprocess.run(
            ['bash', '-c', BASH, 'bash',
             manual.ROOT / 'etc/completion/bash' / words[0], *words],
            capture_output=True, text=True, check=True)
        self.assertEqual('', done.stderr)
        return done.stdout.split()


@unittest.skipUnless(shutil.which('zsh'), 'zsh is not installed')
class ZshTest(Completion, unittest.TestCase):

    def ask(self, *words):
        done = subprocess.run(
            ['zsh', '-f', '-c', ZSH, 'zsh',
             manual.ROOT / 'etc/completion/zsh' / ('_' + words[0]), *words],
            capture_output=True, text=True, check=True)
        self.assertEqual('', done.stderr)
        return done.stdout.split()
