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

"""A process that is nothing but a member of a cluster, for tests.

    python -m sheepdog.tests.contract.cluster_process SETTINGS

SETTINGS is JSON: option, ttl, directory, node, port. Lines of JSON go in
and out at the port; the same port serves the courier. Every 20 ms it notes
in DIRECTORY/serving whether it would serve now, and in which epoch.
"""

import asyncio
import json
import logging
import os
import sys
import time

from sheepdog.cluster import api
from sheepdog.cluster import cluster as cluster_module
from sheepdog.cluster import tooz_membership
from sheepdog.model import errors
from sheepdog.world import real

LINE_MAX = 1 << 26
SAMPLE_SECONDS = 0.02


class Link:
    """A connection to one other member, answers matched by number."""

    def __init__(self, host, port):
        self._address = host, port
        self._writer = None
        self._waiting = {}
        self._count = 0
        self._connecting = asyncio.Lock()

    async def call(self, message):
        async with self._connecting:
            if self._writer is None:
                reader, self._writer = await asyncio.open_connection(
                    *self._address, limit=LINE_MAX)
                self._reading = asyncio.ensure_future(self._read(reader))
        self._count += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._count] = future
        self._writer.write(json.dumps(
            dict(message, number=self._count)).encode() + b'\n')
        return await future

    async def _read(self, reader):
        try:
            while line := await reader.readline():
                answer = json.loads(line)
                future = self._waiting.pop(answer['number'], None)
                if future is not None and not future.done():
                    future.set_result(answer)
        except OSError:
            pass
        self._writer.close()
        self._writer = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ConnectionError('closed'))


class Courier:
    """See ``api.Courier``."""

    def __init__(self, node):
        self._node = node
        self._links = {}

    async def call(self, member, message, timeout):
        link = self._links.setdefault(
            (member.host, member.port), Link(member.host, member.port))
        try:
            answer = await asyncio.wait_for(link.call({
                'do': 'handle', 'sender': self._node.cluster.incarnation,
                'for': member.incarnation, 'message': message}), timeout)
        except (OSError, asyncio.TimeoutError) as error:
            raise errors.Unreachable(repr(error)) from None
        if 'error' in answer:
            raise errors.from_result(*answer['error'])
        return answer['result']


class Operations:
    """Takes the next free VDI id."""

    def __init__(self, node):
        self._node = node

    async def carry_out(self, kind, arguments):
        await asyncio.sleep(0)
        vdi_id = len(self._node.cluster.state.vdis) + 1
        return ({'kind': 'vdi-create', 'entry': {
            'vdi_id': vdi_id, 'name': arguments['name']}},
            {'vdi_id': vdi_id})


class Node:
    def __init__(self, world, settings):
        self.world = world
        self.settings = settings
        self.is_down = asyncio.Event()
        membership = tooz_membership.from_url(settings['option'],
                                              settings['ttl'])
        info = api.MemberInfo(
            node=settings['node'], incarnation='', host='127.0.0.1',
            port=settings['port'], zone=settings['port'], space=1 << 30,
            protocol=17)
        self.cluster = cluster_module.Cluster(
            world, membership, Courier(self), settings['directory'], info)
        self.cluster.operations = Operations(self)
        self.cluster.add_listener(self)

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        pass

    def on_event(self, event):
        pass

    def on_lapse(self):
        pass

    def on_shutdown(self):
        self.world.spawn(self.stop(True))

    async def stop(self, clean):
        await self.cluster.stop(clean)
        self.is_down.set()

    async def run(self):
        server = await asyncio.start_server(
            self._serve, '127.0.0.1', self.settings['port'], limit=LINE_MAX)
        await self.cluster.start()
        self.world.spawn(self._sample())
        await self.is_down.wait()
        # The last answers go out.
        await asyncio.sleep(0.1)
        server.close()

    async def _sample(self):
        path = os.path.join(self.settings['directory'], 'serving')
        with open(path, 'a', buffering=1) as file:
            while True:
                view = self.cluster.view
                # (One clock for all processes of a machine.)
                began = time.clock_gettime(time.CLOCK_MONOTONIC)
                is_serving = self.cluster.serving()
                file.write('%.6f %.6f %d %d\n' % (
                    began, time.clock_gettime(time.CLOCK_MONOTONIC),
                    is_serving, view.epoch if view else 0))
                await asyncio.sleep(SAMPLE_SECONDS)

    async def _serve(self, reader, writer):
        try:
            while line := await reader.readline():
                self.world.spawn(self._answer(json.loads(line), writer))
        except OSError:
            pass
        finally:
            writer.close()

    async def _answer(self, request, writer):
        try:
            answer = {'result': await self._do(request)}
        except errors.SheepdogError as error:
            answer = {'error': [error.result, str(error)]}
        answer['number'] = request.get('number')
        writer.write(json.dumps(answer).encode() + b'\n')

    async def _do(self, request):
        cluster = self.cluster
        if request['do'] == 'handle':
            if request['for'] != cluster.incarnation:
                raise errors.Unreachable('another incarnation')
            return await cluster.handle(request['sender'],
                                        request['message'])
        if request['do'] == 'execute':
            return await cluster.execute(request['kind'],
                                         request['arguments'])
        if request['do'] == 'stop':
            self.world.spawn(self.stop(False))
            return None
        assert request['do'] == 'state', request
        return dict(
            cluster.explain(), clean_start=cluster.clean_start,
            views={view.epoch: sorted(member.node for member in view.members)
                   for view in cluster.views},
            vdis={entry.name: entry.vdi_id for entry
                  in cluster.state.vdis.values()})


def main():
    settings = json.loads(sys.argv[1])
    logging.basicConfig(
        filename=os.path.join(settings['directory'], 'log'),
        level=logging.INFO,
        format='%(asctime)s.%(msecs)03d %(name)s %(message)s',
        datefmt='%H:%M:%S')

    async def run(world):
        await Node(world, settings).run()

    real.run(run)


if __name__ == '__main__':
    main()
