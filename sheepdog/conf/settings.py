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

"""From options to what the rooms are given: frozen, validated objects."""

import dataclasses
import os
import re
from typing import Optional

from sheepdog.client import key_file
from sheepdog.cluster import address
from sheepdog.cluster import patrol
from sheepdog.conf import config
from sheepdog.conf import log
from sheepdog.conf import notifications
from sheepdog.faces.metrics import settings as metrics_settings
from sheepdog.faces.nbd import rules as nbd_rules
from sheepdog.faces.nbd import settings as nbd_settings
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.model import networks
from sheepdog.model import pem
from sheepdog.peer import access as access_module
from sheepdog.recovery import pace
from sheepdog.store import settings as store_settings
from sheepdog.wire import nbd_handshake

_HOST_PORT = re.compile(
    r'(\[(?P<bracketed>[^]]+)\]|(?P<host>[^][:\s]+)):(?P<port>\d{1,5})')

_BROKER = re.compile(r'[a-z][a-z0-9+.-]*://[^\s]+')


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """``level``, ``format``, ``destination``: see ``conf.log``; ``loggers``
    are pairs (name, level). ``path`` is the file for the destination
    'default'."""

    path: str
    level: str = 'info'
    format: str = 'default'
    destination: str = 'default'
    loggers: tuple = ()


@dataclasses.dataclass(frozen=True)
class NotificationSettings:
    """See ``conf.notifications``. ``files`` have the options that only
    oslo.messaging knows."""

    drivers: tuple
    transport_url: str = dataclasses.field(default='', repr=False)
    topics: tuple = ('notifications',)
    files: tuple = ()


@dataclasses.dataclass(frozen=True)
class SheepSettings:
    """All that a sheep is told.

    ``host`` '' listens on all addresses. ``advertised_host`` '' and
    ``zone`` -1 are still to be found out (``cmd.place``). ``io_host`` '': no
    second network. ``vnodes`` -1: weighted by space; 0: a gateway.
    ``recovery_max`` objects at once (0: the room's own choice), then
    ``recovery_interval_ms`` of rest. ``nbd`` and ``metrics`` are None where
    they are not served, ``notifications`` where there are none.
    """

    store: store_settings.StoreSettings
    log: LogSettings
    host: str = ''
    port: int = limits.PORT_DEFAULT
    advertised_host: str = ''
    zone: int = -1
    gateway: bool = False
    io_host: str = ''
    io_port: int = 0
    cluster_url: str = 'local'
    ttl_seconds: float = 4.0
    vnodes: int = -1
    recovery_max: int = 0
    recovery_interval_ms: int = 0
    recovery_clients_first: bool = True
    recovery_grace_seconds: int = 0
    scrub: pace.ScrubSettings = pace.ScrubSettings()
    nbd: Optional[nbd_settings.NbdSettings] = None
    metrics: Optional[metrics_settings.MetricsSettings] = None
    slow_seconds: float = 5.0
    slow: patrol.SlowSettings = patrol.SlowSettings()
    notifications: Optional[NotificationSettings] = None
    access: access_module.AccessSettings = access_module.AccessSettings()
    has_trusted_users: bool = False
    pidfile: str = ''
    foreground: bool = False
    upgrade: bool = False

    @property
    def meta(self) -> str:
        return self.store.meta

    @property
    def socket_path(self) -> str:
        """The unix socket in the store, for clients on this machine."""
        return os.path.join(self.meta, 'sock')

    @property
    def socket_mode(self) -> int:
        """Where it may be opened by others, the sheep looks who it is."""
        return 0o666 if self.has_trusted_users else 0o600


def build(conf) -> SheepSettings:
    """The settings that a configuration stands for. Paths are absolute.

    :raises ConfigRefused: a value is missing or out of its range; the text
        names the option
    """
    # Each is converted, and complains, here.
    for group, option, value, _source in config.values(conf):
        if value is None and option.default is not None:
            raise config.ConfigRefused('%s: there is no value' % (
                config.shown_name(group, option.dest)))
    if not conf.meta:
        raise config.ConfigRefused(
            'no store: give its directory (META), or meta= in a '
            'configuration file')
    if conf.directio:
        raise config.ConfigRefused(
            'directio is not built yet in this version: leave it out')
    if conf.vnodes == 0:
        raise config.ConfigRefused(
            'vnodes: 0 is for gateways: say gateway instead')
    if conf.gateway and conf.vnodes > 0:
        raise config.ConfigRefused(
            'vnodes: a gateway has none; give one option or the other')
    meta = os.path.abspath(conf.meta)
    return SheepSettings(
        store=_store(conf, meta),
        log=_log(conf, meta),
        host=conf.bindaddr,
        port=_port('port', conf.port),
        advertised_host=conf.myaddr,
        zone=conf.zone,
        gateway=conf.gateway,
        io_host=conf.io.host,
        io_port=_port('io.port', conf.io.port) if conf.io.host else 0,
        cluster_url=_cluster_url(conf),
        ttl_seconds=conf.cluster.ttl_seconds,
        vnodes=0 if conf.gateway else conf.vnodes,
        recovery_max=conf.recovery.max,
        recovery_interval_ms=conf.recovery.interval,
        recovery_clients_first=conf.recovery.clients_first,
        recovery_grace_seconds=conf.recovery.grace_seconds,
        scrub=pace.ScrubSettings(
            conf.scrub.enabled, conf.scrub.bytes_per_second,
            float(conf.scrub.pause)),
        nbd=_nbd(conf) if conf.nbd.enabled else None,
        metrics=_metrics(conf) if conf.metrics.listen else None,
        slow_seconds=conf.log.slow_seconds,
        slow=patrol.SlowSettings(conf.slow.demote_ms, conf.slow.evict_ms),
        notifications=_notifications(conf),
        access=_access(conf),
        has_trusted_users=bool(conf.security.trusted_uids),
        pidfile=os.path.abspath(conf.pidfile) if conf.pidfile else '',
        foreground=conf.foreground,
        upgrade=conf.upgrade)


def _cluster_url(conf):
    """Checked, and ``local:DIR`` with an absolute directory."""
    url = conf.cluster.url
    if url.startswith('local:'):
        url = 'local:' + os.path.abspath(url[len('local:'):])
    try:
        address.parse(url, conf.cluster.ttl_seconds, '/')
    except errors.InvalidParameters as exc:
        raise config.ConfigRefused('cluster.url: %s' % exc) from None
    return url


def _store(conf, meta):
    built = store_settings.StoreSettings(
        meta=meta,
        disks=_paths('disks', conf.disks),
        lost_disks=_paths('lost_disks', conf.lost_disks),
        journal_dir=os.path.abspath(conf.journal.dir)
        if conf.journal.dir else '',
        journal_bytes=conf.journal.size,
        journal_skip=conf.journal.skip,
        reserve_bytes=conf.space.reserve,
        nosync=conf.nosync)
    try:
        built.check()
    except store_settings.StoreRefused as exc:
        raise config.ConfigRefused('journal: %s' % exc) from None
    return built


def _paths(name, paths):
    if not all(paths):
        raise config.ConfigRefused('%s: a directory has no name' % name)
    return tuple(os.path.abspath(path) for path in paths)


def _log(conf, meta):
    directory = os.path.abspath(conf.log.dir) if conf.log.dir else meta
    loggers = tuple(sorted(conf.log.loggers.items()))
    for name, level in loggers:
        if level not in log.LEVELS:
            raise config.ConfigRefused(
                'log.loggers: %s is no level: %s has one of %s' % (
                    level, name, ', '.join(log.LEVELS)))
    return LogSettings(
        loggers=loggers,
        path=os.path.join(directory, 'sheep.log'), level=conf.log.level,
        format=conf.log.format, destination=conf.log.destination)


def _access(conf):
    options = conf.security
    try:
        public_networks = networks.parse(options.public_networks)
    except ValueError as exc:
        raise config.ConfigRefused(
            'security.public_networks: %s' % exc) from None
    return access_module.AccessSettings(
        keys=_keys(options),
        trusted_uids=(0, os.geteuid(), *options.trusted_uids),
        public_networks=public_networks,
        allow_unauthenticated=options.allow_unauthenticated,
        tls_files=_cluster_tls_files(options),
        is_tls_required=options.tls == 'required')


def _cluster_tls_files(options):
    if options.tls == 'none':
        return None
    for name in ('tls_cert', 'tls_key', 'tls_ca'):
        if not options[name]:
            raise config.ConfigRefused('security.%s: TLS needs it' % name)
    return _absolute(options.tls_cert, options.tls_key, options.tls_ca, True)


def _keys(options):
    path = options.key_file
    if not path:
        if not os.path.exists(key_file.DEFAULT_PATH):
            return None
        path = key_file.DEFAULT_PATH
    try:
        return key_file.KeyFile(os.path.abspath(path))
    except key_file.KeyFileRefused as exc:
        raise config.ConfigRefused('security.key_file: %s' % exc) from None


def _nbd(conf):
    options = conf.nbd
    if options.port < 0 and not options.path:
        raise config.ConfigRefused(
            'nbd: neither a TCP port nor a path to serve on')
    return nbd_settings.NbdSettings(
        host=options.host,
        port=options.port if options.port >= 0 else None,
        unix_path=os.path.abspath(options.path) if options.path else '',
        default_export=options.default_export,
        read_only=options.read_only,
        tls=_NBD_TLS[options.tls],
        tls_files=_nbd_tls_files(options),
        networks=_networks('nbd.networks', options.networks),
        read_only_networks=_networks('nbd.read_only_networks',
                                     options.read_only_networks),
        certificate_exports=_certificate_exports(options),
        connections_max=options.connections_max,
        handshake_timeout_seconds=options.handshake_timeout_seconds,
        request_timeout_seconds=options.request_timeout_seconds,
        lock_wait_seconds=options.lock_wait_seconds)


def _certificate_exports(options):
    if options.certificate_exports and not options.verify_clients:
        raise config.ConfigRefused(
            'nbd.certificate_exports: clients need not show certificates: '
            'set verify_clients')
    try:
        return nbd_rules.parse(options.certificate_exports)
    except ValueError as exc:
        raise config.ConfigRefused('nbd.certificate_exports: %s'
                                   % exc) from None


def _metrics(conf):
    match = _HOST_PORT.fullmatch(conf.metrics.listen)
    if match is None or int(match['port']) > 65535:
        raise config.ConfigRefused(
            'metrics.listen: %r is not HOST:PORT (or [HOST]:PORT)'
            % conf.metrics.listen)
    return metrics_settings.MetricsSettings(
        host=match['bracketed'] or match['host'], port=int(match['port']))


_NBD_TLS = {'none': nbd_handshake.Tls.NONE,
            'offered': nbd_handshake.Tls.OFFERED,
            'required': nbd_handshake.Tls.REQUIRED}


def _nbd_tls_files(options):
    if options.verify_clients and options.tls != 'required':
        raise config.ConfigRefused(
            'nbd.verify_clients: a client could do without TLS: set tls = '
            'required')
    if options.verify_clients and not options.tls_ca:
        raise config.ConfigRefused(
            'nbd.tls_ca: verify_clients needs the authorities')
    if options.tls == 'none':
        return None
    for name in ('tls_cert', 'tls_key'):
        if not options[name]:
            raise config.ConfigRefused('nbd.%s: TLS needs it' % name)
    return _absolute(options.tls_cert, options.tls_key, options.tls_ca,
                     options.verify_clients)


def _absolute(certificate, key, authorities, verify_clients):
    """With absolute paths: a daemon goes elsewhere."""
    return pem.TlsFiles(
        os.path.abspath(certificate), os.path.abspath(key),
        os.path.abspath(authorities) if authorities else '',
        verify_clients)


def _networks(name, texts):
    try:
        return networks.parse(texts)
    except ValueError as exc:
        raise config.ConfigRefused('%s: %s' % (name, exc)) from None


def _notifications(conf):
    options = conf[notifications.GROUP.name]
    drivers = tuple(name for name in options.driver if name != 'noop')
    if not drivers:
        return None
    for name in drivers:
        if name not in notifications.DRIVERS:
            raise config.ConfigRefused(
                'oslo_messaging_notifications.driver: there is no %s; there '
                'are %s' % (name, ', '.join(notifications.DRIVERS)))
    needy = [name for name in drivers if name in notifications.BROKERED]
    # Without the URL's text: it has a password.
    if needy and not _BROKER.fullmatch(options.transport_url):
        raise config.ConfigRefused(
            'oslo_messaging_notifications.transport_url: the driver %s needs '
            'a broker, as rabbit://USER:PASSWORD@HOST:PORT/' % needy[0])
    if not options.topics:
        raise config.ConfigRefused(
            'oslo_messaging_notifications.topics: name at least one')
    return NotificationSettings(
        drivers=drivers, transport_url=options.transport_url,
        topics=tuple(options.topics), files=tuple(conf.config_file or ()))


def _port(name, value):
    if not value:
        raise config.ConfigRefused('%s: a port is from 1 to 65535' % name)
    return value


def shown(option, value) -> str:
    """A value as one would write it into a file; a secret one hidden."""
    if option.secret and value:
        return '***'
    if isinstance(value, str):
        return value
    return str(option.type.format_defaults(value)[0])
