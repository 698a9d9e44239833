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

"""Tests of sheepdog.cmd.images.qemu, with QEMU's tools and without."""

import io
import os
import pathlib
import shutil
import stat
import tempfile
import unittest
from unittest import mock

from sheepdog.cmd import exits
from sheepdog.cmd.images import qemu
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness


class QemuTest(unittest.TestCase):

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def tool(self, name, script):
        """A program of that name, instead of QEMU's."""
        path = self.directory / name
        path.write_text('#!/bin/sh\n' + script)
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        patch = mock.patch.dict(os.environ, PATH='%s:%s' % (
            self.directory, os.environ['PATH']))
        patch.start()
        self.addCleanup(patch.stop)

    def test_names_are_names_only(self):
        """QEMU takes ``a:b`` for a protocol, and a comma for an end."""
        self.assertEqual(
            'driver=raw,file.driver=file,file.filename=/d/nbd:x,,y=z',
            qemu._options('/d/nbd:x,y=z', 'raw'))

    def test_urls(self):
        for name, is_url in (('https://h/a', True), ('nbd://h', True),
                             ('/d/a', False), ('d/x://y', False),
                             ('a:b', False)):
            self.assertEqual(is_url, qemu.is_url(name), name)
        with mock.patch('os.path.exists', lambda name: True):
            self.assertFalse(qemu.is_url('nbd://x'))
        for url in 'nbd://x', 'file:///etc/passwd':
            with self.assertRaises(qemu.ImageError):
                with qemu.fetched(url, mock.Mock()):
                    self.fail('it is there')

    def test_who_sends_less_than_it_said(self):
        answer = mock.Mock(headers={'Content-Length': '5'})
        for content, is_all in (b'12345', True), (b'1234', False):
            answer.read = io.BytesIO(content).read
            copy = io.BytesIO()
            if is_all:
                qemu._fetch('url', answer, copy, mock.Mock())
                self.assertEqual(content, copy.getvalue())
            else:
                with self.assertRaises(qemu.ImageError):
                    qemu._fetch('url', answer, copy, mock.Mock())

    def test_who_has_no_qemu_is_told_what_to_install(self):
        with mock.patch.dict(os.environ, PATH=str(self.directory)):
            with self.assertRaises(qemu.ImageError) as caught:
                qemu.create('x', 'raw', 1)
        self.assertIn('qemu-utils', str(caught.exception))
        self.assertEqual(exits.SYSTEM, caught.exception.exit_code)

    def test_a_complaint_is_passed_on(self):
        self.tool('qemu-img', 'echo "qemu-img: x: it is broken" >&2; exit 1')
        with self.assertRaises(qemu.ImageError) as caught:
            qemu.create('x', 'raw', 1)
        self.assertEqual('x: x: it is broken', str(caught.exception))

    def test_a_server_that_ends_at_once(self):
        self.tool('qemu-nbd', 'echo "qemu-nbd: no such luck" >&2; exit 3')
        with self.assertRaises(qemu.ImageError) as caught:
            with qemu.opened(qemu.Image('x', 'raw', 1)):
                self.fail('it is open')
        self.assertEqual('x: no such luck', str(caught.exception))

    def test_a_server_that_does_not_answer(self):
        self.tool('qemu-nbd', 'exec sleep 60')
        with mock.patch.object(qemu, 'START_SECONDS', 0.1):
            with self.assertRaises(qemu.ImageError) as caught:
                with qemu.opened(qemu.Image('x', 'raw', 1)):
                    self.fail('it is open')
        self.assertIn('does not answer', str(caught.exception))

    @case.needs('qemu-img', 'qemu-nbd')
    def test_who_fails_with_an_image_leaves_no_server(self):
        path = self.directory / 'raw'
        path.write_bytes(bytes(1 << 20))
        started = []
        start = qemu._start

        def started_too(*words, **streams):
            started.append(start(*words, **streams))
            return started[-1]

        with mock.patch.object(qemu, '_start', started_too):
            with self.assertRaises(KeyError):
                with qemu.opened(qemu.Image(str(path), 'raw', 1 << 20)):
                    raise KeyError
        self.assertIsNotNone(started[-1].returncode)

    @case.needs('qemu-img', 'qemu-nbd')
    def test_reads_and_extents(self):
        path = self.directory / 'image'
        qemu.create(str(path), 'qcow2', 8 << 20)
        image = qemu.look_at(str(path))
        self.assertEqual(('qcow2', 8 << 20), (image.format, image.size))
        with qemu.opened(image, is_writable=True) as target:
            target.write(3 << 20, b'x' * 70000)
            target.flush()
        with qemu.opened(image) as source:
            self.assertEqual(8 << 20, source.size)
            self.assertEqual(
                [(3 << 20, 3), (128 << 10, 0), ((5 << 20) - (128 << 10), 3)],
                source.extents(0, 8 << 20))
            # Several under way, taken in another order.
            cookies = [source.start_read((3 << 20) + start, 4096)
                       for start in (0, 1 << 20, 69632)]
            last, = source.finish(cookies[2:])
            self.assertEqual(b'x' * 368 + bytes(4096 - 368), last.data)
            first, second = source.finish(cookies[:2])
            self.assertEqual((b'x' * 4096, bytes(4096)),
                             (first.data, second.data))

    @case.needs('qemu-img')
    def test_a_raw_image_may_look_like_anything_if_it_is_told(self):
        path = self.directory / 'image'
        harness.run('qemu-img', 'create', '-f', 'qcow2', path, '4M')
        self.assertEqual('qcow2', qemu.look_at(str(path)).format)
        image = qemu.look_at(str(path), 'raw')
        # In sectors.
        self.assertEqual(('raw', -path.stat().st_size // 512 * -512),
                         (image.format, image.size))
