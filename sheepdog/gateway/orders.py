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

"""The server's side of ordering: requests of other gateways for objects
that this sheep orders."""

from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.peer import marks
from sheepdog.wire import peer as wire

KIND_OF = {wire.ORDER_WRITE: wire.WRITE, wire.ORDER_ZERO: wire.ZERO,
           wire.ORDER_REMOVE: wire.REMOVE}
COPIES_MASK = 0xFF


class Orders:
    def __init__(self, world, gateway):
        self.world = world
        self.gateway = gateway

    def handlers(self):
        """For ``Server.register``."""
        return {
            wire.ORDER_WRITE: self._on_change,
            wire.ORDER_ZERO: self._on_change,
            wire.ORDER_REMOVE: self._on_change,
            wire.ORDER_READ: self._on_read,
            wire.ORDER_FLUSH: self._on_flush,
        }

    def _refusal(self, request):
        gateway = self.gateway
        error = gateway.replica.check_epoch(request.epoch)
        if error is not None:
            return error
        if not gateway.changes.is_member(request.session.incarnation):
            return errors.NotServing('%r is not in the view'
                                     % request.session.incarnation)
        copies = 0
        if request.opcode in KIND_OF:
            copies = request.aux & COPIES_MASK
            # What was held up in the network must not come over what others
            # have written since they opened the VDI.
            if request.aux >> 8 != gateway.order.serial(
                    ids.vdi_of(request.oid)):
                return errors.StaleOrder('the lock of the VDI has changed')
        if (gateway.order.orderer(request.oid, copies)
                != gateway.cluster.incarnation):
            return errors.StaleOrder('this sheep does not order %s'
                                     % ids.hex_oid(request.oid))
        return None

    def _on_change(self, request):
        error = self._refusal(request)
        if error is not None:
            request(error)
            return
        data = request.payload
        if request.opcode == wire.ORDER_WRITE:
            end = request.offset + len(data)
        elif request.opcode == wire.ORDER_ZERO:
            if len(data) != 4:
                request(errors.InvalidParameters(
                    'ORDER_ZERO carries a length of 4 bytes'))
                return
            end = request.offset + int.from_bytes(data, 'little')
        else:
            end = 1 << 32
        change = operation.Change(
            self.gateway.changes, KIND_OF[request.opcode], request.oid,
            request.offset, end, data, request.flags & wire.FLAG_DURABLE,
            request.flags & wire.FLAG_CREATE, request.aux & COPIES_MASK,
            request)
        change.origin = request.session.incarnation
        change.count = request.token & marks.COUNT_MASK
        change.elsewhere = bool(request.flags & wire.FLAG_RETRY)
        self.gateway.changes.submit(change)

    def _on_read(self, request):
        error = self._refusal(request)
        if error is not None:
            request(error)
            return
        read = operation.Read(self.gateway.reads, request.oid, request.offset,
                              request.aux, request)
        read.origin = request.session.incarnation
        self.gateway.reads.submit(read)

    def _on_flush(self, request):
        self.world.spawn(self._flush(request), 'flush for another gateway')

    async def _flush(self, request):
        unflushed, vdi_id = self.gateway.unflushed, ids.vdi_of(request.oid)
        try:
            await unflushed.flush_replicas(vdi_id)
            unflushed.tell_loss(vdi_id)
        except errors.SheepdogError as exc:
            request(exc)
        else:
            request(None)
