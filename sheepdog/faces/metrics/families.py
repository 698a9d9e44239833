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

"""Metrics of the cluster as this sheep sees it, and of its requests."""

from sheepdog.cluster import api
from sheepdog.cluster import entries
from sheepdog.faces.metrics import family
from sheepdog.faces.metrics import stores

gauge, counter = family.gauge, family.counter
histogram = family.histogram

OBJECT_KINDS = ('read', 'write', 'remove', 'flush')
NBD_KINDS = {'read': 'reads', 'write': 'writes', 'flush': 'flushes',
             'trim': 'trims', 'write_zeroes': 'zeroes',
             'block_status': 'statuses'}


def _kinds(counters) -> dict:
    return {kind: counters[kind] for kind in OBJECT_KINDS}


def _bytes(counters) -> dict:
    return {'read': counters['bytes_read'],
            'write': counters['bytes_written']}


def _zones(look):
    if look.view is None:
        return 0
    return len({member.zone for member in look.view.members
                if member.vnodes})


def _locks(look):
    modes = dict.fromkeys(entries.LOCK_MODES, 0)
    for lock in look.state.locks.values():
        if look.cluster.incarnation in lock.owners:
            modes[lock.mode] += 1
    return modes


def _connections(look):
    sheep = look.sheep
    found = {'peer': 0, 'tool': 0}
    found.update(sheep.server.roles())
    found['native'] = max(0, len(sheep.port.sessions) - sum(found.values()))
    found['nbd'] = sheep.nbd.counters.connections_active if sheep.nbd else 0
    return found


def _refusals(look):
    access = look.sheep.server.access
    return {'cluster': access.refused_cluster,
            'public': access.refused_public}


def _nbd(read):
    """``read(counters)`` where NBD is served."""
    return lambda look: read(look.sheep.nbd.counters) if look.sheep.nbd \
        else None


CLUSTER = (
    gauge('build_info', 'Always 1; the label has the version.',
          lambda look: {look.sheep.version: 1}, 'version'),
    gauge('status', '1 for what this sheep is in now, 0 for all others.',
          lambda look: {status.value: int(status is look.cluster.status)
                        for status in api.Status}, 'status'),
    gauge('serving', '1 while this sheep answers requests for objects.',
          lambda look: int(look.explained['serving'])),
    gauge('epoch', 'The epoch of this sheep\'s view.',
          lambda look: look.explained['epoch']),
    gauge('term', 'The highest term that this sheep has promised.',
          lambda look: look.explained['term']),
    gauge('leader', '1 on the sheep that leads; for moments on none, or '
          'also on one that does not know yet that it leads no more.',
          lambda look: int(look.explained['is_leader'])),
    gauge('lease_remaining_seconds', 'What is left of the lease; 0: this '
          'sheep may not serve.',
          lambda look: look.sheep.membership.lease_seconds()),
    counter('lapses_total', 'How often this sheep lost its lease.',
            lambda look: look.kept.lapses),
    gauge('cluster_members', 'Sheep in the view, gateways too.',
          lambda look: len(look.view.members) if look.view else 0),
    gauge('cluster_zones', 'Fault zones that store objects.', _zones),
    gauge('cluster_copies', 'Copies of an object, as the cluster was '
          'formatted.',
          lambda look: look.state.settings.copies if look.state.settings
          else 0),
    gauge('cluster_recovered', '1 when all members have recovered the '
          'view\'s epoch: redundancy is full.',
          lambda look: int(look.state.has_recovered())),
    gauge('slow_members', 'Sheep that are much slower than the others, or '
          'their disks: they are read last.',
          lambda look: len(look.sheep.health.slow)),
    gauge('evicted_members', 'Sheep that keep no objects for a while, being '
          'slow or for an operator.',
          lambda look: len(look.state.evicted_nodes())),
    gauge('vdis', 'VDIs that are not deleted.',
          lambda look: sum(not entry.deleted
                           for entry in look.state.vdis.values())),
    gauge('locks_held', 'Locks on VDIs that belong to this sheep.', _locks,
          'mode'),
    gauge('recovery_running', '1 while this sheep makes copies whole.',
          lambda look: int(look.sheep.recovery.is_running)),
    gauge('recovery_objects', 'Objects of the recovery that runs, or ran '
          'last.', lambda look: look.sheep.recovery.total),
    gauge('recovery_objects_left', 'Those of them that are not whole yet.',
          lambda look: max(0, look.sheep.recovery.total
                           - look.sheep.recovery.done)),
)

REQUESTS = (
    counter('hedged_reads_total', 'Reads that were asked of a second copy, '
            'the first being slow; "won": it was the quicker one.',
            lambda look: {'asked': look.sheep.gateway.counters['hedged'],
                          'won': look.sheep.gateway.counters['hedge_wins']},
            'outcome'),
    counter('requests_total', 'Requests of this sheep\'s clients (NBD, '
            'native, tools) for objects.',
            lambda look: _kinds(look.sheep.gateway.counters), 'kind'),
    counter('request_bytes_total', 'Bytes that they read and wrote.',
            lambda look: _bytes(look.sheep.gateway.counters), 'kind'),
    counter('request_retries_total', 'Attempts that had to be made again: '
            'another epoch, a copy that is away or not whole.',
            lambda look: look.sheep.gateway.counters['retries']),
    gauge('requests_in_flight', 'Requests of clients under way.',
          lambda look: look.sheep.gateway.inflight),
    gauge('requests_slow', 'Those of them that have taken longer than [log] '
          'slow_seconds so far; the log names them.',
          lambda look: look.sheep.watch.slowest(0)[0]),
    histogram('request_seconds', 'From a client\'s request to its answer, '
              'of a sample of the requests (a run of consecutive ones, four '
              'times a second); sheepdog_requests_total has all of them.',
              lambda look: look.kept.latencies.times, 'kind'),
    counter('limited_requests_total', 'Requests that had to wait for the '
            'limits of their VDI (dog vdi qos).',
            lambda look: {name: throttle.delayed for name, throttle
                          in look.sheep.volumes.throttles.named()}, 'vdi'),
    counter('limited_seconds_total', 'How long they have waited, all '
            'together.',
            lambda look: {name: throttle.delayed_seconds for name, throttle
                          in look.sheep.volumes.throttles.named()}, 'vdi'),
    gauge('limited_requests_waiting', 'Requests that wait for the limits of '
          'their VDI.',
          lambda look: {name: throttle.waiting for name, throttle
                        in look.sheep.volumes.throttles.named()}, 'vdi'),
    counter('replica_requests_total', 'Requests for this sheep\'s own '
            'copies, of all gateways.',
            lambda look: _kinds(look.sheep.replica.counters), 'kind'),
    counter('replica_bytes_total', 'Bytes that they read and wrote.',
            lambda look: _bytes(look.sheep.replica.counters), 'kind'),
    gauge('peer_requests_in_flight', 'Requests of other sheep and of tools '
          'under way.', lambda look: look.sheep.server.inflight),
    gauge('connections', 'Connections that are open.', _connections,
          'kind'),
    counter('refusals_total', 'Connections that were refused: cluster (no '
            'key, or a wrong one), public (from an address that may not).',
            _refusals, 'kind'),
    counter('nbd_requests_total', 'Requests over NBD.',
            _nbd(lambda counters: {kind: getattr(counters, name)
                                   for kind, name in NBD_KINDS.items()}),
            'kind'),
    counter('nbd_bytes_total', 'Bytes read and written over NBD.',
            _nbd(lambda counters: {'read': counters.bytes_read,
                                   'write': counters.bytes_written}),
            'kind'),
    counter('nbd_connections_total', 'NBD connections accepted.',
            _nbd(lambda counters: counters.connections)),
    counter('nbd_refusals_total', 'What the NBD face turned away: '
            'connections beyond the limit or from networks not let in, TLS '
            'that failed, handshakes that took too long, '
            'clients that do not speak NBD, requests that are not allowed, '
            'requests that the volume failed.',
            _nbd(lambda counters: {
                'connection': counters.connections_refused,
                'tls': counters.tls_failed,
                'handshake': counters.handshakes_timed_out,
                'violation': counters.violations,
                'request': counters.requests_refused,
                'failure': counters.requests_failed}), 'kind'),
)

PROCESS = (
    counter('notifications_total', 'Notifications that were sent, that were '
            'dropped as too many waited, that failed.',
            lambda look: look.sheep.monitoring.sink.outcomes()
            if look.sheep.monitoring.sink else None, 'outcome'),
    gauge('notifications_waiting', 'Notifications that wait for the '
          'broker.', lambda look: look.sheep.monitoring.sink.waiting
          if look.sheep.monitoring.sink else None),
    histogram('event_loop_delay_seconds', 'By how much the event loop was '
              'late for a timer: what each request waits before anything '
              'is done for it.', lambda look: look.kept.latencies.delays),
    histogram('gc_pause_seconds', 'Full collections of garbage, during '
              'which nothing else is done.', lambda look: look.kept.pauses),
    counter('scrapes_total', 'How often these metrics were gathered.',
            lambda look: look.kept.scrapes),
    gauge('last_scrape_seconds', 'What the last time of that took.',
          lambda look: look.kept.last_scrape_seconds),
)

FAMILIES = CLUSTER + REQUESTS + stores.STORE + PROCESS

FOREIGN = {
    'process_resident_memory_bytes': 'Memory of the process.',
    'process_virtual_memory_bytes': 'Address space of the process.',
    'process_cpu_seconds_total': 'CPU time, user and system.',
    'process_open_fds': 'Open file descriptors.',
    'process_max_fds': 'Their limit.',
    'process_start_time_seconds': 'When the process was started.',
}
"""What ``prometheus_client`` itself tells of a process."""


def samples() -> dict:
    """Every name that is exported, with the set of its labels."""
    found = {name: set() for name in FOREIGN}
    for one in FAMILIES:
        labels = {one.label} if one.label else set()
        if one.kind == family.HISTOGRAM:
            found[one.name + '_bucket'] = labels | {'le'}
            found[one.name + '_sum'] = found[one.name + '_count'] = labels
        else:
            found[one.name] = labels
    return found
