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

"""Exclusive operations that the cluster decides by itself, without I/O."""

from typing import Any, Iterable, Optional

from sheepdog.cluster import alteration
from sheepdog.cluster import api
from sheepdog.cluster import attributes
from sheepdog.cluster import entries
from sheepdog.cluster import eviction
from sheepdog.cluster import family
from sheepdog.cluster import qos
from sheepdog.cluster import roster
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.model import view as view_model
from sheepdog.placement import redundancy

KINDS = ('lock', 'unlock', 'settings', 'recovered', 'reweight', 'vnodes',
         'disks', 'forgo', 'evict', 'readmit', 'hurry', 'alter-default',
         'alter-vdi', 'turning', 'turned', 'vdi-begin', 'vdi-commit',
         'vdi-commit-group', 'vdi-abort', 'vdi-reclaimed', 'attribute', 'qos',
         'shutdown')

UNORDERED = ('recovered', 'disks', 'forgo', 'evict', 'readmit', 'hurry')
"""May be decided while another operation runs."""

FOUNDING = ('format', 'recover-force')
"""Begin or rebuild a cluster: the leader runs them itself."""

FORMAT_DEFAULTS = view_model.ClusterSettings(created=0)
FORMAT_FIELDS = ('copies', 'copy_policy', 'block_size_shift', 'store',
                 'strict', 'vdi_locks', 'fixed_vnodes', 'recycle_ids',
                 'avoid_full')


def decide(kind: str, arguments: dict,
           state: state_module.State) -> tuple:
    """→ (event or None, result).

    :raises InvalidParameters: an argument is missing, or makes no sense
    """
    return _DECISIONS[kind](arguments, state)


def _lock(arguments: dict, state: state_module.State) -> tuple:
    vdi_id, mode, owner = (_number(arguments, 'vdi_id'),
                           arguments.get('mode', 'exclusive'),
                           _text(arguments, 'owner'))
    lock = state.locks.get(vdi_id)
    if lock and owner in lock.owners and lock.mode == mode:
        serial = state.fences[vdi_id]
    else:
        serial = state.sequence + 1
    # What is turned can be taken away; its replicas must know that it was.
    # (Who gives it up in order unlocks it first.)
    is_forced = lock is not None and lock.mode == entries.TURNING != mode
    return ({'kind': 'lock', 'vdi_id': vdi_id, 'mode': mode,
             'owner': owner, 'force': is_forced}, {'serial': serial})


def _unlock(arguments: dict, state: state_module.State) -> tuple:
    force = bool(arguments.get('force'))
    event = {'kind': 'unlock', 'vdi_id': _number(arguments, 'vdi_id'),
             'owner': '' if force else _text(arguments, 'owner'),
             'force': force}
    return event, {'serial': state.sequence + 1}


def _settings(arguments: dict, state: state_module.State) -> tuple:
    changes = arguments.get('changes')
    if not isinstance(changes, dict):
        raise errors.InvalidParameters('changes is missing')
    return {'kind': 'settings', 'changes': changes}, None


def _recovered(arguments: dict, state: state_module.State) -> tuple:
    return {'kind': 'recovered',
            'incarnation': _text(arguments, 'incarnation'),
            'epoch': _number(arguments, 'epoch')}, None


def _reweight(arguments: dict, state: state_module.State) -> tuple:
    """``spaces``: node → bytes."""
    if state.settings.fixed_vnodes:
        raise errors.InvalidParameters(
            'this cluster has fixed numbers of vnodes: change them with dog '
            'node vnodes set')
    spaces = arguments.get('spaces')
    if not isinstance(spaces, dict) or not all(
            type(space) is int and space >= 0 for space in spaces.values()):
        raise errors.InvalidParameters('spaces is missing, or no numbers')
    return {'kind': 'weights', 'spaces': spaces, 'vnodes': {}}, None


def _vnodes(arguments: dict, state: state_module.State) -> tuple:
    """``started``: the number that the node was started with."""
    if not state.settings.fixed_vnodes:
        raise errors.InvalidParameters(
            'this cluster weights its nodes by space: dog cluster reweight '
            'does it anew')
    node, started, number = (_text(arguments, 'node'),
                             _number(arguments, 'started'),
                             _number(arguments, 'vnodes'))
    if started <= 0:
        raise errors.InvalidParameters('this node keeps no objects')
    if not 0 < number <= limits.VNODES_MAX:
        raise errors.InvalidParameters('a node has 1 to %d vnodes'
                                       % limits.VNODES_MAX)
    return {'kind': 'weights', 'spaces': {},
            'vnodes': {node: [started, number]}}, None


def _disks(arguments: dict, state: state_module.State) -> tuple:
    return {'kind': 'disks', 'node': _text(arguments, 'node'),
            'space': _number(arguments, 'space'),
            'lost': bool(arguments.get('lost'))}, None


def _evict(arguments: dict, state: state_module.State) -> tuple:
    node, by_hand = _text(arguments, 'node'), bool(arguments.get('by_hand'))
    reason = eviction.refusal(state, node, by_hand,
                              bool(arguments.get('force')))
    if reason:
        raise errors.InvalidParameters('node %s cannot be evicted now: %s'
                                       % (_address(state, node), reason))
    return {'kind': 'evict', 'node': node, 'by_hand': by_hand,
            'why': str(arguments.get('why', ''))}, None


def _readmit(arguments: dict, state: state_module.State) -> tuple:
    node = _text(arguments, 'node')
    if not eviction.is_out(state, node):
        raise errors.InvalidParameters('node %s is not evicted'
                                       % _address(state, node))
    return {'kind': 'readmit', 'node': node}, None


def _hurry(arguments: dict, state: state_module.State) -> tuple:
    """``incarnation``: of a member that will not come back when it has gone;
    '': do not wait for whoever has gone already."""
    incarnation = arguments.get('incarnation', '')
    if not isinstance(incarnation, str):
        raise errors.InvalidParameters('incarnation is no text')
    return {'kind': 'hurry', 'incarnation': incarnation}, None


def _address(state: state_module.State, node: str) -> str:
    for member in state.view.members if state.view else ():
        if member.node == node:
            return '%s:%d' % member.address
    return node


def _forgo(arguments: dict, state: state_module.State) -> tuple:
    """A disk of a member fails: it asks whether it may do without it. The
    first of several is told yes; by that it counts as one that has not
    recovered, so that nobody who has copies of the same goes, too.

    ``lost``: one of its disks; else it leaves with the only one. ``space``:
    bytes that are left then."""
    incarnation = _text(arguments, 'incarnation')
    if not (has_redundancy(state) and is_spare(state, incarnation)):
        return None, {'granted': False}
    return {'kind': 'forgo', 'incarnation': incarnation,
            'space': _number(arguments, 'space'),
            'lost': bool(arguments.get('lost'))}, {'granted': True}


def has_redundancy(state: state_module.State) -> bool:
    """Whatever is written is kept by more members than it takes to read it:
    one, or as many as there are data strips."""
    view = state.view
    if view is None:
        return False
    zones = len({member.zone for member in view.members if member.vnodes})
    return zones > 1 and all(
        min(policy.copies, zones) > redundancy.zones_needed(*policy)
        for entry in state.vdis.values()
        if not state.is_dead(entry.vdi_id)
        for policy in entry.policies())


def is_spare(state: state_module.State, incarnation: str) -> bool:
    """All the others have recovered theirs: where there is redundancy, no
    copy that this member has is the only good one."""
    view = state.view
    return view is not None and all(
        state.recovered.get(member.incarnation) == view.epoch
        for member in view.members
        if member.vnodes and member.incarnation != incarnation)


def _alter_default(arguments: dict, state: state_module.State) -> tuple:
    """Of VDIs that are made from now on."""
    settings = state.settings
    policy = _policy(arguments)
    before = redundancy.Policy(settings.copies, settings.copy_policy)
    if alteration.needs_more(policy, before):
        alteration.check_zones(state.view, policy, settings.strict,
                               bool(arguments.get('force')))
    return ({'kind': 'settings', 'changes': policy._asdict()},
            {'before': before.copies, 'policy_before': before.copy_policy,
             **policy._asdict()})


def _policy(arguments: dict) -> redundancy.Policy:
    copies, copy_policy = (_number(arguments, 'copies'),
                           arguments.get('copy_policy', 0))
    if type(copy_policy) is not int:
        raise errors.InvalidParameters('copy_policy is no number: %.40r'
                                       % (copy_policy,))
    if not copy_policy:
        alteration.check_number(copies)
    return redundancy.checked(copies, copy_policy)


def _alter_vdi(arguments: dict, state: state_module.State) -> tuple:
    """``vdis`` of the result: ids of all that it concerns; ``times_left``:
    how often the VDI may get yet another form (only where it gets one)."""
    name, policy = _text(arguments, 'name'), _policy(arguments)
    entry = state.lookup(name)
    if entry is None:
        raise errors.NoVdi('there is no VDI %s' % name)
    alteration.check(entry, policy, state.settled,
                     state.locks.get(entry.vdi_id))
    before = entry.newest_policy
    if alteration.needs_more(policy, before):
        alteration.check_zones(state.view, policy, state.settings.strict,
                               bool(arguments.get('force')))
    changes = alteration.plan(state.vdis, name, policy)
    result = {'before': before.copies, 'policy_before': before.copy_policy,
              **policy._asdict(), 'vdis': list(changes)}
    if policy.copy_policy != entry.copy_policy:
        result['times_left'] = limits.FORMS_MAX - 2 - entry.form
    return ({'kind': 'vdi-alter',
             'changes': [[vdi_id, copies, policy.copy_policy]
                         for vdi_id, copies in changes.items()]}, result)


def _turning(arguments: dict, state: state_module.State) -> tuple:
    """``begin`` and ``copied`` of the event: what goes with it are objects
    from that index on, and those of these indexes."""
    vdi_id, below = _number(arguments, 'vdi_id'), _number(arguments, 'below')
    entry = state.vdis.get(vdi_id)
    if entry is None:
        raise errors.NoVdi('no VDI %06x' % vdi_id)
    former = alteration.former_of(entry)
    _, left = entries.checked_progress(below, arguments.get('left', ()))
    return {'kind': 'vdi-turning', 'vdi_id': vdi_id,
            'form': _number(arguments, 'form'),
            'owner': _text(arguments, 'owner'),
            'below': below, 'left': list(left), 'begin': former.below,
            'copied': [one for one in former.left if one not in left]}, None


def _turned(arguments: dict, state: state_module.State) -> tuple:
    return {'kind': 'vdi-turned', 'vdi_id': _number(arguments, 'vdi_id'),
            'form': _number(arguments, 'form'),
            'owner': _text(arguments, 'owner')}, None


def _attribute(arguments: dict, state: state_module.State) -> tuple:
    """Set (``value``), create (``exclusive``), delete (``value`` None) one
    of a VDI, or answer what it is (``action`` 'get') or which there are
    ('list')."""
    name = _text(arguments, 'name')
    if arguments.get('action') != 'set':
        return None, look_at_attributes(arguments, state)
    if state.lookup(name) is None:
        raise errors.NoVdi('there is no VDI %s' % name)
    return attributes.decide(
        state.attributes, name, _text(arguments, 'key'),
        arguments.get('value'), bool(arguments.get('exclusive'))), None


def look_at_attributes(arguments: dict, state: state_module.State) -> dict:
    """``value``, or ``keys``: what 'get' or 'list' is answered.

    :raises NoVdi:
    :raises NoObject: there is no such attribute
    """
    name, action = _text(arguments, 'name'), arguments.get('action')
    if state.lookup(name) is None:
        raise errors.NoVdi('there is no VDI %s' % name)
    if action == 'list':
        return {'keys': state.attributes.keys(name)}
    if action != 'get':
        raise errors.InvalidParameters('unknown action %.40r' % (action,))
    key = _text(arguments, 'key')
    attributes.check(key, None)
    value = state.attributes.get(name, key)
    if value is None:
        raise errors.NoObject('VDI %s has no attribute %s'
                              % (name, attributes.shown(key)))
    return {'value': value}


def _qos(arguments: dict, state: state_module.State) -> tuple:
    """Change limits of a VDI, or end all (``clear``)."""
    name = _text(arguments, 'name')
    if state.lookup(name) is None:
        raise errors.NoVdi('there is no VDI %s' % name)
    known = {} if arguments.get('clear') else state.qos.get(name, {})
    event = qos.decide(known, name, arguments.get('changes'))
    return event, {'limits': event['limits']}


def _vdi_begin(arguments: dict, state: state_module.State) -> tuple:
    """A VDI is to be made from another (``source``), whose redundancy it
    gets; ``parent``: from whom it has objects, 0 if it gets copies."""
    name, source = (_text(arguments, 'name'), family.living(
        state, _number(arguments, 'source')))
    vdi_id = family.free_id(state.vdis, name)
    return {'kind': 'vdi-begin', 'entry': {
        'vdi_id': vdi_id, 'name': name,
        'parent': _number(arguments, 'parent'),
        'created': _number(arguments, 'created'), 'copies': source.copies,
        'copy_policy': source.copy_policy,
        'block_size_shift': source.block_size_shift,
        'pending': _text(arguments, 'owner')}}, {'vdi_id': vdi_id}


def _vdi_commit(arguments: dict, state: state_module.State) -> tuple:
    vdi_id, source = (_number(arguments, 'vdi_id'),
                      _number(arguments, 'source'))
    tag, is_snapshot = arguments.get('tag', ''), arguments.get('snapshot')
    if not isinstance(tag, str) or not isinstance(is_snapshot, bool):
        raise errors.InvalidParameters('tag or snapshot is missing')
    entry = state.vdis.get(source)
    serial, replaces = (_number(arguments, 'serial'),
                        _number(arguments, 'replaces'))
    if not (is_snapshot or entry is None or entry.snapshot
            or source == replaces):
        # Both would write to the objects that they share. (What was ordered
        # so by former versions is taken from the log as it was.)
        raise errors.InvalidParameters('VDI %s is no snapshot' % entry.name)
    if source == replaces and not serial:
        raise errors.InvalidParameters(
            'VDI %06x is to be held while another one takes its place'
            % source)
    return {'kind': 'vdi-commit', 'vdi_id': vdi_id, 'source': source,
            'owner': _text(arguments, 'owner'), 'snapshot': is_snapshot,
            'serial': serial, 'tag': tag,
            'resized': _number(arguments, 'resized'),
            'replaces': replaces}, {'vdi_id': vdi_id, 'snapshot': source}


def _vdi_commit_group(arguments: dict,
                      state: state_module.State) -> tuple:
    """``commits``: arguments of ``vdi-commit``, each of a snapshot."""
    commits = arguments.get('commits')
    if not isinstance(commits, list) or not all(
            isinstance(one, dict) for one in commits):
        raise errors.InvalidParameters('commits is missing')
    decided = [_vdi_commit(one, state) for one in commits]
    return ({'kind': 'vdi-commit-group',
             'commits': [event for event, _ in decided]},
            {'vdis': [result for _, result in decided]})


def _vdi_abort(arguments: dict, state: state_module.State) -> tuple:
    return {'kind': 'vdi-abort', 'vdi_id': _number(arguments, 'vdi_id'),
            'owner': _text(arguments, 'owner')}, None


def _vdi_reclaimed(arguments: dict, state: state_module.State) -> tuple:
    """``created``: when that VDI was. (Ids come again in a cluster that is
    made anew, and who asks again may not know of it yet.)"""
    vdi_id = _number(arguments, 'vdi_id')
    entry = state.vdis.get(vdi_id)
    if entry is None or entry.created != arguments.get('created',
                                                       entry.created):
        raise errors.NoVdi('VDI %06x is another one by now' % vdi_id)
    return {'kind': 'vdi-reclaimed', 'vdi_id': vdi_id}, None


def _shutdown(arguments: dict, state: state_module.State) -> tuple:
    return {'kind': 'shutdown'}, None


_DECISIONS = {'lock': _lock, 'unlock': _unlock, 'settings': _settings,
              'recovered': _recovered, 'reweight': _reweight,
              'vnodes': _vnodes, 'disks': _disks, 'forgo': _forgo,
              'evict': _evict, 'readmit': _readmit, 'hurry': _hurry,
              'alter-default': _alter_default, 'alter-vdi': _alter_vdi,
              'turning': _turning, 'turned': _turned, 'attribute': _attribute,
              'qos': _qos,
              'vdi-begin': _vdi_begin, 'vdi-commit': _vdi_commit,
              'vdi-commit-group': _vdi_commit_group,
              'vdi-abort': _vdi_abort, 'vdi-reclaimed': _vdi_reclaimed,
              'shutdown': _shutdown}


def format_settings(arguments: dict, infos: Iterable[api.MemberInfo],
                    now: float) -> view_model.ClusterSettings:
    """
    :raises InvalidParameters: they do not fit each other, or the sheep
    """
    infos = list(infos)
    fields = {name: arguments.get(name, getattr(FORMAT_DEFAULTS, name))
              for name in FORMAT_FIELDS}
    for name, value in fields.items():
        default = getattr(FORMAT_DEFAULTS, name)
        if type(value) is not type(default):
            raise errors.InvalidParameters('%s is no %s: %.40r' % (
                name, type(default).__name__, value))
    policy = redundancy.checked(fields['copies'], fields['copy_policy'])
    fields.update(policy._asdict())
    if not (limits.OBJECT_SHIFT_MIN <= fields['block_size_shift']
            <= limits.OBJECT_SHIFT_MAX):
        raise errors.InvalidParameters(
            'the block size shift is %d to %d' % (
                limits.OBJECT_SHIFT_MIN, limits.OBJECT_SHIFT_MAX))
    for info in infos:
        reason = roster.vnodes_refusal(info, fields['fixed_vnodes'])
        if reason:
            raise errors.InvalidParameters('%s:%d: %s' % (
                info.host, info.port, reason))
    return view_model.ClusterSettings(
        created=int(now) << 32 | int(now % 1 * 1e9),
        reference_space=roster.reference_space(infos), **fields)


def _number(arguments: dict, name: str) -> int:
    value = arguments.get(name)
    if type(value) is not int:
        raise errors.InvalidParameters('%s is missing, or no number' % name)
    return value


def _text(arguments: dict, name: str) -> str:
    value: Optional[Any] = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise errors.InvalidParameters('%s is missing, or no text' % name)
    return value
