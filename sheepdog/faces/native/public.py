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

"""The native protocol's requests: objects by id, VDIs by name.

Its clients (QEMU, tgt) keep a volume's inode themselves and ask for objects.
So this face has two doors: object requests go to the gateway, VDI requests
to the catalogue.
"""

import functools
import logging

from sheepdog.cluster import entries
from sheepdog.cluster import family
from sheepdog.faces.native import answers
from sheepdog.faces.native import claims
from sheepdog.faces.native import forms
from sheepdog.faces.native import remains
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.volume import access
from sheepdog.volume import catalogue as catalogue_module
from sheepdog.volume import cow
from sheepdog.wire import native

LOG = logging.getLogger(__name__)

_FORM_BITS = ids.data_oid(ids.owner_of(0, ids.FORM_MASK), 0)


class Public:
    def __init__(self, world, cluster, gateway, catalogue, volumes,
                 branching):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway
        self.catalogue = catalogue
        self.volumes = volumes
        self.branching = branching
        self.claims = claims.Claims(world, volumes)
        self.forms = forms.Forms(cluster, gateway, volumes)
        self.remains = remains.Remains(cluster, gateway)
        self._throttles = volumes.throttles.by_id
        self.objects = {
            native.READ_OBJ: self._read,
            native.WRITE_OBJ: self._write,
            native.CREATE_AND_WRITE_OBJ: self._create,
            native.REMOVE_OBJ: self._remove,
            native.DISCARD_OBJ: self._discard,
            native.FLUSH_VDI: self._flush,
        }
        self.inodes = {
            native.READ_OBJ: self._read_inode,
            native.WRITE_OBJ: self._write_inode,
            native.CREATE_AND_WRITE_OBJ: self._write_inode,
        }
        """Of VDIs with forms, or from others, or that are snapshots."""
        self._vdis = {
            native.NEW_VDI: self._new_vdi,
            native.LOCK_VDI: self._lock_vdi,
            native.RELEASE_VDI: self._release_vdi,
            native.GET_VDI_INFO: self._get_vdi_info,
            native.READ_VDIS: self._read_vdis,
            native.DEL_VDI: self._del_vdi,
            native.GET_CLUSTER_DEFAULT: self._get_cluster_default,
        }

    def handle(self, session, fields, payload, is_due=False):
        """Answer one request, now or later; its errors are answers too.

        :param is_due: its turn has come, where its VDI has limits
        """
        function = self.objects.get(fields[native.OPCODE])
        try:
            if function is None:
                self.world.spawn(self._handle_vdi(session, fields, payload),
                                 'native VDI request')
                return
            native.check_object(fields, payload)
            oid = fields[native.OID]
            if self._throttles and not is_due and self._hold_back(
                    session, fields, payload):
                return
            if self.volumes.frozen and self._must_wait(fields):
                self.world.spawn(self._handle_later(session, fields, payload),
                                 'native request during a snapshot')
                return
            entry = self._check(session, fields, payload)
            if (entry.form or entry.parent or entry.snapshot
                    or entry.deleted or oid & _FORM_BITS):
                if ids.is_vdi(oid):
                    function = self.inodes.get(fields[native.OPCODE],
                                               function)
                elif ids.is_data(oid) and self.forms.is_turned_elsewhere(
                        entry):
                    function = self.read_turning
                else:
                    fields = self._translated(fields)
                    if entry.deleted and ids.is_data(oid):
                        function = self.read_remains
        except errors.SheepdogError as exc:
            session.answer(fields, native.pack_error(fields, exc))
            return
        function(session, fields, payload)

    def _must_wait(self, fields):
        return (fields[native.OPCODE] not in (native.READ_OBJ,
                                              native.FLUSH_VDI)
                and self.volumes.is_frozen(ids.vdi_of(fields[native.OID])))

    async def _handle_later(self, session, fields, payload):
        await self.volumes.thawed(ids.vdi_of(fields[native.OID]))
        self.handle(session, fields, payload, is_due=True)

    def _hold_back(self, session, fields, payload):
        """Whether it waits, or has waited, for a limit. (What is no data
        does not.)"""
        oid, opcode = fields[native.OID], fields[native.OPCODE]
        throttle = self._throttles.get(ids.vdi_of(oid))
        if throttle is None or not ids.is_data(oid) or (
                opcode == native.FLUSH_VDI):
            return False
        self.claims.use(session, ids.vdi_of(oid))
        throttle.submit(
            opcode != native.READ_OBJ,
            fields[native.DATA_LENGTH] if opcode == native.READ_OBJ
            else len(payload), functools.partial(
                self.handle, session, fields, payload, True),
            (session, self.volumes))
        return True

    def forget(self, session):
        """The connection is gone."""
        if session.used:
            # (A snapshot may have given a VDI another id meanwhile.)
            for throttle in list(self._throttles.values()):
                throttle.hasten(session)
        self.claims.forget(session)

    # -- objects --------------------------------------------------------

    def _check(self, session, fields, payload):
        """:raises SheepdogError: not an object that may be asked for so"""
        if self.gateway.replica.epoch < 0:
            catalogue_module.check_up(self.cluster)
        oid = fields[native.OID]
        opcode = fields[native.OPCODE]
        vdi_id = ids.vdi_of(oid)
        state = self.cluster.state
        entry = state.vdis.get(vdi_id)
        # (Of a deleted VDI others may still have objects.)
        if opcode == native.READ_OBJ:
            if entry is None or state.is_dead(vdi_id):
                raise errors.NoObject('no VDI %06x' % vdi_id)
        elif entry is None or entry.deleted or entry.pending:
            raise errors.NoVdi('no VDI %06x' % vdi_id)
        self.claims.use(session, vdi_id)
        if opcode == native.READ_OBJ:
            size = fields[native.DATA_LENGTH]
        else:
            size = len(payload)
            if opcode != native.FLUSH_VDI:
                error = self._refusal_to_write(vdi_id)
                if error is not None:
                    raise error
        if fields[native.OFFSET] + size > ids.capacity_of(
                oid, entry.block_size_shift):
            raise errors.InvalidParameters(
                'bytes %d to %d are beyond object %s'
                % (fields[native.OFFSET], fields[native.OFFSET] + size,
                   ids.hex_oid(oid)))
        return entry

    def _translated(self, fields):
        """:raises InvalidParameters: there is no such object"""
        found = list(fields)
        for place in (native.OID, native.COW_OID):
            found[place] = self.forms.translated(fields[place])
        return tuple(found)

    def _refusal_to_write(self, vdi_id):
        entry = self.cluster.state.vdis.get(vdi_id)
        if entry is None or entry.deleted or entry.pending:
            return errors.NoVdi('no VDI %06x' % vdi_id)
        if entry.snapshot:
            return errors.ReadOnly('VDI %06x is a snapshot' % vdi_id)
        if self.volumes.may_write(vdi_id):
            return None
        return errors.VdiLocked('VDI %06x is locked elsewhere' % vdi_id)

    def _read(self, session, fields, payload):
        self.gateway.read(fields[native.OID], fields[native.OFFSET],
                          fields[native.DATA_LENGTH],
                          answers.ReadAnswer(self, session, fields))

    def _write(self, session, fields, payload):
        answer = answers.Answer(session, fields)
        if self.volumes.unnamed and ids.is_vdi(fields[native.OID]):
            answer = answers.MapAnswer(session, fields, self.volumes,
                                       len(payload))
        self.gateway.write(fields[native.OID], fields[native.OFFSET],
                           payload, answer, is_durable(fields))

    def _read_inode(self, session, fields, payload):
        answer = answers.Answer(session, fields)
        offset = fields[native.OFFSET]
        entry = self.cluster.state.vdis[ids.vdi_of(fields[native.OID])]
        has_forms = bool(self.forms.owners(entry))

        def done(error, data=b''):
            if isinstance(data, list):
                data = b''.join(data)
            if data and has_forms:
                data = forms.without_forms(data, offset)
            if data and entry.snapshot:
                data = forms.as_snapshot(data, offset, entry)
            answer(error, data)

        self.gateway.read(fields[native.OID], offset,
                          fields[native.DATA_LENGTH], done)

    def _write_inode(self, session, fields, payload):
        entry = self.cluster.state.vdis[ids.vdi_of(fields[native.OID])]
        answer = answers.MapAnswer(session, fields, self.volumes, len(payload))
        try:
            self.remains.check_named(payload, fields[native.OFFSET], entry)
            payload = forms.with_forms(payload, fields[native.OFFSET],
                                       self.forms.owners(entry))
        except errors.SheepdogError as exc:
            answer(exc)
            return
        self.gateway.write(fields[native.OID], fields[native.OFFSET],
                           payload, answer, is_durable(fields),
                           create=fields[native.OPCODE]
                           == native.CREATE_AND_WRITE_OBJ)

    def read_turning(self, session, fields, payload=b''):
        self.world.spawn(
            self._answer_read(session, fields, self.forms.read_steadily),
            'native read of a VDI that is turned')

    def read_remains(self, session, fields, payload=b''):
        self.world.spawn(
            self._answer_read(session, fields, self.remains.read),
            'native read of a VDI that is deleted')

    async def _answer_read(self, session, fields, read):
        answer = answers.Answer(session, fields)
        try:
            data = await read(fields[native.OID], fields[native.OFFSET],
                              fields[native.DATA_LENGTH])
        except errors.SheepdogError as exc:
            answer(exc)
        else:
            answer(None, data)

    def _create(self, session, fields, payload):
        if fields[native.OID] & ids.VMSTATE_BIT and self._is_shared(fields):
            # Another machine would save its own under the same names.
            answers.Answer(session, fields)(errors.VdiLocked(
                'VDI %06x is open shared: no machine has its state saved '
                'with it' % ids.vdi_of(fields[native.OID])))
            return
        if fields[native.FLAGS] & native.FLAG_COW:
            # From now on, not from when the task begins: who makes a
            # snapshot may look before that.
            self.volumes.copying[ids.vdi_of(fields[native.OID])] += 1
            self.world.spawn(self._copy_on_write(session, fields, payload),
                             'copy on write')
            return
        self.gateway.write(
            fields[native.OID], fields[native.OFFSET], payload,
            answers.CreateAnswer(session, fields, self.volumes),
            is_durable(fields), create=True)

    def _is_shared(self, fields):
        lock = self.cluster.state.locks.get(ids.vdi_of(fields[native.OID]))
        return lock is not None and lock.mode == entries.SHARED

    async def _copy_on_write(self, session, fields, payload):
        answer = answers.CreateAnswer(session, fields, self.volumes)
        vdi_id = ids.vdi_of(fields[native.OID])
        try:
            await cow.create_from(
                access.Access(self.gateway,
                              lambda: self._refusal_to_write(vdi_id)),
                fields[native.COW_OID], fields[native.OID],
                fields[native.OFFSET], payload, is_durable(fields))
        except errors.SheepdogError as exc:
            answer(exc)
        else:
            answer(None)
        finally:
            self.volumes.copying[vdi_id] -= 1

    def _remove(self, session, fields, payload):
        oid = fields[native.OID]
        if self.volumes.unnamed and ids.is_data(oid):
            self.volumes.note_named(ids.vdi_of(oid), ids.index_of(oid), 1)
        self.gateway.remove(fields[native.OID],
                            answers.Answer(session, fields))

    def _discard(self, session, fields, payload):
        oid = fields[native.OID]
        entry = self.cluster.state.vdis[ids.vdi_of(oid)]
        answer = answers.Answer(session, fields)

        def done(error):
            # What is not there reads as zero already.
            answer(None if isinstance(error, errors.NoObject) else error)

        self.gateway.zero(oid, 0, ids.capacity_of(oid,
                                                  entry.block_size_shift),
                          done)

    def _flush(self, session, fields, payload):
        self.world.spawn(self._flush_vdi(session, fields), 'native flush')

    async def _flush_vdi(self, session, fields):
        answer = answers.Answer(session, fields)
        try:
            await self.gateway.flush(ids.vdi_of(fields[native.OID]))
        except errors.SheepdogError as exc:
            answer(exc)
        else:
            answer(None)

    # -- VDIs -----------------------------------------------------------

    async def _handle_vdi(self, session, fields, payload):
        try:
            request = native.parse_vdi(fields, payload)
            catalogue_module.check_up(self.cluster)
            buffers = await self._vdis[request.opcode](session, fields,
                                                       request)
        except errors.SheepdogError as exc:
            buffers = (native.pack_error(fields, exc),)
        session.answer(fields, *buffers)

    def _vdi_answer(self, fields, entry):
        return (native.pack_vdi_response(
            fields, vdi_id=entry.vdi_id, copies=entry.copies,
            block_size_shift=entry.block_size_shift),)

    async def _new_vdi(self, session, fields, request):
        if request.store_policy:
            raise errors.InvalidParameters(
                'hypervolumes are not built yet in this version')
        if request.snap_id:
            return self._vdi_answer(fields, await self._snapshot(request))
        if request.base_vdi_id:
            await self.branching.clone_of(self._base(request), request.name,
                                          request.vdi_size)
            return self._vdi_answer(fields,
                                    self.catalogue.find(request.name))
        await self.catalogue.create(
            request.name, request.vdi_size, request.copies,
            request.copy_policy, request.block_size_shift)
        return self._vdi_answer(fields, self.catalogue.find(request.name))

    async def _snapshot(self, request):
        """The client has written the tag into the inode. Returns the entry
        of the VDI that it goes on with."""
        base = self._base(request)
        if base.snapshot:
            raise errors.ReadOnly('VDI %06x is a snapshot' % base.vdi_id)
        head = await self.catalogue.head(base.vdi_id)
        done = await self.branching.snapshot(base.name, head.tag)
        return family.living(self.cluster.state, done['vdi_id'])

    def _base(self, request):
        """:raises NoBaseVdi:"""
        entry = self.cluster.state.vdis.get(request.base_vdi_id)
        if entry is None or entry.deleted or entry.pending:
            raise errors.NoBaseVdi('no VDI %06x' % request.base_vdi_id)
        return entry

    async def _lock_vdi(self, session, fields, request):
        while True:
            entry = self.catalogue.find(request.name, request.tag,
                                        request.snap_id)
            if entry.snapshot:
                return self._vdi_answer(fields, entry)
            try:
                await self.claims.lock(
                    session, entry.vdi_id,
                    request.lock_type == native.LOCK_SHARED)
            except (errors.ReadOnly, errors.NoVdi):
                if not family.is_over(self.cluster.state, entry):
                    raise
                # It became so while we waited: the next one, then.
            else:
                return self._vdi_answer(fields, entry)

    async def _release_vdi(self, session, fields, request):
        await self.claims.unlock(self.claims.follow(request.base_vdi_id))
        return (native.pack_response(fields),)

    async def _get_vdi_info(self, session, fields, request):
        return self._vdi_answer(fields, self.catalogue.find(
            request.name, request.tag, request.snap_id))

    async def _read_vdis(self, session, fields, request):
        bitmap = native.pack_vdi_bitmap(
            vdi_id for vdi_id, entry in self.cluster.state.vdis.items()
            if not (entry.deleted or entry.pending))
        return native.pack_response(fields, length=len(bitmap)), bitmap

    async def _del_vdi(self, session, fields, request):
        await self.catalogue.delete(request.name, request.tag,
                                    request.snap_id)
        return (native.pack_response(fields),)

    async def _get_cluster_default(self, session, fields, request):
        settings = self.cluster.state.settings
        if settings is None:
            raise errors.WaitForFormat('the cluster is not formatted')
        return (native.pack_cluster_default(
            fields, settings.copies, settings.copy_policy,
            settings.block_size_shift),)


def is_durable(fields):
    """Write-back only where the client asks for it and not for more."""
    flags = fields[native.FLAGS]
    return bool(flags & native.FLAG_DIRECT or not flags & native.FLAG_CACHE)
