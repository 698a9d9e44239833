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


"""Whom a sheep would join, and whether they are its own: asked before its
store is touched. The cluster refuses a stranger too, but only once it has
joined."""

import json
import os
import time

from sheepdog import client
from sheepdog.client import tls as client_tls
from sheepdog.cmd import exits
from sheepdog.model import errors
from sheepdog.peer import access as access_module

ASK_SECONDS = 2.0
ASKED_MAX = 3


def created_of_store(meta) -> int:
    """Creation time of the cluster that a store is of; 0: of none, or it
    does not tell."""
    try:
        with open(os.path.join(meta, 'config'), encoding='utf-8') as file:
            return int(json.load(file)['created'])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def created_of_cluster(members, keys=None, tls_files=None) -> int:
    """The same, of the cluster that runs; 0: none does, or it is not
    formatted, or nobody says so in time.

    :param members: ``cluster.api.MemberInfo`` of those who may be there
    :param keys: our ``peer.access.KeySource``
    :param tls_files: our certificate, for clusters under TLS
    :raises AccessRefused: all who answer refuse us, or we them
    """
    refusals = []
    tls = client_tls.ClientTls(tls_files) if tls_files is not None else None
    addresses = ['[%s]:%d' % (info.host, info.port) if ':' in info.host
                 else '%s:%d' % (info.host, info.port) for info in members]
    for address in addresses[:ASKED_MAX]:
        try:
            with client.Client([address], ASK_SECONDS, ASK_SECONDS,
                               key_file='', keys=keys,
                               tls=tls) as asking:
                info = asking.cluster.info()
        except errors.AccessRefused as exc:
            refusals.append(exc)
            continue
        except errors.SheepdogError:
            continue
        refusals.clear()
        if info['status'] in ('ok', 'frozen') and info['settings']:
            return int(info['settings']['created'])
    if refusals:
        raise refusals[0]
    return 0


def check(meta, members, access=access_module.AccessSettings()) -> None:
    """:param access: our ``peer.access.AccessSettings``
    :raises Stop: the store is of another cluster than those are, or has
        another key
    """
    ours = created_of_store(meta)
    theirs = 0
    try:
        # A new store has no cluster yet, but may have a wrong key.
        if members and (ours or access.keys is not None):
            theirs = created_of_cluster(
                members, access.keys,
                access.tls_files if access.is_tls_required else None)
    except errors.AccessRefused as exc:
        if not access.allow_unauthenticated:
            raise exits.Stop(
                'the cluster that runs has another key than this sheep: %s'
                % exc, exits.SYSTEM) from None
    if theirs and ours and theirs != ours:
        raise exits.Stop(
            '%s belongs to another cluster (made %s) than the one that runs '
            '(made %s): name its own coordination with -c, or an empty '
            'directory' % (meta, _shown(ours), _shown(theirs)), exits.SYSTEM)


def _shown(created) -> str:
    return '%s.%09d' % (
        time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(created >> 32)),
        created & 0xFFFFFFFF)
