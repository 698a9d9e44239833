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

"""Tests of sheepdog.cmd.options and exits."""

import unittest

from sheepdog.cmd import exits
from sheepdog.cmd import options
from sheepdog.model import errors

SOME = (options.Option('f', 'flag-one', 'a flag'),
        options.Option('', 'long', 'long only', 'TEXT'),
        options.Option('m', 'many', 'again and again', 'TEXT',
                       is_many=True))


class ParseTest(unittest.TestCase):
    def test_parse(self):
        for words, values, arguments in (
                ('', {}, []), ('a b', {}, ['a', 'b']),
                ('a -f b --long x c', {'flag_one': True, 'long': 'x'},
                 ['a', 'b', 'c']),
                ('--long=x=y', {'long': 'x=y'}, []),
                ('-m1 -m 2', {'many': ['1', '2']}, []),
                ('-fm1', {'flag_one': True, 'many': ['1']}, []),
                ('-f -- -m', {'flag_one': True}, ['-m'])):
            with self.subTest(words):
                self.assertEqual((values, arguments),
                                 options.parse(SOME, words.split()))

    def test_refused(self):
        for words in ('-x', '--other', '--long', '-m', '--flag-one=1'):
            with self.subTest(words):
                with self.assertRaises(exits.UsageError) as caught:
                    options.parse(SOME, words.split())
                self.assertEqual(64, caught.exception.exit_code)

    def test_pairs(self):
        def parse(text):
            return options.parse_pairs('-x', text, ('a', 'b'), ('c',))

        self.assertEqual({'a': '1', 'c': True}, parse('a=1,c'))
        self.assertEqual({'b': '1=2'}, parse('b=1=2'))
        for text in ('', 'a', 'a=', 'c=1', 'd=1', 'a=1,', 'a=1,,c'):
            with self.subTest(text):
                with self.assertRaisesRegex(exits.UsageError, '-x: '):
                    parse(text)

    def test_explain(self):
        self.assertEqual(
            '  -f, --flag-one              a flag\n'
            '      --long TEXT             long only\n'
            '  -m, --many TEXT             again and again',
            options.explain(SOME))


class ExitsTest(unittest.TestCase):
    def test_own_code_goes_first(self):
        error = errors.NoVdi('x')
        self.assertEqual(5, exits.code_of(error))
        error.exit_code = 9
        self.assertEqual(9, exits.code_of(error))

    def test_others(self):
        self.assertEqual(2, exits.code_of(OSError()))
        self.assertEqual(1, exits.code_of(RuntimeError()))
        self.assertEqual(2, exits.code_of(errors.ChecksumError()))
        self.assertEqual(2, exits.code_of(errors.NotServing()))
