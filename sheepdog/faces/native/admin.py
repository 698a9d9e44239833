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

"""What our own tools may ask of a sheep: JSON in, JSON out.

One method, one function; arguments are keyword arguments. Methods that
concern another sheep are passed on to it.
"""

import asyncio
import logging

from sheepdog.cluster import api
from sheepdog.faces.native import arguments as arguments_module
from sheepdog.faces.native import attributes
from sheepdog.faces.native import checks
from sheepdog.faces.native import facts
from sheepdog.faces.native import limits
from sheepdog.faces.native import places
from sheepdog.faces.native import quarantine
from sheepdog.model import errors
from sheepdog.model import shapes
from sheepdog.model import sizes
from sheepdog.placement import headroom
from sheepdog.placement import redundancy
from sheepdog.recovery import throttle
from sheepdog.store import settings as store_settings
from sheepdog.volume import turner
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

NODE_SECONDS = 5.0
COPIES_SECONDS = 30.0
SNAPSHOT_ATTEMPTS = 5
DEPART_SECONDS = 3.0
SETTINGS = ('store', 'copies', 'copy_policy', 'block_size_shift', 'strict',
            'vdi_locks', 'fixed_vnodes', 'recycle_ids', 'avoid_full')

RESULTS = {
    'node.space': {'total': int, 'used': int, 'free': int},
    'node.progress': {'is_running': bool, 'done': int, 'total': int},
    'node.weight': {'space': int},
    'node.throttle': {'max': int, 'interval': int},
    'node.object': {'parts': list},
    'vdi.hold': {'serial': int},
    'node.activity': {'stat': dict, 'space': dict, 'progress': dict,
                      'waits': dict},
    'node.facts': {}, 'node.copies': {}, 'node.log': {}, 'node.trace': {}}
"""What other sheep are asked for: fields that must be in the answer."""


class Admin:
    """:param sheep: the whole (see ``cmd.wiring``): this room asks it for
        what it tells operators, and may stop it"""

    def __init__(self, world, sheep, handles, port=None):
        self.world = world
        self.sheep = sheep
        self.handles = handles
        self.facts = facts.Facts(world, sheep, handles, port)
        self.checks = checks.Checks(world, sheep, self._ask_all)
        self.quarantine = quarantine.Quarantine(sheep, self._ask_all)
        self.places = places.Places(sheep, self._ask_all)
        self.attributes = attributes.Attributes(sheep.cluster)
        self.limits = limits.Limits(sheep.cluster, sheep.catalogue,
                                    sheep.volumes.throttles)
        self.methods = {
            'cluster.info': self._cluster_info,
            'cluster.facts': self._cluster_facts,
            'cluster.copies': self._cluster_copies,
            'cluster.format': self._cluster_format,
            'cluster.shutdown': self._cluster_shutdown,
            'cluster.recover': self._cluster_recover,
            'cluster.reweight': self._cluster_reweight,
            'cluster.alter-copy': self._cluster_alter_copy,
            'cluster.check': self.checks.cluster,
            'cluster.quarantine': self.quarantine.cluster,
            'cluster.quarantine-add': self.quarantine.add,
            'cluster.quarantine-delete': self.quarantine.delete,
            'node.list': self._node_list,
            'node.info': self._node_info,
            'node.space': self._node_space,
            'node.weight': self._node_weight,
            'node.vnodes': self._node_vnodes,
            'node.disks': self._node_disks,
            'node.plug': self._node_plug,
            'node.unplug': self._node_unplug,
            'node.evict': self._node_evict,
            'node.readmit': self._node_readmit,
            'node.stat': self._node_stat,
            'node.activity': self._node_activity,
            'cluster.activity': self._cluster_activity,
            'node.recovery': self._node_recovery,
            'node.progress': self._node_progress,
            'node.throttle': self._node_throttle,
            'node.kill': self._node_kill,
            'node.stop': self._node_stop,
            'node.quiesce': self._node_quiesce,
            'node.log': self._node_log,
            'node.trace': self._node_trace,
            'node.status': self._node_status,
            'node.facts': self.facts.collect,
            'node.copies': self.facts.copies,
            'node.check': self.checks.node,
            'node.quarantine': self.quarantine.node,
            'node.quarantine-delete': self.quarantine.delete_here,
            'node.suspect': self.quarantine.suspect_here,
            'node.object': self.places.here,
            'vdi.create': self._vdi_create,
            'vdi.list': self._vdi_list,
            'vdi.resize': self._vdi_resize,
            'vdi.delete': self._vdi_delete,
            'vdi.snapshot': self._vdi_snapshot,
            'vdi.snapshot_group': self._vdi_snapshot_group,
            'vdi.hold': sheep.branching.standstill.hold,
            'vdi.make_own': sheep.volumes.copies.make_own_here,
            'vdi.clone': self._vdi_clone,
            'vdi.rollback': self._vdi_rollback,
            'vdi.alter-copy': self._vdi_alter_copy,
            'vdi.missing': self.checks.missing,
            'vdi.object': self.places.object,
            'vdi.inode': self.places.inode,
            'vdi.setattr': self.attributes.set,
            'vdi.getattr': self.attributes.get,
            'vdi.attributes': self.attributes.list,
            'vdi.limit': self.limits.set,
            'vdi.limits': self.limits.list,
            'vdi.locks': self._vdi_locks,
            'vdi.unlock': self._vdi_unlock,
            'volume.open': self._volume_open,
            'volume.close': self._volume_close,
            'volume.extents': self._volume_extents,
        }

    def handlers(self):
        """For ``Server.register``."""
        return {wire.ADMIN: self._on_admin}

    def _on_admin(self, request):
        self.world.spawn(self._answer(request), 'request of a tool')

    async def _answer(self, request):
        try:
            message = wire.unpack_json(request.payload)
            result = await self.call(request.session,
                                     message.get('method'),
                                     message.get('arguments') or {})
        except errors.SheepdogError as exc:
            request(exc)
        except AssertionError:
            raise
        except Exception as exc:
            # Whoever asked would wait for ever.
            LOG.exception('a request of a tool failed')
            request(errors.SystemFailure('%r: see the log of this sheep'
                                         % exc))
        else:
            request.answer_json({'result': result})

    async def call(self, session, method, arguments):
        """:raises SheepdogError: unknown method, wrong arguments, or what
        the method raises"""
        function = (self.methods.get(method) if isinstance(method, str)
                    else None)
        if function is None:
            raise errors.InvalidParameters('this sheep has no method %r'
                                           % (method,))
        return await function(**arguments_module.checked(
            method, function, arguments, session=session))

    # -- the cluster ----------------------------------------------------

    async def _cluster_info(self):
        cluster = self.sheep.cluster
        explained = cluster.explain()
        return {
            'status': cluster.status.value,
            'reason': explained.get('reason', ''),
            'missing': explained.get('missing', []),
            'leader': explained.get('leader'),
            'settings': (cluster.state.settings.to_dict()
                         if cluster.state.settings else None),
            'epochs': [
                {'epoch': view.epoch, 'time': view.time, 'members': [
                    {'host': m.host, 'port': m.port, 'vnodes': m.vnodes,
                     'zone': m.zone} for m in view.members]}
                for view in reversed(cluster.views)],
            'version': self.sheep.version,
        }

    async def _cluster_facts(self):
        """Of this sheep and of all others that it knows."""
        return await self._ask_everyone('node.facts')

    async def _cluster_copies(self):
        return await self._ask_everyone('node.copies', COPIES_SECONDS)

    async def _ask_everyone(self, method, timeout=NODE_SECONDS):
        """Members, and those who are live and are none yet: each with its
        ``address`` and ``answer``, or ``error``."""
        others = self.sheep.cluster.acquaintances()
        ours = self.sheep.cluster.incarnation
        if not any(one.incarnation == ours for one in others):
            settings = self.sheep.settings
            others = [api.MemberInfo(
                self.sheep.store.node_id, ours, settings.advertised_host,
                settings.port, 0, 0)] + others
        found = []
        for member, result in zip(others, await asyncio.gather(
                *(self.ask(one, method, timeout=timeout) for one in others),
                return_exceptions=True)):
            one = {'address': '%s:%s' % (member.host, member.port),
                   'node': member.node}
            if isinstance(result, errors.SheepdogError):
                one['error'] = str(result) or type(result).__name__
            elif isinstance(result, BaseException):
                raise result
            else:
                one['answer'] = result
            found.append(one)
        return found

    async def _cluster_format(self, force=False, operation_id='',
                              **settings):
        unknown = sorted(set(settings) - set(SETTINGS))
        if unknown:
            raise errors.InvalidParameters('unknown settings: %s'
                                           % ', '.join(unknown))
        if settings.get('recycle_ids'):
            raise errors.InvalidParameters(
                'ids of deleted VDIs are not used again (-R): who was away '
                'could take its old objects for those of the new VDI')
        await self.sheep.cluster.execute(
            'format', dict({name: value for name, value in settings.items()
                            if value}, force=force), operation_id)

    async def _cluster_shutdown(self, operation_id=''):
        # What is complete everywhere should be known to be: then the next
        # start has nothing to compare.
        await self._ask_all('node.quiesce')
        await self.sheep.cluster.execute('shutdown', {}, operation_id)

    async def _cluster_recover(self, action, operation_id=''):
        if action == 'force':
            await self.sheep.cluster.execute('recover-force', {},
                                             operation_id)
        elif action == 'now':
            await self.sheep.cluster.execute('hurry', {}, operation_id)
        elif action in ('enable', 'disable'):
            await self.sheep.cluster.execute('settings', {'changes': {
                'recovery_enabled': action == 'enable'}}, operation_id)
        else:
            raise errors.InvalidParameters('unknown action %r' % (action,))

    async def _cluster_reweight(self, operation_id=''):
        """By the disks that the members have now; one that does not answer
        keeps its weight, and is named."""
        spaces, silent = {}, []
        for _index, member, result in await self._ask_all('node.weight'):
            if isinstance(result, errors.SheepdogError):
                silent.append('%s:%s' % (member.host, member.port))
            elif member.vnodes:
                spaces[member.node] = result['space']
        await self.sheep.cluster.execute('reweight', {'spaces': spaces},
                                         operation_id)
        return {'silent': silent}

    async def _cluster_alter_copy(self, copies, copy_policy=0, force=False,
                                  operation_id=''):
        return await self.sheep.cluster.execute(
            'alter-default', {'copies': copies, 'copy_policy': copy_policy,
                              'force': force}, operation_id)

    # -- nodes ----------------------------------------------------------

    def _members(self):
        view = self.sheep.cluster.view
        return list(enumerate(view.members)) if view else []

    def _member(self, number):
        for index, member in self._members():
            if index == number:
                return member
        raise errors.InvalidParameters('there is no node %s' % (number,))

    async def ask(self, member, method, arguments=None,
                  timeout=NODE_SECONDS):
        """Of another sheep, or of this one.

        :raises SheepdogError: it refuses, or does not answer as it should
        """
        if member.incarnation == self.sheep.cluster.incarnation:
            return await self.call(None, method, arguments or {})
        _, _, payload = await self.sheep.links.control(member).call(
            wire.ADMIN, timeout=timeout, payload=wire.pack_json(
                {'method': method, 'arguments': arguments or {}}))
        try:
            answer = wire.unpack_json(payload)
            if method in RESULTS:
                shapes.check(answer, {'result': dict}, method)
                shapes.check(answer['result'], RESULTS[method], method)
        except errors.InvalidParameters as exc:
            raise errors.CorruptFrame(
                '%s:%s answers in a way unknown to us: %s'
                % (member.host, member.port, exc)) from None
        return answer.get('result')

    async def _ask_all(self, method, arguments=None):
        """``(index, member, result)``; the result of one that does not
        answer is its error."""
        members = self._members()
        results = await asyncio.gather(
            *(self.ask(m, method, arguments) for _, m in members),
            return_exceptions=True)
        for result in results:
            if (isinstance(result, BaseException)
                    and not isinstance(result, errors.SheepdogError)):
                raise result
        return [(index, member, result)
                for (index, member), result in zip(members, results)]

    async def _node_list(self):
        slow = self.sheep.health.slow
        evicted = self.sheep.cluster.state.evicted_nodes()
        return [{'id': index, 'node': m.node, 'incarnation': m.incarnation,
                 'host': m.host, 'port': m.port, 'vnodes': m.vnodes,
                 'zone': m.zone, 'is_slow': m.incarnation in slow,
                 'is_evicted': m.node in evicted}
                for index, m in self._members()]

    async def _node_info(self):
        nodes = []
        for index, member, result in await self._ask_all('node.space'):
            node = {'id': index, 'host': member.host, 'port': member.port}
            if isinstance(result, errors.SheepdogError):
                node.update(total=0, used=0, free=0, error=str(result))
            else:
                node.update(result)
            nodes.append(node)
        virtual = sum(v['size'] for v in await self._vdi_list())
        return {'nodes': nodes, 'virtual_bytes': virtual}

    async def _node_space(self):
        """What others keep on the same disk is no space of ours."""
        store = self.sheep.store
        used, free = await store.used_bytes(), store.space().free
        return {'total': used + free, 'free': free, 'used': used,
                'kept': store.reserve_bytes,
                'quarantined': store.quarantine.kept,
                'quarantine': await store.quarantine.used_bytes()}

    async def _node_weight(self):
        return {'space': self.sheep.store.weight()}

    async def _node_vnodes(self, vnodes, operation_id=''):
        sheep = self.sheep
        await sheep.cluster.execute('vnodes', {
            'node': sheep.store.node_id, 'vnodes': vnodes,
            'started': sheep.settings.vnodes}, operation_id)

    async def _node_disks(self, everyone=False):
        """Of this sheep, or of all members: see ``store.Disks.disks``."""
        if not everyone:
            return {'disks': await self.sheep.store.disks()}
        found = []
        for index, member, result in await self._ask_all('node.disks'):
            one = {'id': index, 'host': member.host, 'port': member.port}
            if isinstance(result, errors.SheepdogError):
                one.update(disks=[], error=str(result))
            else:
                one.update(result)
            found.append(one)
        return {'nodes': found}

    async def _node_plug(self, path):
        await self._with_disk(self.sheep.plug, path)

    async def _node_unplug(self, path):
        await self._with_disk(self.sheep.unplug, path)

    async def _with_disk(self, function, path):
        if not isinstance(path, str) or not path.startswith('/'):
            raise errors.InvalidParameters(
                'a disk is named by the whole path of its directory, not %r'
                % (path,))
        try:
            await function(path.rstrip('/') or '/')
        except store_settings.StoreRefused as exc:
            raise errors.SystemFailure(str(exc)) from exc
        except OSError as exc:
            raise errors.StorageError('%s: %s' % (path, exc)) from exc

    async def _node_evict(self, id, force=False, operation_id=''):
        if not force:
            await self._check_room_without(self._member(id))
        await self.sheep.cluster.execute('evict', {
            'node': self._member(id).node, 'by_hand': True, 'force': force,
            'why': 'by hand'}, operation_id)

    async def _check_room_without(self, gone):
        """:raises InvalidParameters: what that node has would not fit on the
            others. (Of who does not tell nothing is known.)
        """
        lack = headroom.lack_without(
            await self._spaces(), self.sheep.cluster.state.settings.copies,
            '%s:%s' % (gone.host, gone.port))
        if lack is not None:
            raise errors.InvalidParameters(
                'node %s:%s cannot be evicted now: %s would be given about '
                '%s of what it has, and has room for %s' % (
                    gone.host, gone.port, lack.node,
                    sizes.show_size(lack.needed), sizes.show_size(lack.room)))

    async def _spaces(self):
        nodes = []
        for _, member, result in await self._ask_all('node.space'):
            if not isinstance(result, errors.SheepdogError):
                nodes.append(headroom.Node(
                    '%s:%s' % (member.host, member.port), member.zone,
                    member.vnodes, result['used'],
                    result['free'] - result.get('kept', 0)))
        return nodes

    async def _node_readmit(self, id, operation_id=''):
        await self.sheep.cluster.execute(
            'readmit', {'node': self._member(id).node}, operation_id)

    async def _node_stat(self):
        gateway = self.sheep.gateway
        replica = self.sheep.replica
        client = {key: gateway.counters[key] for key in (
            'write', 'read', 'remove', 'flush', 'bytes_written',
            'bytes_read')}
        peer = dict(replica.counters)
        for counters, active in ((client, gateway.inflight),
                                 (peer, self.sheep.server.inflight)):
            counters['active'] = active
            counters['total'] = sum(counters[key] for key in (
                'write', 'read', 'remove', 'flush'))
        return {'client': client, 'peer': peer}

    async def _node_activity(self):
        """``stat`` and ``progress``, as asked for one by one; ``space`` of
        the disks, whoever has used it (what is ours would have to be counted,
        file by file, and this is asked every second); ``waits``: how many
        requests were timed, and their seconds, by kind."""
        space = self.sheep.store.space()
        return {'stat': await self._node_stat(),
                'space': {'total': space.total,
                          'used': space.total - space.free},
                'progress': await self._node_progress(),
                'waits': {kind: list(total) for kind, total
                          in self.sheep.waits.totals.items()}}

    async def _cluster_activity(self):
        """Of each member, or ``error``."""
        nodes = []
        for index, m, result in await self._ask_all('node.activity'):
            one = {'id': index, 'host': m.host, 'port': m.port,
                   'incarnation': m.incarnation}
            if isinstance(result, errors.SheepdogError):
                one['error'] = str(result) or type(result).__name__
            else:
                one.update(result)
            nodes.append(one)
        return {'nodes': nodes, 'epoch': self.sheep.cluster.state.epoch}

    async def _node_recovery(self):
        nodes = []
        for index, m, result in await self._ask_all('node.progress'):
            if isinstance(result, errors.SheepdogError):
                continue
            if result['is_running'] or result.get('postponed'):
                nodes.append({'id': index, 'host': m.host, 'port': m.port,
                              'vnodes': m.vnodes, 'zone': m.zone,
                              'done': result['done'],
                              'total': result['total'],
                              'seconds_left': result.get('seconds_left'),
                              'held_back': result.get('held_back'),
                              'postponed': result.get('postponed')})
        return nodes

    async def _node_progress(self):
        recovery = self.sheep.recovery
        cluster = self.sheep.cluster
        return {'is_running': recovery.is_running and recovery.total > 0,
                'is_postponed': recovery.is_postponed,
                'postponed': recovery.grace.describe()
                if recovery.grace.postponed else None,
                'is_whole': not recovery.active,
                'is_on_record': (cluster.view is not None and
                                 cluster.state.settled >= cluster.view.epoch),
                'done': recovery.done, 'total': recovery.total,
                'moved_bytes': recovery.moved_bytes,
                'seconds_left': recovery.estimate.seconds(
                    self.world.clock.monotonic(), recovery.done,
                    recovery.total),
                'held_back': self.sheep.precedence.describe()}

    async def _node_throttle(self, action, max=0, interval=0,
                             everyone=False):
        """Of recovery: ``max`` objects at once (0: as this version thinks),
        ``interval`` milliseconds of rest. ``everyone``: all members."""
        if everyone:
            return await self._told_by_all('node.throttle', {
                'action': action, 'max': max, 'interval': interval})
        found = self.sheep.recovery.throttle
        if action == 'set':
            if not (0 <= max <= throttle.AT_ONCE_MAX
                    and 0 <= interval <= throttle.PAUSE_MS_MAX):
                raise errors.InvalidParameters(
                    'from 0 to %d objects at once, and from 0 to %d ms '
                    'behind each' % (throttle.AT_ONCE_MAX,
                                     throttle.PAUSE_MS_MAX))
            LOG.info('recovery: %s objects at once, %d ms behind each',
                     max or 'as many as suit,', interval)
            found.set(max, interval / 1000)
        elif action != 'get':
            raise errors.InvalidParameters('unknown action %r' % (action,))
        return {'max': found.at_once,
                'interval': round(found.pause_seconds * 1000)}

    async def _node_kill(self, id=None, local=False, operation_id=''):
        if local:
            return await self._node_stop()
        return await self.ask(self._member(id), 'node.stop')

    async def _node_stop(self):
        LOG.info('stopping: a tool asked for it')
        cluster = self.sheep.cluster
        if cluster.serving():
            # What it holds is to be made anew at once, and not to wait.
            try:
                await cluster.execute(
                    'hurry', {'incarnation': cluster.incarnation},
                    timeout=DEPART_SECONDS)
            except errors.SheepdogError as exc:
                LOG.info('the others will wait for this sheep: %s', exc)
        self.sheep.stop_soon()

    async def _node_quiesce(self):
        await self.sheep.volumes.close_all()
        await self.sheep.gateway.declare_now()

    async def _node_log(self, action, level='', logger='', everyone=False):
        """``logger``: of that part only. ``everyone``: all members."""
        if everyone:
            return await self._told_by_all('node.log', {
                'action': action, 'level': level, 'logger': logger})
        control = self.sheep.log_control
        if action == 'list':
            return {'levels': control.levels()}
        if action == 'set':
            try:
                control.set_level(level, logger)
            except KeyError:
                raise errors.InvalidParameters(
                    'there is no log level %r; "list" shows them'
                    % (level,)) from None
        elif action != 'get':
            raise errors.InvalidParameters('unknown action %r' % (action,))
        return {'level': control.level(logger),
                'loggers': control.loggers()}

    async def _node_trace(self, action, names='', everyone=False):
        """:param names: of VDIs, separated by commas; none: all of them"""
        if everyone:
            return await self._told_by_all('node.trace', {
                'action': action, 'names': names})
        tracer = self.sheep.tracer
        if action == 'on':
            tracer.trace([name for name in str(names).split(',') if name])
        elif action == 'off':
            tracer.stop()
        elif action != 'show':
            raise errors.InvalidParameters('unknown action %r' % (action,))
        return {'is_on': tracer.vdi_ids is not None,
                'names': tracer.names()}

    async def _told_by_all(self, method, arguments):
        found = []
        for _index, member, result in await self._ask_all(method, arguments):
            one = {'address': '%s:%s' % (member.host, member.port)}
            if isinstance(result, errors.SheepdogError):
                one['error'] = str(result)
            else:
                one.update(result)
            found.append(one)
        return {'nodes': found}

    async def _node_status(self):
        sheep = self.sheep
        status = dict(sheep.cluster.explain())
        status.update(
            node=sheep.store.node_id, version=sheep.version,
            address='%s:%s' % (sheep.settings.advertised_host,
                               sheep.settings.port),
            nbd=sheep.nbd_address(), access=sheep.access.describe(),
            exposed=sheep.exposed,
            recovery=await self._node_progress(),
            bad_objects=len(sheep.store.bad_blocks()),
            differing=len(sheep.scrub.differing),
            scrub=sheep.scrub.describe(),
            store=await self._node_space())
        return status

    # -- VDIs -----------------------------------------------------------

    async def _vdi_create(self, name, size, copies=0, copy_policy=0,
                          block_size_shift=0, operation_id=''):
        return await self.sheep.catalogue.create(
            name, size, copies, copy_policy, block_size_shift, operation_id)

    async def _vdi_list(self, name=''):
        return await self.sheep.catalogue.list(name)

    async def _vdi_resize(self, name, size, operation_id='', force=False):
        room = self.sheep.shrinking if force else self.sheep.catalogue
        await room.resize(name, size, operation_id)

    async def _vdi_delete(self, name, tag='', snap_id=0, operation_id=''):
        await self.sheep.catalogue.delete(name, tag, snap_id, operation_id)

    async def _vdi_snapshot(self, name, tag='', only_if_changed=False,
                            operation_id=''):
        return await self._snapshots(
            [name], tag, lambda: self.sheep.branching.snapshot(
                name, tag, only_if_changed, operation_id))

    async def _vdi_snapshot_group(self, names, tag='', only_if_changed=False,
                                  operation_id=''):
        """Of all of them at one moment, or of none."""
        return await self._snapshots(
            names, tag, lambda: self.sheep.branching.snapshot_group(
                names, tag, only_if_changed, operation_id))

    async def _snapshots(self, names, tag, make):
        if tag.isdecimal() and int(tag):
            raise errors.InvalidParameters(
                'the tag %s of a snapshot could be taken for its number'
                % tag)
        branching = self.sheep.branching
        for _ in range(SNAPSHOT_ATTEMPTS):
            owners = branching.owners_of(names)
            try:
                return await make()
            except (errors.VdiLocked, errors.VdiNotLocked):
                # Somebody may have opened or closed one meanwhile.
                if branching.owners_of(names) == owners:
                    raise
        raise errors.VdiLocked('VDI %s is opened and closed all the time'
                               % ', '.join(names))

    async def _vdi_clone(self, source, tag, name, shares_nothing=False,
                         operation_id=''):
        return await self.sheep.branching.clone(
            source, tag, name, shares_nothing, operation_id)

    async def _vdi_rollback(self, name, tag, operation_id=''):
        await self.sheep.branching.rollback(name, tag, operation_id)

    async def _vdi_alter_copy(self, name, copies, copy_policy=0, force=False,
                              operation_id=''):
        if not force:
            await self._check_room_to_turn(name, copies, copy_policy)
        return await self.sheep.catalogue.alter_copies(
            name, copies, force, operation_id, copy_policy)

    async def _check_room_to_turn(self, name, copies, copy_policy):
        """:raises InvalidParameters: a VDI would not fit when it is copied,
            or what has both forms at a time. (Of who does not tell nothing
            is known.)
        """
        catalogue = self.sheep.catalogue
        entry = catalogue.find(name)
        if entry.copy_policy == copy_policy:
            return
        vdi, = [vdi for vdi in await catalogue.list(name)
                if vdi['vdi_id'] == entry.vdi_id]
        policy = redundancy.checked(copies, copy_policy)
        shift = vdi['block_size_shift']
        # (While some are copied, those before may just be going.)
        both = min(vdi['used'], 2 * turner.step_of(
            -(-vdi['size'] >> shift), shift) << shift)
        more = (redundancy.bytes_of(vdi['used'], *policy)
                - redundancy.bytes_of(vdi['used'], entry.copies,
                                      entry.copy_policy))
        lack = headroom.lack_for(await self._spaces(), max(
            more, 0) + redundancy.bytes_of(both, *policy))
        if lack is not None:
            raise errors.InvalidParameters(
                'VDI %s cannot be turned into %s now: %s would be given '
                'about %s more than it gives back meanwhile, and has room for '
                '%s. (That is as if its objects had no holes: with option -f '
                'it is tried)' % (
                    name, redundancy.parts_text(*policy), lack.node,
                    sizes.show_size(lack.needed), sizes.show_size(lack.room)))

    async def _vdi_locks(self):
        cluster = self.sheep.cluster
        view = cluster.view
        locks = []
        for vdi_id, lock in sorted(cluster.state.locks.items()):
            entry = cluster.state.vdis[vdi_id]
            if entry.pending:
                continue
            owners = [view.member(i) for i in lock.owners]
            locks.append({
                'name': entry.name, 'tag': entry.tag,
                'snap_id': entry.snap_id, 'vdi_id': vdi_id,
                'mode': lock.mode,
                'owners': [{'host': m.host, 'port': m.port,
                            'incarnation': m.incarnation}
                           for m in owners if m is not None]})
        return locks

    async def _vdi_unlock(self, name, operation_id=''):
        entry = self.sheep.catalogue.find(name)
        await self.sheep.cluster.execute(
            'unlock', {'vdi_id': entry.vdi_id, 'force': True,
                       'owner': self.sheep.cluster.incarnation},
            operation_id)

    # -- volumes of this connection -------------------------------------

    async def _volume_open(self, session, name, tag='', snap_id=0,
                           read_only=False, user='', alone=False,
                           operation_id=''):
        return await self.handles.open(session, name, tag, snap_id,
                                       read_only, user, alone)

    async def _volume_close(self, session, handle, operation_id=''):
        await self.handles.close(session, handle)

    async def _volume_extents(self, session, handle, offset, length):
        return await self.handles.extents(session, handle, offset, length)
