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

"""dog benchmark io: what one volume gives this client."""

from sheepdog.cmd import benchmark
from sheepdog.cmd.dog import command
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.model import errors
from sheepdog.model import sizes


def io(session):
    name, plan = session.arguments[0], _plan(session.values)
    if plan.is_write:
        # It is better known before the question that there is none.
        if not session.client.vdis.list(name):
            raise errors.NoVdi("there is no VDI '%s'" % name)
        session.confirm('This overwrites the data of VDI %s.' % name)
    with session.client.open(name, read_only=not plan.is_write) as volume:
        if volume.size < plan.block:
            raise exits.UsageError('VDI %s has %d bytes, less than one '
                                   'request' % (name, volume.size))
        found = dict(benchmark.Run(volume, plan).run(), name=name)
    session.show(found, _lines(found, session.is_raw))


def _plan(values):
    block = 4096
    if 'block' in values:
        try:
            block = sizes.parse_size(values['block'])
        except errors.InvalidParameters as exc:
            raise exits.UsageError(str(exc)) from None
    if (not benchmark.BLOCK_MIN <= block <= benchmark.BLOCK_MAX
            or block % benchmark.BLOCK_MIN):
        raise exits.UsageError('-b: a request has from 512 bytes to 4 MiB, '
                               'in units of 512')
    if values.get('durable') and not values.get('write'):
        raise exits.UsageError('-d is for writing: -w')
    return benchmark.Plan(
        is_write=values.get('write', False),
        is_sequential=values.get('sequential', False),
        is_durable=values.get('durable', False), block=block,
        depth=command.whole_number('-q', values.get('depth', '16'), 1,
                                   benchmark.DEPTH_MAX),
        seconds=command.whole_number('-t', values.get('seconds', '5'), 1,
                                     benchmark.SECONDS_MAX))


def _lines(found, raw):
    latency = found['latency_ms']
    if raw:
        yield '%s %s %d %d %.3f %d %d %.1f %d %.3f %.3f %.3f %.3f' % (
            found['operation'], found['order'], found['block'],
            found['depth'], found['seconds'], found['requests'],
            found['bytes'], found['requests_per_second'],
            found['bytes_per_second'], latency['mean'], latency['median'],
            latency['99%'], latency['longest'])
        return
    yield '%s %s%s of %d bytes, %d at once, for %.1f s' % (
        found['order'], found['operation'] + 's',
        ', durable,' if found['durable'] else '', found['block'],
        found['depth'], found['seconds'])
    yield '%.0f requests/s, %s/s' % (
        found['requests_per_second'],
        sizes.show_size(found['bytes_per_second']))
    yield ('latency: mean %.2f ms, median %.2f ms, 99 %% below %.2f ms, '
           'longest %.2f ms' % (latency['mean'], latency['median'],
                                latency['99%'], latency['longest']))


COMMANDS = (
    command.Command(
        ('benchmark', 'io'), io,
        'measure reads of a VDI from here, or writes', 'NAME', (1, 1),
        (Option('w', 'write', 'write, over what is there: asks first'),
         Option('f', 'force', 'ask nothing'),
         Option('l', 'sequential', 'one request behind the other (default: '
                'at random places)'),
         Option('d', 'durable', 'wait until each write is on disk'),
         Option('b', 'block', 'bytes of each request (default: 4K)',
                'SIZE'),
         Option('q', 'depth', 'requests under way (default: 16)', 'N'),
         Option('t', 'seconds', 'how long (default: 5)', 'SECONDS'))),
)
