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


"""dog vdi: snapshot, clone, rollback, tree."""

import time

from sheepdog.cmd.dog import cluster
from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import preallocation
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.model import errors
from sheepdog.model import limits

HERE = '(you are here)'
COPY_SECONDS = 7 * 24 * 3600.0


def snapshot(session):
    names = session.arguments
    how = (session.values.get('snapshot', ''),
           session.values.get('reduce', False))
    vdis = session.client.vdis
    if len(names) > 1:
        session.show(vdis.snapshot_group(names, *how))
    else:
        session.show(vdis.snapshot(names[0], *how))


def clone(session):
    source, name = session.arguments
    shares_nothing = session.values.get('no_share', False)
    made = session.client.vdis.clone(
        source, _tag(session), name, shares_nothing,
        COPY_SECONDS if shares_nothing else None)
    if session.values.get('prealloc'):
        preallocation.fill_content(session, name, source, session.snapshot())
    session.show(made)


def rollback(session):
    name, tag = session.arguments[0], _tag(session)
    session.confirm('What was written to %s since its snapshot %s is lost.'
                    % (name, tag))
    session.client.vdis.rollback(name, tag)
    session.show({})


def _tag(session) -> str:
    tag = session.values.get('snapshot', '')
    if not tag:
        raise exits.UsageError('of which snapshot? (-s)')
    return tag


def tree(session):
    name = session.argument(0, '')
    vdis = session.client.vdis.list(name)
    if name and not vdis:
        raise errors.NoVdi("there is no VDI '%s'" % name)
    session.show(vdis, drawn(vdis))


def drawn(vdis):
    """Lines: for each name how its snapshots follow each other, and where
    the VDI is. Where one has several that follow, each has its own line."""
    of_name = {}
    for vdi in vdis:
        of_name.setdefault(vdi['name'], []).append(vdi)
    for name, named in sorted(of_name.items()):
        known = {vdi['vdi_id'] for vdi in named}
        children = {}
        for vdi in sorted(named, key=lambda vdi: (
                not vdi['snapshot'], vdi['snap_id'])):
            parent = vdi['parent'] if vdi['parent'] in known else 0
            children.setdefault(parent, []).append(vdi)
        yield from _tree(name, children)


def _tree(name, children) -> list:
    # (Not by recursion: chains may be longer than Python goes deep.)
    labels, order = {0: name}, [0]
    for vdi_id in order:
        for vdi in children.get(vdi_id, ()):
            labels[vdi['vdi_id']] = _label(vdi)
            order.append(vdi['vdi_id'])
    lines = {}
    for vdi_id in reversed(order):
        lines[vdi_id] = _joined(labels[vdi_id], [
            lines.pop(vdi['vdi_id']) for vdi in children.get(vdi_id, ())])
    return lines[0]


def _joined(label, branches) -> list:
    """:param branches: the lines of each"""
    if not branches:
        return [label]
    lines = []
    for number, branch in enumerate(branches):
        is_last = number == len(branches) - 1
        before = ' ' * len(label)
        if number:
            joint = ' `-' if is_last else ' |-'
        else:
            before, joint = label, '---' if is_last else '-+-'
        lines.append(before + joint + branch[0])
        lines += [' ' * len(label) + ('   ' if is_last else ' | ') + line
                  for line in branch[1:]]
    return lines


def _label(vdi) -> str:
    if not vdi['snapshot']:
        return HERE
    return time.strftime('[%Y-%m-%d %H:%M]',
                         time.localtime(vdi['snapped']))


TAG = Option('s', 'snapshot', 'the snapshot with that tag or id', 'SNAPSHOT')

COMMANDS = (
    command.Command(
        ('vdi', 'snapshot'), snapshot,
        'make a snapshot of a VDI, or of several at one moment', 'NAME...',
        (1, limits.SNAPSHOT_GROUP_MAX),
        (Option('s', 'snapshot', 'its tag', 'TAG'),
         Option('R', 'reduce', 'only if something has changed since the last '
                'one'))),
    command.Command(
        ('vdi', 'clone'), clone, 'make a VDI out of a snapshot', 'SRC DST',
        (2, 2), (TAG, Option('P', 'prealloc', 'allocate all of it now'),
                 Option('n', 'no-share', 'copy all of it, share nothing'))),
    command.Command(
        ('vdi', 'rollback'), rollback,
        'give a VDI the content of its snapshot', 'NAME', (1, 1),
        (TAG, cluster.FORCE)),
    command.Command(('vdi', 'tree'), tree,
                    'show how snapshots follow each other', '[NAME]',
                    (0, 1)),
)
