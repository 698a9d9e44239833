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

"""What the stores have in quarantine: looked at, and deleted by operators."""

from sheepdog.model import errors
from sheepdog.model import ids

NOTES_MAX = 1000
"""Told of one node at once, the oldest first; ``kept`` counts them all."""


class Quarantine:
    """:param ask_all: ``Admin._ask_all``"""

    def __init__(self, sheep, ask_all):
        self.sheep = sheep
        self._ask_all = ask_all

    async def cluster(self):
        """Of each member ``host``, ``port``, and what ``node`` says or
        ``error``."""
        return await self._gather('node.quarantine', {})

    async def node(self):
        """``notes``, ``kept`` and ``used_bytes``."""
        quarantine = self.sheep.store.quarantine
        return {'notes': (await quarantine.list())[:NOTES_MAX],
                'kept': quarantine.kept,
                'used_bytes': await quarantine.used_bytes()}

    async def delete(self, name, operation_id=''):
        """On the node that has it.

        :raises NoObject: none has
        """
        answers = await self._gather('node.quarantine-delete',
                                     {'name': name})
        if any(one.get('is_deleted') for one in answers):
            return
        silent = [one for one in answers if 'error' in one]
        if silent:
            raise errors.SystemFailure(
                '%s is on no node that answers: %s:%s says: %s' % (
                    name, silent[0]['host'], silent[0]['port'],
                    silent[0]['error']))
        raise errors.NoObject('%r is in no quarantine' % name)

    async def delete_here(self, name):
        """``is_deleted``: it was here, and is not any more."""
        try:
            await self.sheep.store.quarantine.delete(name)
        except errors.NoObject:
            return {'is_deleted': False}
        return {'is_deleted': True}

    async def add(self, object, node, operation_id=''):
        """An operator has decided that this node's copy is the wrong one.

        :raises NoObject: the node has none
        :raises InvalidParameters: no other copy is whole
        """
        oid = _oid(object)
        for _index, member, result in await self._ask_all(
                'node.suspect', {'object': object, 'node': node}):
            if '%s:%s' % (member.host, member.port) == node:
                if isinstance(result, errors.SheepdogError):
                    raise result
                return
        raise errors.InvalidParameters(
            'there is no node %s to have object %s' % (node,
                                                       ids.hex_oid(oid)))

    async def suspect_here(self, object, node):
        """Nothing, where ``node`` is another one."""
        settings = self.sheep.settings
        if node != '%s:%s' % (settings.advertised_host, settings.port):
            return
        await self.sheep.scrub.give_up(_oid(object))

    async def _gather(self, method, arguments):
        found = []
        for _index, member, result in await self._ask_all(method, arguments):
            one = {'host': member.host, 'port': member.port}
            if isinstance(result, errors.SheepdogError):
                one['error'] = str(result) or type(result).__name__
            else:
                one.update(result)
            found.append(one)
        return found


def _oid(text):
    try:
        if len(text) == 16:
            return int(text, 16)
    except ValueError:
        pass
    raise errors.InvalidParameters(
        '%.40r names no object: its number has 16 hexadecimal digits' % text)
