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

"""The gateway, for those who may lose the right to use it.

What takes the long way (a first write, zeroes over several objects, a copy)
asks the gateway again and again, and between two steps the lock of the VDI
can be lost. Nothing may be begun then any more: it would come late, over
what the next owner of the lock has written since. So each step asks anew,
and between the answer and the step nothing can happen.
"""


class Access:
    """As the gateway, as far as the long ways need it.

    :param refusal: called before each step: None, or the error that the
        step fails with
    """

    def __init__(self, gateway, refusal):
        self.world = gateway.world
        self._gateway = gateway
        self._refusal = refusal

    def check(self):
        """:raises SheepdogError: nothing may be begun any more"""
        error = self._refusal()
        if error is not None:
            raise error

    async def write_wait(self, oid, offset, data, durable=True,
                         create=False):
        self.check()
        await self._gateway.write_wait(oid, offset, data, durable, create)

    async def zero_wait(self, oid, offset, size, durable=True):
        self.check()
        await self._gateway.zero_wait(oid, offset, size, durable)

    async def read_wait(self, oid, offset, size):
        self.check()
        return await self._gateway.read_wait(oid, offset, size)

    async def extents(self, oid):
        self.check()
        return await self._gateway.extents(oid)
