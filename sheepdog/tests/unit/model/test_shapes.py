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

import dataclasses
import typing
import unittest

from sheepdog.model import errors
from sheepdog.model import shapes


@dataclasses.dataclass
class Thing:
    name: str
    count: int
    seconds: float = 0.0
    view: typing.Optional[dict] = None
    result: typing.Any = None
    places: tuple = ()


class BuildTest(unittest.TestCase):
    def test_what_fits(self):
        for more in ({}, {'seconds': 1}, {'view': {}}, {'view': None},
                     {'result': [1]}, {'places': [1]}, {'places': (1,)}):
            with self.subTest(more):
                fields = {'name': 'n', 'count': 1, **more}
                self.assertEqual(Thing(**fields),
                                 shapes.build(Thing, fields))

    def test_what_does_not(self):
        for fields in ({}, {'name': 'n'}, {'name': 1, 'count': 1},
                       {'name': 'n', 'count': True},
                       {'name': 'n', 'count': 1.0},
                       {'name': 'n', 'count': 1, 'seconds': '1'},
                       {'name': 'n', 'count': 1, 'view': []},
                       {'name': 'n', 'count': 1, 'more': 1}, [], None, 5):
            with self.subTest(fields):
                with self.assertRaises(errors.InvalidParameters):
                    shapes.build(Thing, fields)

    def test_the_error_names_the_field(self):
        with self.assertRaisesRegex(errors.InvalidParameters, 'count'):
            shapes.build(Thing, {'name': 'n', 'count': None})


class DecoderTest(unittest.TestCase):
    def test_malformed_input_is_one_error(self):
        @shapes.decoder('pair')
        def decode(fields):
            first, second = fields['pair']
            return first + second

        self.assertEqual(3, decode({'pair': [1, 2]}))
        for fields in ({}, {'pair': [1]}, {'pair': None}, [],
                       {'pair': [1, '2']}):
            with self.subTest(fields):
                with self.assertRaisesRegex(errors.InvalidParameters,
                                            'malformed pair'):
                    decode(fields)

    def test_errors_of_ours_pass(self):
        @shapes.decoder('thing')
        def decode():
            raise errors.NoVdi('no')

        with self.assertRaises(errors.NoVdi):
            decode()


class CheckTest(unittest.TestCase):
    def test_types(self):
        shapes.check({'a': 1, 'b': 'x'}, {'a': int}, 'it')
        for fields in ({}, {'a': None}, {'a': True}, {'a': '1'}):
            with self.subTest(fields):
                with self.assertRaises(errors.InvalidParameters):
                    shapes.check(fields, {'a': int}, 'it')
