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

"""Who can get at this sheep, and at what is said with it, beyond what an
operator would take for granted."""

import os

from sheepdog.model import networks
from sheepdog.wire import nbd_handshake

WIDE_HOSTS = 1 << 16
"""A network of more is hardly one in which each host was chosen."""


def warnings(settings, loose_files=()) -> list:
    """Of ``conf.settings.SheepSettings``, complete; texts.

    :param loose_files: see ``loose_files``
    """
    return [*_cluster(settings), *_public(settings.access), *_nbd(settings),
            *_metrics(settings),
            *('others than its owner can read the key %s (mode %04o): chmod '
              '600 %s' % (path, mode, path) for path, mode in loose_files)]


def loose_files(settings) -> list:
    """(path, mode) of keys of certificates that others can read. The
    cluster's key is not taken at all then."""
    found = []
    for files in (settings.access.tls_files,
                  settings.nbd.tls_files if settings.nbd else None):
        if files is None:
            continue
        try:
            mode = os.stat(files.key).st_mode & 0o7777
        except OSError:
            continue
        if mode & 0o007 and (files.key, mode) not in found:
            found.append((files.key, mode))
    return found


def _cluster(settings):
    access = settings.access
    hosts = [host for host in (settings.advertised_host, settings.host,
                               settings.io_host) if is_beyond(host)]
    if not settings.host and not is_beyond(settings.advertised_host):
        hosts.append('all addresses')
    if not hosts:
        return
    where = _shown(hosts[0], settings.port)
    if access.allow_unauthenticated:
        yield ('allow_unauthenticated is set: whoever reaches %s can read '
               'and write every VDI, and administer the cluster' % where)
    if access.tls_files is None or not access.is_tls_required:
        yield ('what sheep and tools say over the network of %s can be read '
               'on its way: [security] tls = required encrypts it' % where)


def _public(access):
    if not access.public_networks:
        return
    yield ('every host in %s can read and write every VDI by the native '
           'protocol (public_networks)'
           % ', '.join(map(str, access.public_networks)))
    wide = [str(network) for network in access.public_networks
            if network.num_addresses > WIDE_HOSTS]
    if wide:
        yield ('%s is wide for public_networks: name the hypervisors only'
               % ', '.join(wide))


def _nbd(settings):
    nbd = settings.nbd
    if nbd is None or nbd.port is None or not (
            is_beyond(nbd.host) or not nbd.host):
        return
    where = _shown(nbd.host or 'all addresses', nbd.port)
    is_required = nbd.tls is nbd_handshake.Tls.REQUIRED
    is_verified = is_required and nbd.tls_files.verify_clients
    if not (is_verified or nbd.networks):
        yield ('NBD is served to whoever reaches %s: name [nbd] networks, or '
               'require TLS with verify_clients' % where)
    if not is_required:
        yield ('what NBD clients of %s read and write can be read on its '
               'way: [nbd] tls = required encrypts it' % where)


def _metrics(settings):
    if settings.metrics is not None and is_beyond(settings.metrics.host):
        yield ('metrics are told to whoever reaches %s'
               % _shown(settings.metrics.host, settings.metrics.port))


def is_beyond(host: str) -> bool:
    """Whether an address is for more than this machine ('' is none)."""
    return bool(host) and host != 'localhost' and (
        not networks.is_loopback(host))


def _shown(host, port) -> str:
    return ('[%s]:%d' if ':' in host else '%s:%d') % (host, port)
