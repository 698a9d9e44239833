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

"""Which address and zone a sheep has, where it was not told; and whether
its ports are free, its directories can be written and the coordination
service is there, before anything is touched."""

import dataclasses
import errno
import importlib.util
import ipaddress
import os
import re
import socket
import tempfile
import urllib.parse

from sheepdog.client import key_file
from sheepdog.cluster import address as address_module
from sheepdog.cmd import exits
from sheepdog.world import tls

_ENDPOINT = re.compile(r'(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]+))?')
_PORTS = {'zookeeper': 2181, 'etcd': 2379, 'redis': 6379}

REACH_SECONDS = 3.0
"""For one attempt to reach one server of the coordination service."""


def complete(settings):
    """The settings with ``advertised_host`` (an address, not a name) and
    ``zone`` filled in; and with a ``host`` where there was none, if only
    this machine is to be served.

    :raises Stop: no address can be found
    """
    address = _advertised(settings)
    zone = settings.zone
    if zone < 0:
        zone = zone_of(address)
    host = settings.host
    if not host and is_loopback(address) and _is_for_this_machine(settings):
        host = address
    return dataclasses.replace(settings, advertised_host=address, zone=zone,
                               host=host)


def _is_for_this_machine(settings) -> bool:
    return (settings.access.keys is None
            and not settings.access.allow_unauthenticated)


def is_loopback(host) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def check_access(settings):
    """:raises Stop: others are to be served, and there is no key"""
    if not _is_for_this_machine(settings):
        return
    beyond = [host or 'all addresses' for host in (
        settings.host, settings.advertised_host) if not is_loopback(host)]
    if settings.io_host and not is_loopback(settings.io_host):
        beyond.append(settings.io_host)
    if beyond:
        raise exits.Stop(
            'there is no cluster key, so this sheep may serve its own '
            'machine only, and not %s: make a key with "sheepdog-manage key '
            'create %s", copy it to all hosts of the cluster, and name it '
            'with --key-file if it is elsewhere; or listen on 127.0.0.1 with '
            '-b' % (', '.join(dict.fromkeys(beyond)),
                    key_file.DEFAULT_PATH), exits.USAGE)


def zone_of(address: str) -> int:
    """The zone of a host: the last four bytes of its address, the first of
    them lowest: 127.0.0.1 is 16777343."""
    return int.from_bytes(ipaddress.ip_address(address).packed[-4:],
                          'little')


def _advertised(settings) -> str:
    named = settings.advertised_host or settings.host
    if named and not _is_any(named):
        return _resolved(named)
    if address_module.parse(settings.cluster_url, 1.0, '/').driver == 'file':
        return '127.0.0.1'
    for host, _port in endpoints(settings.cluster_url):
        found = _source_towards(host)
        if found:
            return found
    raise exits.Stop(
        'cannot tell which address of this host the other sheep should use: '
        'name it with -y', exits.SYSTEM)


def _is_any(host):
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _resolved(host) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise exits.Stop("'%s' is no address of a host: %s" % (
            host, exc.strerror or exc), exits.SYSTEM) from None
    return found[0][4][0]


def _source_towards(host) -> str:
    """Our address on the way to ``host``, '' for none. Sends nothing."""
    try:
        found = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
        with socket.socket(found[0][0], socket.SOCK_DGRAM) as sock:
            sock.connect(found[0][4])
            return sock.getsockname()[0]
    except OSError:
        return ''


def endpoints(cluster_url) -> list:
    """(host, port) of each server that the URL names; none for a service
    on this machine, or one that we do not know."""
    parsed = address_module.parse(cluster_url, 1.0, '/')
    if parsed.driver not in _PORTS:
        return []
    found = []
    for url in parsed.urls:
        parts = urllib.parse.urlsplit(url)
        more = urllib.parse.parse_qs(parts.query).get('hosts', [])
        for netloc in parts.netloc.split(',') + more:
            named = _ENDPOINT.fullmatch(netloc.rpartition('@')[2])
            if named:
                found.append((named.group(1).strip('[]'), int(
                    named.group(2) or _PORTS[parsed.driver])))
    return found


def check_coordination(settings):
    """:raises Stop: no server of the coordination service can be reached"""
    reasons = []
    for host, port in endpoints(settings.cluster_url):
        try:
            socket.create_connection((host, port), REACH_SECONDS).close()
            return
        except OSError as exc:
            reasons.append('%s:%d (%s)' % (host, port, exc.strerror or exc))
    if reasons:
        raise exits.Stop(
            'cannot reach the coordination service at %s: start it, or name '
            'another with -c' % ', '.join(reasons), exits.SYSTEM)


def check_directories(settings):
    """:raises Stop: a directory outside the store cannot be used"""
    journal = settings.store.journal_dir
    if journal and not os.path.isdir(journal):
        # Made here, it would be below the place where a device is missing.
        raise exits.Stop(
            'the directory %s of the journal is not there: make it, or mount '
            'what belongs there' % journal, exits.SYSTEM)
    log = os.path.dirname(settings.log.path)
    if settings.log.destination == 'default' and log != settings.meta:
        _check_directory(log, 'the log', '-l')
    parsed = address_module.parse(settings.cluster_url, 1.0, '/')
    if parsed.driver == 'file' and settings.cluster_url != 'local':
        path = urllib.parse.unquote(urllib.parse.urlsplit(
            parsed.urls[0]).path)
        _check_directory(path, 'the coordination', '-c')
    if settings.nbd is not None and settings.nbd.unix_path:
        _check_directory(os.path.dirname(settings.nbd.unix_path),
                         'the socket of NBD', '--nbd')


def check_certificates(settings):
    """:raises Stop: TLS is asked for, with files that cannot be used"""
    for section, files in (
            ('security', settings.access.tls_files),
            ('nbd', settings.nbd and settings.nbd.tls_files)):
        if files:
            try:
                tls.Tls(files)
            except tls.TlsRefused as exc:
                raise exits.Stop('[%s] %s' % (section, exc),
                                 exits.USAGE) from None


def _check_directory(path, what, option):
    """It, or the nearest one above it that exists, must take files."""
    existing = path
    while not os.path.lexists(existing) and existing != '/':
        existing = os.path.dirname(existing)
    try:
        os.rmdir(tempfile.mkdtemp(prefix='.sheep-', dir=existing))
    except OSError as exc:
        raise exits.Stop(
            'cannot write the directory %s of %s: %s; choose another with '
            '%s' % (path, what, exc.strerror or exc, option),
            exits.SYSTEM) from None


def check_ports(settings):
    """:raises Stop: a port is in use, or an address not ours"""
    check_port(settings.host, settings.port, '-p')
    if settings.io_host:
        check_port(settings.io_host, settings.io_port, '-i')
    if settings.nbd is not None and settings.nbd.port:
        check_port(settings.nbd.host, settings.nbd.port, '--nbd')
    if settings.metrics is not None and settings.metrics.port:
        check_port(settings.metrics.host, settings.metrics.port,
                   '[metrics] listen')


def check_packages(settings):
    """:raises Stop: something is asked for that needs another package"""
    if settings.notifications is not None and (
            importlib.util.find_spec('oslo_messaging') is None):
        raise exits.Stop(
            'notifications need oslo.messaging, which is not installed: pip '
            'install "sheepdog-storage[notifications]", or leave '
            '[oslo_messaging_notifications] driver out', exits.SYSTEM)


def check_port(host, port, option):
    host = host or '0.0.0.0'  # nosec B104
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(1)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise exits.Stop(
                'port %d of %s is in use by another program: choose another '
                'with %s' % (port, host, option), exits.SYSTEM) from None
        if exc.errno == errno.EACCES:
            raise exits.Stop(
                'port %d of %s is not allowed to this user: choose another '
                'with %s' % (port, host, option), exits.SYSTEM) from None
        raise exits.Stop('cannot listen on %s, port %d: %s' % (
            host, port, exc.strerror or exc), exits.SYSTEM) from None
