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

"""What becomes of object requests of native clients: callbacks of the
gateway, which answer them."""

from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.wire import native


class Answer:
    """Answers an object request: a callback of the gateway."""

    __slots__ = ('session', 'fields')

    def __init__(self, session, fields):
        self.session = session
        self.fields = fields

    def __call__(self, error, data=b''):
        fields = self.fields
        if error is not None:
            self.session.answer(fields, native.pack_error(fields, error))
        elif data:
            self.session.answer(
                fields, native.pack_response(fields, length=len(data)), data)
        else:
            self.session.answer(fields, native.pack_response(fields))


class CreateAnswer(Answer):
    """…of an object that the map does not name yet."""

    __slots__ = ('volumes',)

    def __init__(self, session, fields, volumes):
        super().__init__(session, fields)
        self.volumes = volumes

    def __call__(self, error, data=b''):
        if error is None:
            self.volumes.note_created(self.fields[native.OID])
        super().__call__(error, data)


class MapAnswer(Answer):
    """…of an inode."""

    __slots__ = ('volumes', 'size')

    def __init__(self, session, fields, volumes, size):
        super().__init__(session, fields)
        self.volumes = volumes
        self.size = size

    def __call__(self, error, data=b''):
        if error is None:
            offset = self.fields[native.OFFSET] - inode.MAP_OFFSET
            first = -(-offset // inode.MAP_ENTRY_BYTES)
            self.volumes.note_named(
                ids.vdi_of(self.fields[native.OID]), first,
                (offset + self.size) // inode.MAP_ENTRY_BYTES - first)
        super().__call__(error, data)


class ReadAnswer:
    """…unless the object was turned since, or its VDI deleted."""

    __slots__ = ('public', 'session', 'fields')

    def __init__(self, public, session, fields):
        self.public = public
        self.session = session
        self.fields = fields

    def __call__(self, error, data=b''):
        fields = self.fields
        oid = fields[native.OID]
        public = self.public
        entry = public.cluster.state.vdis.get(oid >> 32 & ids.VDI_ID_MASK)
        # (Of nearly all reads the first ones tell all that there is to ask.)
        if entry is not None and entry.deleted and ids.is_data(oid):
            public.read_remains(self.session, fields)
        elif entry is not None and (
                entry.form != oid >> 56 & ids.FORM_MASK
                and public.forms.is_former(oid)):
            public.read_turning(self.session, fields)
        elif error is None and data:
            self.session.answer(
                fields, native.pack_response(fields, length=len(data)), data)
        else:
            Answer(self.session, fields)(error)
