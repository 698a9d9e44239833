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

"""[DEFAULT]: this sheep: its store, its addresses, its part."""

from oslo_config import cfg

from sheepdog.model import limits

GROUP = None

OPTIONS = [
    cfg.StrOpt(
        'meta', default='', sample_default='/var/lib/sheepdog',
        help='The store: the directory that holds everything this sheep '
             'keeps. Usually given on the command line.'),
    cfg.ListOpt(
        'disks', default=[], sample_default='/srv/disk1,/srv/disk2',
        help='Directories, each on a disk of its own, that keep the objects '
             'instead of META. Usually given on the command line, as '
             'META,DISK,DISK. Which disks are in use is on record in META: '
             'those named here are plugged in at the first start.'),
    cfg.ListOpt(
        'lost_disks', default=[],
        help='Disks that are gone for good: given up at the start, with what '
             'was on them. Usually given on the command line (--lost-disk), '
             'once.'),
    cfg.StrOpt(
        'bindaddr', default='', sample_default='127.0.0.1',
        help='The address to listen on. Empty: all of this host, or '
             'loopback where there is no key of the cluster (see '
             '[security]).'),
    cfg.StrOpt(
        'myaddr', default='',
        help='The address told to the other sheep. Empty: that of '
             'bindaddr, or else the one by which this host reaches the '
             'coordination service.'),
    cfg.PortOpt(
        'port', default=limits.PORT_DEFAULT,
        help='The TCP port.'),
    cfg.IntOpt(
        'zone', default=-1, min=-1, max=(1 << 32) - 1,
        help='The fault zone: copies of an object never share one. -1: '
             'made from the address, so that each host is a zone.'),
    cfg.BoolOpt(
        'gateway', default=False,
        help='Keep no objects here, only serve clients.'),
    cfg.BoolOpt(
        'nosync', default=False,
        help='Acknowledge from the page cache and never sync. A power cut '
             'may cost what was acknowledged as durable.'),
    cfg.BoolOpt(
        'directio', default=False,
        help='Bypass the page cache for object files. Not in this '
             'version.'),
    cfg.IntOpt(
        'vnodes', default=-1, min=-1, max=limits.VNODES_MAX,
        help='A fixed number of virtual nodes: this sheep gets objects in '
             'proportion to it. -1: %d, weighted by space.'
             % limits.VNODES_DEFAULT),
    cfg.StrOpt(
        'pidfile', default='',
        help='A file for the process id, kept locked while the sheep runs.'),
    cfg.BoolOpt(
        'foreground', default=False,
        help='Stay in the foreground.'),
    cfg.BoolOpt(
        'upgrade', default=False,
        help='First finish what "dog upgrade adopt" has begun in META; where '
             'nothing is to be finished, this is of no effect.'),
]
