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

"""Where coordination is: the words of ``sheep -c`` made into tooz URLs.

    local[:DIR]                     one machine, files below DIR
    zookeeper:H:P[,H:P…][/CLUSTER][,timeout=MS]
    etcd:H:P[,H:P…][/CLUSTER]       several: one after the other is tried
    redis:H:P[/CLUSTER]
    SCHEME://…                      any URL of tooz, completed with timeouts

Pure text. The driver's own timeout must not be shorter than the lease that
a sheep reckons with, so all of them are derived from one number.
"""

import dataclasses
import math
import re
import urllib.parse

from sheepdog.model import errors

CLUSTER_DEFAULT = 'sheepdog'
SECONDS_MAX = 1e6
FORMS = ('local[:DIR], zookeeper:HOST:PORT[,HOST:PORT...][/CLUSTER]'
         '[,timeout=MS], etcd:HOST:PORT[,HOST:PORT...], redis:HOST:PORT, '
         'or a URL of tooz')

_PORTS = {'zookeeper': 2181, 'etcd': 2379, 'redis': 6379}
_DRIVERS = {'zookeeper': 'zookeeper', 'kazoo': 'zookeeper',
            'etcd3+http': 'etcd', 'etcd3+https': 'etcd', 'redis': 'redis',
            'file': 'file'}
_CLUSTER = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]{0,63}')
_MILLISECONDS = re.compile(r'[0-9]{1,9}')
_PORT = re.compile(r':([0-9]+)$')
_HOST = re.compile(r'(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s/,?&]+)(?::([0-9]+))?')


@dataclasses.dataclass(frozen=True)
class Address:
    """``driver``: zookeeper, etcd, redis, file or another's scheme.
    ``urls``: of the same service, one to be used at a time."""

    driver: str
    urls: tuple
    cluster: str
    ttl: float

    @property
    def place(self) -> str:
        """For messages; without what may be secret."""
        scheme, _, rest = self.urls[0].partition('?')[0].partition('://')
        return 'coordination at %s://%s' % (scheme, rest.rpartition('@')[2])


def parse(text: str, ttl: float, local_directory: str) -> Address:
    """
    :param ttl: seconds, where the text does not say
    :param local_directory: for ``local`` without one
    :raises InvalidParameters: it says nothing that is understood
    """
    if '://' in text:
        return _from_url(text, ttl)
    kind, colon, rest = text.partition(':')
    if kind == 'local':
        return _local(rest if colon else local_directory, ttl)
    if kind not in _PORTS:
        raise errors.InvalidParameters(
            'unknown coordination %r: expected %s' % (text, FORMS))
    rest, ttl = _take_timeout(kind, rest, ttl)
    hosts, slash, cluster = rest.partition('/')
    cluster = _checked_cluster(cluster) if slash else CLUSTER_DEFAULT
    hosts = [_host(one, kind) for one in hosts.split(',')]
    if kind == 'zookeeper':
        query = [('hosts', host) for host in hosts[1:]]
        urls = [_url('zookeeper', hosts[0], '', query, ttl)]
    elif kind == 'etcd':
        urls = [_url('etcd3+http', host, '', [], ttl) for host in hosts]
    else:
        if len(hosts) > 1:
            raise errors.InvalidParameters(
                'several redis servers are not one service: name one, or a '
                'sentinel by a URL (redis://HOST:PORT?sentinel=NAME)')
        urls = [_url('redis', hosts[0], '', [], ttl)]
    return Address(kind, tuple(urls), cluster, ttl)


def _local(directory: str, ttl: float) -> Address:
    if not directory.startswith('/'):
        raise errors.InvalidParameters(
            'local:%s: the directory must be named from the root on'
            % directory)
    return Address('file', (_url('file', '', urllib.parse.quote(directory),
                                 [], ttl),), CLUSTER_DEFAULT, ttl)


def _from_url(text: str, ttl: float) -> Address:
    parts = _split(text)
    driver = _DRIVERS.get(parts.scheme, parts.scheme)
    query = urllib.parse.parse_qsl(parts.query)
    given = dict(query)
    cluster = _checked_cluster(given.get('cluster', CLUSTER_DEFAULT))
    name = ('membership_timeout' if driver in ('etcd', 'redis')
            else 'timeout')
    if name in given:
        ttl = _seconds(text, given[name])
    query = [(key, value) for key, value in query
             if key not in ('cluster', name)]
    return Address(driver, (_url(parts.scheme, parts.netloc, parts.path,
                                 query, ttl),), cluster, ttl)


def _url(scheme: str, netloc: str, path: str, query: list,
         ttl: float) -> str:
    # Drivers take whole seconds; a longer session than the lease is safe.
    session = math.ceil(ttl)
    # One request may fail and be sent again within a lease.
    request = max(1, int(ttl / 3))
    driver = _DRIVERS.get(scheme, scheme)
    if driver == 'etcd':
        options = [('api_version', 'v3'), ('timeout', request),
                   ('membership_timeout', session),
                   ('lock_timeout', session)]
    elif driver == 'redis':
        options = [('socket_timeout', request), ('timeout', session),
                   ('membership_timeout', session),
                   ('lock_timeout', session)]
    else:
        options = [('timeout', session)]
    given = {key for key, _ in query}
    query = query + [(key, value) for key, value in options
                     if key not in given]
    url = '%s://%s%s?%s' % (scheme, netloc, path,
                            urllib.parse.urlencode(query))
    for place in _split(url).netloc.split(',') + [
            value for key, value in query if key == 'hosts']:
        _check_port(url, place)
    return url


def _take_timeout(kind: str, rest: str, ttl: float) -> tuple:
    """→ (without ``,timeout=MS``, seconds)."""
    rest, found, milliseconds = rest.partition(',timeout=')
    if not found:
        return rest, ttl
    if (not _MILLISECONDS.fullmatch(milliseconds)
            or not int(milliseconds)):
        raise errors.InvalidParameters(
            '%s: timeout=%s: expected milliseconds' % (kind, milliseconds))
    return rest, int(milliseconds) / 1000


def _seconds(text: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < SECONDS_MAX:
        raise errors.InvalidParameters('%s: %r are no seconds'
                                       % (text, value))
    return seconds


def _host(text: str, kind: str) -> str:
    match = _HOST.fullmatch(text)
    if not match or not 0 < int((match.group(2) or '1')[:9]) < 65536:
        raise errors.InvalidParameters(
            '%s:%s: expected HOST:PORT' % (kind, text))
    return '%s:%s' % (match.group(1), match.group(2) or _PORTS[kind])


def _split(url: str):
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as exc:
        raise errors.InvalidParameters('%.200s: %s' % (url, exc)) from None


def _check_port(text: str, place: str) -> None:
    port = _PORT.search(place)
    if port and not 0 < int(port.group(1)[:9]) < 65536:
        raise errors.InvalidParameters('%.200s: there is no port %.9s'
                                       % (text, port.group(1)))


def _checked_cluster(name: str) -> str:
    if not _CLUSTER.fullmatch(name):
        raise errors.InvalidParameters(
            '%r is no name of a cluster: letters, digits, - and _' % name)
    return name
