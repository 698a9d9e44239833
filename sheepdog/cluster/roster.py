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

"""Who belongs into the next epoch, with what weight; and who may not join.

Pure functions.
"""

import functools
import ipaddress
from typing import Collection, Iterable, Mapping, Optional

from sheepdog.cluster import api
from sheepdog.model import view as view_model
from sheepdog.placement import weights

NOTHING: Mapping = {}


def refusal(info: api.MemberInfo, created: int, protocol: int,
            settings: Optional[view_model.ClusterSettings]) -> str:
    """Why this sheep may not join, or ''.

    :param created: creation time of the cluster that its store is of, or 0
    :param protocol: the leader's
    :param settings: None before the cluster is formatted
    """
    if info.protocol != protocol:
        return ('this sheep speaks version %d of the peer protocol, the '
                'cluster version %d' % (info.protocol, protocol))
    if settings is None:
        return ''
    if created and created != settings.created:
        return ('the store of this sheep belongs to another cluster '
                '(created %d.%09d, this one %d.%09d)' % (
                    created >> 32, created & 0xFFFFFFFF,
                    settings.created >> 32, settings.created & 0xFFFFFFFF))
    return vnodes_refusal(info, settings.fixed_vnodes)


def vnodes_refusal(info: api.MemberInfo, fixed_vnodes: bool) -> str:
    if fixed_vnodes and info.vnodes < 0:
        return ('this cluster has fixed numbers of vnodes: start the sheep '
                'with one')
    if not fixed_vnodes and info.vnodes > 0:
        return ('this cluster weights its nodes by space: start the sheep '
                'without a fixed number of vnodes')
    return ''


def reference_space(infos: Iterable[api.MemberInfo]) -> int:
    """The bytes that 128 vnodes stand for: the mean of all that store.
    """
    spaces = [info.space for info in infos if info.vnodes != 0]
    return sum(spaces) // len(spaces) if spaces else 0


def compose(infos: Iterable[api.MemberInfo],
            previous: Optional[view_model.View],
            reference: int, spaces: Mapping[str, int] = NOTHING,
            vnodes: Mapping[str, tuple] = NOTHING,
            evicted: Collection[str] = ()) -> tuple:
    """The members of an epoch, in order of their addresses.

    :param spaces: node → the bytes it has told of since it joined
    :param vnodes: node → (the number it was started with, the one that an
        operator has set since)
    :param evicted: nodes that keep no objects for a while
    """
    before = {member.node: member for member in previous.members} \
        if previous else {}
    infos = list(infos)
    if not any(info.vnodes and info.node not in evicted for info in infos):
        # Better a slow one than none.
        evicted = ()
    members = [_member(info, before.get(info.node), reference,
                       spaces.get(info.node), vnodes.get(info.node),
                       info.node in evicted)
               for info in infos]
    members.sort(key=lambda member: (address_key(member.host), member.port,
                                     member.node))
    return tuple(members)


def _member(info: api.MemberInfo, before: Optional[view_model.Member],
            reference: int, told: Optional[int],
            chosen: Optional[tuple],
            is_evicted: bool) -> view_model.Member:
    space = info.space if told is None else told
    if is_evicted:
        vnodes = 0
    elif chosen is not None and chosen[0] == info.vnodes > 0:
        # (Started with another number since, it has that one.)
        vnodes = chosen[1]
    elif info.vnodes >= 0:
        vnodes = info.vnodes
    elif told is not None:
        vnodes = weights.vnodes_by_space(told, reference)
    elif before is not None and before.vnodes:
        # A weight is not reckoned anew at each restart: data would move.
        vnodes, space = before.vnodes, before.space
    else:
        vnodes = weights.vnodes_by_space(info.space, reference)
    return view_model.Member(
        node=info.node, incarnation=info.incarnation, host=info.host,
        port=info.port, zone=info.zone, vnodes=vnodes, space=space,
        data_host=info.data_host, data_port=info.data_port)


def reincarnate(view: view_model.View,
                infos: dict) -> view_model.View:
    """The same epoch after a full stop: the same nodes at the same places,
    with the incarnations of now (``infos``: node → MemberInfo)."""
    members = []
    for member in view.members:
        info = infos[member.node]
        members.append(view_model.Member(
            node=member.node, incarnation=info.incarnation,
            host=member.host, port=member.port, zone=member.zone,
            vnodes=member.vnodes, space=member.space,
            data_host=info.data_host, data_port=info.data_port))
    return view_model.View(view.epoch, view.term, view.time, tuple(members))


@functools.lru_cache(maxsize=1 << 14)
def address_key(host: str) -> tuple:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return 99, host
    return address.version, int(address)
