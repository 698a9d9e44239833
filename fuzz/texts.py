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

"""Targets: what people and services write: sizes, addresses, options."""

import json
import os
import tempfile

from fuzz import registry
from sheepdog.client import address as client_address
from sheepdog.cluster import address as cluster_address
from sheepdog.cluster import api
from sheepdog.cluster import incarnations
from sheepdog.cluster import membership
from sheepdog.cluster import qos
from sheepdog.cmd import exits
from sheepdog.cmd import options
from sheepdog.cmd import place
from sheepdog.conf import config
from sheepdog.conf import settings
from sheepdog.faces.nbd import exports
from sheepdog.model import errors
from sheepdog.model import sizes
from sheepdog.placement import redundancy

UNREADABLE = UnicodeDecodeError


def size_seeds():
    yield from (b'4096', b'64K', b' 1g ', b'9999P')


@registry.target('sizes', (errors.InvalidParameters, UNREADABLE),
                 ('sheepdog.model.sizes',), size_seeds)
def run_sizes(data):
    value = sizes.parse_size(data.decode())
    assert 0 <= value <= sizes.SIZE_MAX_BYTES
    sizes.show_size(value)


def limit_seeds():
    yield from (b'', b'iops=500:0,bytes=none', b'read-bytes=65536:1048576')


@registry.target('limits', (errors.InvalidParameters, UNREADABLE),
                 ('sheepdog.cluster.qos',), limit_seeds)
def run_limits(data):
    changes = qos.parse_changes(data.decode())
    limits = qos.decide({}, 'vm', changes)['limits']
    assert qos.to_dict(qos.checked(limits)) == limits


def redundancy_seeds():
    yield from (b'3', b'31', b'4:2', b'16:15')


@registry.target('redundancy', (errors.InvalidParameters, UNREADABLE),
                 ('sheepdog.placement.redundancy',), redundancy_seeds)
def run_redundancy(data):
    found = redundancy.parse(data.decode())
    assert redundancy.parse(redundancy.text_of(*found)) == found


def client_address_seeds():
    yield from (b'host', b'host:7000', b'[::1]:7001', b'::1',
                b'unix:/run/sock', b'/run/sock')


@registry.target('client-address', (errors.InvalidParameters, UNREADABLE),
                 ('sheepdog.client.address',), client_address_seeds)
def run_client_address(data):
    found = client_address.parse_address(data.decode())
    assert found.path or 0 < found.port < 65536
    str(found)


def cluster_address_seeds():
    yield from (b'local', b'local:/var/lib', b'zookeeper:a:2181,b/one',
                b'zookeeper:a:1,timeout=3000', b'etcd:[::1]:2379/x',
                b'redis:h:6379', b'redis://u:p@h:1?cluster=c&timeout=3',
                b'kazoo://h1:2181,h2:2181?hosts=h3:1', b'file:///tmp/x')


@registry.target('cluster-address', (errors.InvalidParameters, UNREADABLE),
                 ('sheepdog.cluster.address', 'sheepdog.cmd.place'),
                 cluster_address_seeds)
def run_cluster_address(data):
    text = data.decode()
    found = cluster_address.parse(text, 4.0, '/meta')
    assert found.urls and found.place
    assert 0 < found.ttl < float('inf')
    for _host, port in place.endpoints(text):
        assert 0 < port < 65536


def option_seeds():
    yield from (b'size=10G,dir=/var,skip', b'skip', b'dir=')


@registry.target('options', (exits.UsageError, UNREADABLE),
                 ('sheepdog.cmd.options',), option_seeds)
def run_options(data):
    options.parse_pairs('-j', data.decode(), ('size', 'dir'), ('skip',))


def configuration_seeds():
    yield b'[DEFAULT]\nmeta = /meta\nport = 7001\n'
    yield (b'[DEFAULT]\nmeta = /meta\ngateway = true\n[cluster]\n'
           b'url = zookeeper:a:2181\nttl_seconds = 3.5\n[journal]\n'
           b'size = 64M\n[nbd]\nenabled = true\nport = 0\n'
           b'connections_max = 5\n[recovery]\nmax = 3\n[io]\nhost = h\n'
           b'port = 7002\n[log]\nlevel = debug\n')


_FILE = tempfile.NamedTemporaryFile(suffix='.conf')


@registry.target('configuration', (config.ConfigRefused,),
                 ('sheepdog.conf.config', 'sheepdog.conf.settings',
                  'sheepdog.conf.kinds'), configuration_seeds, cases=150)
def run_configuration(data):
    with open(_FILE.name, 'wb') as file:
        file.write(data)
    built = settings.build(config.new_config([_FILE.name]))
    assert os.path.isabs(built.meta)


def info_seeds():
    info = api.MemberInfo('n1', 'n1.%016x' % (1 << 60), 'h', 7000, 1,
                          1 << 40)
    yield json.dumps(info.to_dict()).encode()


@registry.target('membership-info', (ValueError,),
                 ('sheepdog.cluster.api', 'sheepdog.cluster.membership',
                  'sheepdog.cluster.incarnations'), info_seeds)
def run_info(data):
    """Coordination may hold anything: it can be wiped, or shared."""
    info = membership.member_info({'info': json.loads(data)})
    if info is not None:
        assert info == api.MemberInfo.from_dict(info.to_dict())
        incarnations.newest([info.incarnation, 'n1.5', 'n2'])


class _Catalogue:
    def find(self, name, tag='', snap_id=0):
        if name not in ('alpha', 'a@b'):
            raise errors.NoVdi(name)
        if tag and tag != 'tag':
            raise errors.NoTag(tag)
        return name


def export_seeds():
    yield from (b'alpha', b'a@b', b'alpha@tag', b'alpha@7', b'', b'@')


@registry.target('export-name', (errors.SheepdogError, UNREADABLE),
                 ('sheepdog.faces.nbd.exports',), export_seeds)
def run_export(data):
    exports.Exports(None, None, _Catalogue(), 'alpha', False, 0.0)._find(
        data.decode())
