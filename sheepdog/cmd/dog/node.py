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

"""dog node: list, info, md, stat, kill, vnodes, evict, readmit, log."""

import time

from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import tables
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.cmd import words
from sheepdog.model import limits

WATCH_SECONDS = 1.0


def list_nodes(session):
    nodes = session.client.nodes.list()
    session.show(nodes, tables.node_list(nodes, session.is_raw))


def info(session):
    found = session.client.nodes.info()
    session.show(found, tables.node_info(found, session.is_raw))
    silent = [node for node in found['nodes'] if node.get('error')]
    for node in silent:
        session.warn('node %d (%s): %s' % (
            node['id'], words.host_port(node), node['error']))
    return exits.SYSTEM if silent else exits.OK


def disks_info(session):
    if session.values.get('all'):
        nodes = session.client.nodes.all_disks()
        session.show(nodes, tables.all_disks(nodes, session.is_raw))
        silent = [node for node in nodes if node.get('error')]
        for node in silent:
            session.warn('node %d (%s): %s' % (
                node['id'], tables.host_port(node), node['error']))
        return exits.SYSTEM if silent else exits.OK
    disks = session.client.nodes.disks()
    session.show(disks, tables.disks(disks, session.is_raw))


def plug(session):
    for path in _paths(session):
        session.client.nodes.plug(path)
    session.show({})


def unplug(session):
    for path in _paths(session):
        session.client.nodes.unplug(path)
    session.show({})


def _paths(session):
    """The disks that are named, with commas or one by one."""
    paths = [path for word in session.arguments
             for path in word.split(',') if path]
    for path in paths:
        if not path.startswith('/'):
            raise exits.UsageError(
                "'%s': name each disk by the whole path of its directory, "
                'on the machine of the sheep' % path)
    return paths


def stat(session):
    counts = session.client.nodes.stat()
    session.show(counts, tables.node_stat(counts, session.is_raw))
    begin = time.monotonic()
    while session.values.get('watch'):
        session.streams.stdout.flush()
        time.sleep(WATCH_SECONDS)
        before, counts = counts, session.client.nodes.stat()
        end = time.monotonic()
        session.show(counts, tables.node_stat(
            counts, session.is_raw, before, end - begin))
        begin = end


def kill(session):
    if session.values.get('local'):
        if session.arguments:
            raise exits.UsageError('give an ID or -l, not both')
        session.client.nodes.kill_local()
    elif session.arguments:
        node_id = command.whole_number('ID', session.arguments[0], 0, 65535)
        session.client.nodes.kill(node_id)
    else:
        raise exits.UsageError('which node? Give its ID, or -l for this one')
    session.show({})


def log_get(session):
    level = session.client.nodes.log_level()
    session.show({'level': level}, [level])


def log_list(session):
    levels = session.client.nodes.log_levels()
    session.show({'levels': levels}, levels)


def log_set(session):
    session.client.nodes.set_log_level(session.arguments[0])
    session.show({})


def vnodes_set(session):
    session.client.nodes.set_vnodes(command.whole_number(
        'N', session.arguments[0], 1, limits.VNODES_MAX))
    session.show({})


def evict(session):
    session.client.nodes.evict(_node_id(session),
                               bool(session.values.get('force')))
    session.show({})


def readmit(session):
    session.client.nodes.readmit(_node_id(session))
    session.show({})


def _node_id(session):
    return command.whole_number('ID', session.arguments[0], 0, 65535)


COMMANDS = (
    command.Command(('node', 'list'), list_nodes,
                    'list the nodes of the cluster'),
    command.Command(('node', 'info'), info, 'show the space of each node'),
    command.Command(
        ('node', 'md', 'info'), disks_info, 'show the disks of one node',
        options=(Option('A', 'all', 'of all nodes'),)),
    command.Command(
        ('node', 'md', 'plug'), plug, 'use more disks on one node',
        'DISK...', (1, 999)),
    command.Command(
        ('node', 'md', 'unplug'), unplug,
        'empty disks of one node, then use them no more', 'DISK...',
        (1, 999)),
    command.Command(
        ('node', 'stat'), stat, 'count the requests of one node',
        options=(Option('w', 'watch', 'again every second, with paces'),)),
    command.Command(
        ('node', 'kill'), kill, 'stop one node', '[ID]', (0, 1),
        (Option('l', 'local', 'the node that is asked'),)),
    command.Command(('node', 'vnodes', 'set'), vnodes_set,
                    'change the number of vnodes of one node, where they '
                    'are fixed', 'N', (1, 1)),
    command.Command(
        ('node', 'evict'), evict,
        'have a node keep no objects, until it is let in again', 'ID',
        (1, 1),
        (Option('f', 'force', 'though zones would be too few for all '
                'copies, or the others have no room for them, or not all '
                'is recovered'),)),
    command.Command(('node', 'readmit'), readmit,
                    'let a node that was evicted keep objects again', 'ID',
                    (1, 1)),
    command.Command(('node', 'log', 'level', 'get'), log_get,
                    'show what one node logs'),
    command.Command(('node', 'log', 'level', 'set'), log_set,
                    'change what one node logs', 'LEVEL', (1, 1)),
    command.Command(('node', 'log', 'level', 'list'), log_list,
                    'list the levels there are'),
)
