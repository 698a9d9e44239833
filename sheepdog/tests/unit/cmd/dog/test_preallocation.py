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

import contextlib
import types
import unittest
from unittest import mock

from sheepdog.cmd.dog import preallocation
from sheepdog.model import errors

SIZE = (5 << 20) + 4096


class Volume:
    def __init__(self, fails_at=None, error=None):
        self.size = SIZE
        self.written = bytearray()
        self.flushed = None
        self._fails_at, self._error = fails_at, error

    def read_stream(self, offset, length):
        for start in range(offset, offset + length, 1 << 20):
            yield b'c' * min(1 << 20, length - start)

    def write_stream(self, offset, pieces):
        for piece in pieces:
            self.written += piece
            if self._fails_at and len(self.written) >= self._fails_at:
                raise self._error
            yield len(self.written)

    def flush(self):
        self.flushed = len(self.written)


class PreallocationTest(unittest.TestCase):
    def setUp(self):
        self.volumes = {'new': Volume(), 'old': Volume()}
        self.client = mock.Mock()
        self.client.open = lambda name, **how: contextlib.nullcontext(
            self.volumes[name])
        self.session = types.SimpleNamespace(
            client=self.client, warn=mock.Mock(),
            streams=types.SimpleNamespace(stderr=mock.Mock(
                isatty=lambda: False)))

    def check(self, content):
        new = self.volumes['new']
        self.assertEqual(content * SIZE, new.written)
        self.assertEqual(SIZE, new.flushed)
        self.client.vdis.delete.assert_not_called()

    def test_zeroes(self):
        preallocation.fill_zeroes(self.session, 'new')
        self.check(b'\0')

    def test_content(self):
        preallocation.fill_content(self.session, 'new', 'old', {'tag': 's'})
        self.check(b'c')

    def test_what_does_not_come_to_its_end_is_deleted(self):
        for error in KeyboardInterrupt(), errors.NoSpace('full'), OSError():
            with self.subTest(error):
                self.volumes['new'] = Volume(1 << 20, error)
                with self.assertRaises(type(error)):
                    preallocation.fill_zeroes(self.session, 'new')
                self.client.vdis.delete.assert_called_once_with('new')
                self.client.vdis.delete.reset_mock()

    def test_what_cannot_be_deleted_is_told(self):
        self.volumes['new'] = Volume(1 << 20, errors.NoSpace('full'))
        self.client.vdis.delete.side_effect = errors.VdiLocked('busy')
        with self.assertRaises(errors.NoSpace):
            preallocation.fill_zeroes(self.session, 'new')
        self.assertIn('busy', self.session.warn.call_args[0][0])
