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

"""An image becomes a VDI, and a VDI an image."""

import collections
import contextlib
import logging
import os
import signal

from sheepdog.client import closing
from sheepdog.client import durable
from sheepdog.cmd import exits
from sheepdog.cmd.images import qemu
from sheepdog.model import errors
from sheepdog.wire import nbd

LOG = logging.getLogger(__name__)

PIECE_BYTES = 1 << 20
DEPTH = 8
LOOK_BYTES = 1 << 30
"""One question where data is."""

GRAIN_BYTES = 64 << 10
"""Zeroes are left out where they fill so much."""

_ZEROES = bytes(GRAIN_BYTES)


def import_image(client, image, name, policy, progress) -> dict:
    """Make a new VDI of an image. If that fails, there is none.

    :param image: a ``qemu.Image``
    :param policy: ``copies`` and ``copy_policy``, for ``vdis.create``
    :returns: of the VDI, and ``written``: bytes that are not zero
    :raises SheepdogError, ImageError:
    """
    progress.update(0, image.size)
    if not image.size:
        raise qemu.ImageError('%s is empty' % image.name)
    with qemu.opened(image) as source, _interrupts_held() as release:
        vdi = client.vdis.create(name, image.size, **policy)
        try:
            release()
            with client.open(name) as volume:
                written = 0
                for written in volume.write_pieces(
                        _pieces_of_image(source, image.size, progress)):
                    pass
                volume.flush()
        except BaseException:
            # Also when the operator does not want to wait any more.
            delete(client, name)
            raise
    return dict(vdi, written=written, format=image.format)


def export_volume(volume, path, image_format, progress, force=False) -> dict:
    """Make a new image of a VDI. Under its name it is whole, or not there.

    :param volume: a ``RemoteVolume``
    :returns: ``written``: bytes that are not zero
    :raises SheepdogError, ImageError:
    """
    if not force and os.path.lexists(path):
        raise qemu.ImageError("%s is there already: take another name, or "
                              "--force to replace it" % path, exits.EXISTS)
    draft = '%s.%d.part' % (path, os.getpid())
    image = qemu.Image(draft, image_format, volume.size)
    written = 0
    try:
        qemu.create(draft, image_format, volume.size)
        with qemu.opened(image, is_writable=True) as target:
            if target.size < volume.size:
                raise qemu.ImageError('a %s image has no room for %d bytes'
                                      % (image_format, volume.size))
            for written in _write_all(target, _pieces_of_volume(
                    volume, progress)):
                pass
            target.flush()
        durable.sync(draft)
        os.rename(draft, path)
        durable.sync(os.path.dirname(os.path.abspath(path)))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    return {'written': written}


def without_zeroes(offset, data):
    """``(offset, piece)`` of the parts of ``data`` that are not zero, in
    whole grains."""
    view = memoryview(data)
    begin = None
    for start in range(0, len(view), GRAIN_BYTES):
        grain = view[start:start + GRAIN_BYTES]
        is_zero = grain.tobytes() == _ZEROES[:len(grain)]
        if is_zero and begin is not None:
            yield offset + begin, view[begin:start]
            begin = None
        elif not is_zero and begin is None:
            begin = start
    if begin is not None:
        yield offset + begin, view[begin:]


@contextlib.contextmanager
def _interrupts_held():
    """Who interrupts the creation itself could not tell whether there is
    something to be deleted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

    def release():
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield release
    finally:
        release()


def delete(client, name):
    """What was made of it is not wanted any more."""
    try:
        closing.once_closed(lambda: client.vdis.delete(name))
    except errors.SheepdogError as error:
        LOG.error('what was made of VDI %s is still there: %s', name,
                  str(error) or type(error).__name__)


def _pieces_of_image(source, size, progress):
    """What of it is not zero; reads ahead."""
    window = collections.deque()
    for offset, length in _cut(_data_of_image(source, size)):
        window.append((offset, source.start_read(offset, length)))
        if len(window) >= DEPTH:
            yield from _read(source, window, progress)
    while window:
        yield from _read(source, window, progress)


def _read(source, window, progress):
    offset, cookie = window.popleft()
    reply, = source.finish([cookie])
    progress.update(offset + len(reply.data))
    return without_zeroes(offset, reply.data)


def _data_of_image(source, size):
    """(offset, length) of what is not known to be zero."""
    offset = 0
    while offset < size:
        if not source.has_extents:
            yield offset, size - offset
            return
        for length, state in source.extents(
                offset, min(LOOK_BYTES, size - offset)):
            length = min(length, size - offset)
            if not state & nbd.STATE_ZERO:
                yield offset, length
            offset += length


def _pieces_of_volume(volume, progress):
    for start in range(0, volume.size, LOOK_BYTES):
        offset = start
        for length, is_data in volume.extents(
                start, min(LOOK_BYTES, volume.size - start)):
            if is_data:
                place = offset
                for piece in volume.read_stream(offset, length):
                    yield from without_zeroes(place, piece)
                    place += len(piece)
                    progress.update(place)
            offset += length


def _cut(ranges):
    for offset, length in ranges:
        for start in range(offset, offset + length, PIECE_BYTES):
            yield start, min(PIECE_BYTES, offset + length - start)


def _write_all(target, pieces):
    """Several under way at once; yields the bytes done so far."""
    window = collections.deque()
    done = 0
    for offset, piece in pieces:
        window.append((len(piece), target.start_write(offset, piece)))
        if len(window) >= DEPTH:
            done += _written(target, window)
            yield done
    while window:
        done += _written(target, window)
        yield done


def _written(target, window):
    length, cookie = window.popleft()
    target.finish([cookie])
    return length
