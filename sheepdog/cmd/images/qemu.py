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

"""Images of all formats, by way of ``qemu-img`` and ``qemu-nbd``.

An image comes from anywhere, and one of these formats can name other files
of this host: who makes a volume of such an image gets what is in them. So
no image is opened that refers to another file, and the format is found out
once and told from then on (what a guest writes into a raw image may look
like any other format's header).
"""

import contextlib
import errno
import http.client
import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from sheepdog.client import nbd_client
from sheepdog.cmd import exits

FORMATS = ('raw', 'qcow2', 'vdi', 'vhdx', 'vmdk', 'vpc')
URLS = ('http', 'https', 'ftp')
START_SECONDS = 30.0
END_SECONDS = 60.0
REPLY_SECONDS = 300.0
"""Of a server, and of a disk."""

_POLL_SECONDS = 0.02
_LIMITS = ('prlimit', '--cpu=30', '--as=%d' % (4 << 30), '--')
"""Of a look at an image made to be looked at for ever."""

_NEEDED = {'qemu-img': 'qemu-utils', 'qemu-nbd': 'qemu-utils',
           'prlimit': 'util-linux'}
_OWN_NAMES = {'vhd': 'vpc'}
"""Of formats that others call otherwise."""

_FETCH_BYTES = 1 << 20
_WHOLE = ('monolithicSparse', 'streamOptimized')
"""Kinds of VMDK that are one file."""

_PLAIN = ('raw', 'gpt', 'iso')
"""What says how a raw image is used."""


class ImageError(exits.Stop):
    """An image cannot be read or written; the message says why."""


class Image:
    """An image that may be read.

    :ivar format: as QEMU calls it
    :ivar size: bytes, as a guest sees it
    """

    def __init__(self, name: str, image_format: str, size: int):
        self.name = name
        self.format = image_format
        self.size = size


def is_url(name: str) -> bool:
    scheme, has_scheme, _ = name.partition('://')
    return bool(has_scheme) and '/' not in scheme and not (
        os.path.exists(name))


@contextlib.contextmanager
def fetched(url: str, progress):
    """The path of what is there, for as long as this is open.

    It is fetched as a whole, for QEMU would ask for it piece by piece, and a
    server could answer otherwise when nobody looks any more.

    :raises ImageError: it cannot be had
    """
    if url.partition('://')[0] not in URLS:
        raise ImageError('%s: no images from there, only from %s' % (
            url, ', '.join(one + '://' for one in URLS)))
    with tempfile.TemporaryDirectory(prefix='sheepdog-image-') as directory:
        path = os.path.join(directory, 'image')
        try:
            # (Only of URLS.)
            with urllib.request.urlopen(  # nosec B310
                    url, timeout=REPLY_SECONDS) as answer, \
                    open(path, 'wb') as file:
                _fetch(url, answer, file, progress)
        except urllib.error.HTTPError as error:
            raise ImageError('%s: %d %s' % (url, error.code,
                                            error.reason)) from None
        except urllib.error.URLError as error:
            raise ImageError('%s: %s' % (url, error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise ImageError(
                '%s: %s' % (url, error),
                exits.FULL if getattr(error, 'errno', 0) == errno.ENOSPC
                else exits.FAILED) from None
        yield path


def _fetch(url, answer, file, progress):
    length = int(answer.headers.get('Content-Length') or 0)
    done = 0
    while piece := answer.read(_FETCH_BYTES):
        file.write(piece)
        done += len(piece)
        progress.update(done, length)
    if length and done != length:
        raise ImageError('%s: %d bytes came, and not %d' % (url, done,
                                                            length))


def look_at(path: str, image_format: str = '') -> Image:
    """What there is.

    :param image_format: one of FORMATS; '': find out
    :raises ImageError: it cannot be read, or refers to other files
    """
    if image_format != 'raw':
        found = _detect(path)
        if image_format not in ('', found):
            raise ImageError('%s is no %s image, but looks like %s' % (
                path, image_format, found))
        image_format = found
    known = json.loads(_run(
        path, *_LIMITS, 'qemu-img', 'info', '--output=json', '--image-opts',
        _options(path, image_format)))
    _refuse_others(path, known)
    return Image(path, image_format, known['virtual-size'])


def create(path: str, image_format: str, size: int) -> None:
    """An empty image.

    :raises ImageError: it cannot be made
    """
    more = ['-o', 'force_size=on'] if image_format == 'vpc' else []
    _run(path, 'qemu-img', 'create', '-q', '-f', image_format, *more, path,
         str(size))


@contextlib.contextmanager
def opened(image: Image, is_writable: bool = False):
    """An ``NbdClient`` of what is in the image.

    Who has written to it flushes; when this is left in order, the image is
    closed, and whole.

    :raises ImageError: it cannot be opened
    """
    directory = tempfile.mkdtemp(prefix='sheepdog-image-')
    socket = os.path.join(directory, 'socket')
    try:
        server = _start(
            'qemu-nbd', '--socket', socket, '--image-opts',
            *([] if is_writable else ['--read-only']),
            _options(image.name, image.format))
        try:
            with _connect(image, server, socket) as client:
                yield client
            # It ends with its only client, once all is written.
            if server.wait(END_SECONDS):
                raise _failed(image.name, server)
        except nbd_client.NbdRefused as error:
            raise ImageError(
                '%s: %s' % (image.name, os.strerror(error.code)),
                exits.FULL if error.code == errno.ENOSPC else exits.FAILED,
            ) from None
        except OSError as error:
            if server.poll() is None:
                raise
            raise _failed(image.name, server) from error
        except subprocess.TimeoutExpired:
            raise ImageError('%s: qemu-nbd does not end'
                             % image.name) from None
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
            server.stderr.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _connect(image, server, socket) -> nbd_client.NbdClient:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return nbd_client.NbdClient(socket, '', REPLY_SECONDS,
                                        with_extents=True)
        except nbd_client.NbdRefused as error:
            raise ImageError('%s: %s' % (image.name, error)) from None
        except OSError as error:
            if server.poll() is not None:
                raise _failed(image.name, server) from None
            if time.monotonic() > deadline:
                raise ImageError('%s: qemu-nbd does not answer: %s' % (
                    image.name, error)) from None
        time.sleep(_POLL_SECONDS)


def _detect(path: str) -> str:
    # Here, since it takes longer to import than most commands run.
    from oslo_utils.imageutils import format_inspector
    try:
        found = format_inspector.detect_file_format(path)
        if found is None:
            return 'raw'
        image_format = str(found)
        if image_format in _PLAIN:
            return 'raw'
        # We say ourselves what it finds.
        format_inspector.LOG.setLevel(logging.CRITICAL)
        found.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        raise ImageError('%s is not safe to import: %s' % (
            path, '; '.join('%s: %s' % one
                            for one in error.failures.items()))) from None
    except format_inspector.ImageFormatError as error:
        raise ImageError("%s is of no format that can be told (%s): name it "
                         "with --image-format" % (path, error)) from None
    except OSError as error:
        raise ImageError('%s: %s' % (path, error.strerror)) from None
    image_format = _OWN_NAMES.get(image_format, image_format)
    if image_format not in FORMATS:
        raise ImageError('%s is a %s image, which cannot be imported: '
                         'convert it first' % (path, image_format))
    return image_format


def _refuse_others(path: str, known: dict) -> None:
    special = known.get('format-specific', {}).get('data', {})
    other = known.get('backing-filename') or special.get('data-file')
    if special.get('create-type', _WHOLE[0]) not in _WHOLE:
        # Of VMDK: a text that says which files the disk is made of.
        other = special['create-type']
    if other:
        raise ImageError(
            "%s has part of its content in another file (%s): make one image "
            "of it first, with 'qemu-img convert'" % (path, other))


def _options(path: str, image_format: str) -> str:
    """QEMU's own way to name an image, in which nothing of the name is
    taken for anything else."""
    return 'driver=%s,file.driver=file,file.filename=%s' % (
        image_format, os.path.abspath(path).replace(',', ',,'))


def _run(name: str, *command) -> str:
    process = _start(*command, stdout=subprocess.PIPE)
    with process:
        output, errors = process.communicate()
    if process.returncode:
        raise ImageError('%s: %s' % (name, _complaint(
            errors, process.returncode)))
    return output.decode()


def _start(*command, **streams):
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            **{'stdout': subprocess.DEVNULL, **streams})
    except FileNotFoundError:
        raise ImageError(
            '%s is not installed: it is in %s, in the package %s' % (
                command[0], 'Debian', _NEEDED[command[0]]),
            exits.SYSTEM) from None


def _failed(name: str, server) -> ImageError:
    return ImageError('%s: %s' % (name, _complaint(
        server.stderr.read(), server.returncode)))


def _complaint(errors: bytes, code: int) -> str:
    """What QEMU's tools said, without their names and ours for things."""
    lines = errors.decode(errors='replace').strip().splitlines()
    if not lines:
        return 'it ended with %d' % code
    return lines[-1].partition(': ')[2] or lines[-1]
