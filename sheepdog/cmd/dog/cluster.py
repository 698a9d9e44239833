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

"""dog cluster: info, format, shutdown, alter-copy, recover."""

from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import tables
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.placement import redundancy

STORES = ('plain',)


def info(session):
    found = session.client.cluster.info()
    session.show(found, tables.cluster_info(found, session.is_raw,
                                            session.is_verbose))


def format_cluster(session):
    values = session.values
    copies, policy = redundancy_option(values, '3')
    store = values.get('store', STORES[0])
    if store not in STORES:
        raise exits.UsageError("there is no store '%s', only %s" % (
            store, ', '.join(STORES)))
    shift = shift_option(values, limits.OBJECT_SHIFT_DEFAULT)
    settings = session.client.cluster.info()['settings']
    if settings:
        if not session.is_forced and not session.streams.stdin.isatty():
            raise exits.Stop('the cluster is formatted already: -f formats '
                             'it anew, and all its VDIs are gone',
                             exits.EXISTS)
        session.confirm('This deletes all VDIs of the cluster.')
    if not session.is_json:
        session.show(None, ['using backend %s store' % store])
    done = session.client.cluster.format(
        copies=copies, copy_policy=policy, block_size_shift=shift,
        store=store, strict=values.get('strict', False),
        vdi_locks=True, fixed_vnodes=values.get('fixedvnodes', False),
        recycle_ids=values.get('recyclevid', False),
        avoid_full=values.get('avoiddiskfull', False),
        force=bool(settings))
    session.show(done)


def shutdown(session):
    session.client.cluster.shutdown()
    session.show({})


def reweight(session):
    silent = session.client.cluster.reweight()
    session.show({'silent': silent})
    for address in silent:
        session.warn('%s does not answer, and keeps its weight' % address)
    return exits.SYSTEM if silent else exits.OK


def alter_copy(session):
    policy = wanted_redundancy(session)
    settings = session.client.cluster.info()['settings'] or {'copies': 1}
    warn_of_fewer(session, 'VDIs made from now on', policy,
                  policy_of(settings))
    done = session.client.cluster.alter_copies(*policy,
                                               force=session.is_forced)
    session.show(done, [
        'VDIs made from now on %s; those that there are keep theirs (dog vdi '
        'alter-copy)' % (
            'are kept as %s strips' % redundancy.text_of(*policy)
            if policy.copy_policy else 'have %d copies' % policy.copies)])


def wanted_redundancy(session):
    """:raises UsageError: -c is missing, or no redundancy"""
    if 'copies' not in session.values:
        raise exits.UsageError('say how many copies: -c COPIES, or D:P')
    return redundancy_option(session.values, '')


def policy_of(shown):
    """Of a cluster's settings, or a VDI, as a sheep tells them."""
    return redundancy.Policy(shown['copies'], shown.get('copy_policy', 0))


def warn_of_fewer(session, which, policy, before):
    """:raises Stop: that is not what is wanted"""
    losses = redundancy.losses_of(*policy)
    losses_before = redundancy.losses_of(*before)
    if losses < losses_before:
        session.confirm('%s will survive the loss of %s, instead of %s.' % (
            which, _zones(losses), _zones(losses_before)))


def _zones(count):
    return ('no zone' if not count else '1 zone' if count == 1
            else '%d zones' % count)


def recover_force(session):
    session.confirm('The cluster goes on without the nodes that are '
                    'missing: what only they have is lost.')
    session.show(session.client.cluster.recover_force())


def recover_now(session):
    session.client.cluster.recover_now()
    session.show({})


def recover_enable(session):
    _enable_recovery(session, True)


def recover_disable(session):
    _enable_recovery(session, False)


def _enable_recovery(session, is_enabled):
    session.client.cluster.recover_enable(is_enabled)
    session.show({'recovery_enabled': is_enabled}, [
        'Cluster recovery: ' + ('enable' if is_enabled else 'disable')])


def redundancy_option(values, default):
    """What -c says.

    :raises UsageError: it is no redundancy
    """
    try:
        return redundancy.parse(values.get('copies', default))
    except errors.InvalidParameters as exc:
        raise exits.UsageError(str(exc)) from None


def shift_option(values, default):
    """What -z says."""
    if 'block_size_shift' not in values:
        return default
    return command.whole_number(
        '-z', values['block_size_shift'], limits.OBJECT_SHIFT_MIN,
        limits.OBJECT_SHIFT_MAX)


COPIES = Option('c', 'copies', 'copies of each object', 'COPIES|D:P')
SHIFT = Option('z', 'block_size_shift', 'objects are of 2^SHIFT bytes',
               'SHIFT')
FORCE = Option('f', 'force', 'ask nothing')

COMMANDS = (
    command.Command(('cluster', 'info'), info,
                    'show how the cluster stands, and its epochs'),
    command.Command(
        ('cluster', 'format'), format_cluster,
        'begin a new, empty cluster',
        options=(
            Option('b', 'store', 'the kind of store: plain', 'STORE'),
            COPIES, SHIFT,
            Option('t', 'strict', 'no writes with fewer zones than copies'),
            Option('l', 'lock', 'lock VDIs that are open (always so)'),
            Option('V', 'fixedvnodes', 'numbers of vnodes are fixed'),
            Option('R', 'recyclevid', 'ids are used again: refused'),
            Option('F', 'avoiddiskfull',
                   'start no recovery that would fill a disk'),
            FORCE)),
    command.Command(('cluster', 'shutdown'), shutdown,
                    'stop all sheep in order'),
    command.Command(('cluster', 'reweight'), reweight,
                    'weigh the nodes by the disks that they have now'),
    command.Command(('cluster', 'alter-copy'), alter_copy,
                    'change the copies or strips of new VDIs',
                    options=(COPIES, FORCE)),
    command.Command(('cluster', 'recover', 'force'), recover_force,
                    'go on without the nodes that are missing',
                    options=(FORCE,)),
    command.Command(('cluster', 'recover', 'now'), recover_now,
                    'wait for no absent node: make anew what it held'),
    command.Command(('cluster', 'recover', 'enable'), recover_enable,
                    'let recovery run again, after disable'),
    command.Command(('cluster', 'recover', 'disable'), recover_disable,
                    'move nothing when nodes come or go, for maintenance; '
                    'what clients ask for is recovered all the same'),
)
