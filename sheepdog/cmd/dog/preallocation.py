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

"""dog vdi create -P, clone -P: a new VDI whose objects are all there, and
written from end to end, before anybody uses it. So it takes its room at once,
and no write of a guest has to create an object, or copy one.

It is there as a whole, or not at all: what is interrupted, or fails, is
deleted again.
"""

from sheepdog.client import volume as volume_module
from sheepdog.cmd import progress
from sheepdog.model import errors


def fill_zeroes(session, name):
    """:raises SheepdogError: and the VDI is gone again"""
    def pieces(volume):
        zeroes = bytes(volume_module.REQUEST_BYTES)
        for start in range(0, volume.size, len(zeroes)):
            yield zeroes[:volume.size - start]

    _fill(session, name, pieces)


def fill_content(session, name, source, snapshot):
    """Give a clone its own copy of all that its snapshot has.

    :param snapshot: tag and id, as ``Client.open`` takes them
    :raises SheepdogError: and the VDI is gone again
    """
    def pieces(volume):
        with session.client.open(source, read_only=True,
                                 **snapshot) as original:
            yield from original.read_stream(0, volume.size)

    _fill(session, name, pieces)


def _fill(session, name, pieces):
    try:
        _write(session, name, pieces)
    except BaseException:
        # (Ours: it was made a moment ago, and nobody knows of it yet.)
        try:
            session.client.vdis.delete(name)
        except errors.SheepdogError as exc:
            session.warn('VDI %s is not all allocated, and cannot be '
                         'deleted: %s' % (name, exc))
        raise


def _write(session, name, pieces):
    with session.client.open(name) as volume:
        shown = progress.Progress(session.streams.stderr, volume.size)
        try:
            for done in volume.write_stream(0, pieces(volume)):
                shown.update(done)
            volume.flush()
        finally:
            shown.end()
