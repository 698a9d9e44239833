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

import unittest

from sheepdog.model import errors


def tree(cls):
    yield cls
    for sub in cls.__subclasses__():
        yield from tree(sub)


class ErrorsTest(unittest.TestCase):

    def test_codes_are_those_of_the_protocol(self):
        for code, cls in {
                0x01: errors.UnknownError, 0x02: errors.NoObject,
                0x03: errors.StorageError, 0x04: errors.VdiExists,
                0x05: errors.InvalidParameters, 0x06: errors.SystemFailure,
                0x07: errors.VdiLocked, 0x08: errors.NoVdi,
                0x09: errors.NoBaseVdi, 0x0E: errors.NoTag,
                0x10: errors.VdiNotLocked, 0x11: errors.ShuttingDown,
                0x14: errors.VersionMismatch, 0x15: errors.NoSpace,
                0x16: errors.WaitForFormat, 0x17: errors.WaitForJoin,
                0x18: errors.JoinFailed, 0x19: errors.Halted,
                0x1A: errors.ReadOnly}.items():
            with self.subTest(code=code):
                self.assertEqual(code, cls.result)
                self.assertIs(cls, type(errors.from_result(code)))

    def test_each_code_comes_back_as_what_it_was(self):
        for cls in tree(errors.SheepdogError):
            with self.subTest(cls=cls.__name__):
                back = errors.from_result(cls.result, 'why')
                self.assertEqual(cls.result, back.result)
                self.assertEqual('why', str(back))

    def test_codes_of_the_house_come_back_exactly(self):
        # (Those of one room never leave their sheep.)
        for cls in [one for one in errors.Transient.__subclasses__()
                    if one.__module__ == errors.__name__]:
            self.assertGreaterEqual(cls.result, 0x80)
            self.assertIs(cls, type(errors.from_result(cls.result)))

    def test_unknown_code(self):
        error = errors.from_result(0x7E)
        self.assertIs(errors.UnknownError, type(error))
        self.assertIn('0x7e', str(error))

    def test_only_transient_errors_may_be_tried_again(self):
        for cls in tree(errors.SheepdogError):
            self.assertEqual(issubclass(cls, errors.Transient), cls.retry,
                             cls.__name__)

    def test_native_clients_see_no_code_of_the_house(self):
        self.assertEqual(0x03, errors.public_result(errors.StaleEpoch('x')))
        self.assertEqual(0x02, errors.public_result(errors.NoObject('x')))
        self.assertEqual(0x03, errors.public_result(errors.ChecksumError()))
        self.assertEqual(0x01, errors.public_result(KeyError('x')))
        for cls in tree(errors.SheepdogError):
            self.assertTrue(0 < errors.public_result(cls('x')) < 0x80)
