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

"""An operator's first look at a cluster: gathered here, shown elsewhere.

``gather`` asks, ``warnings`` judges what was found and is pure.
"""

import re

from sheepdog.cmd import states
from sheepdog.cmd import symptoms
from sheepdog.cmd import words
from sheepdog.model import errors
from sheepdog.placement import redundancy


def gather(client) -> dict:
    """What is known, as far as the sheep can answer in their state.

    :raises SheepdogError: not even the state is known
    """
    info = client.cluster.info()
    here = client.nodes.status()
    found = {'info': info, 'here': here, 'nodes': [], 'space': None,
             'recovery': [], 'vdis': None}
    if info['status'] in ('ok', 'frozen'):
        for key, ask in (('nodes', client.nodes.list),
                         ('space', client.nodes.info),
                         ('recovery', client.nodes.recovery),
                         ('vdis', client.vdis.list)):
            try:
                found[key] = ask()
            except errors.SheepdogError as exc:
                found.setdefault('failures', []).append(str(exc))
    return found


def summary(found) -> list:
    """(name, value) pairs; sizes in bytes, lists as lists."""
    info, here = found['info'], found['here']
    epoch = info['epochs'][0] if info['epochs'] else None
    members = epoch['members'] if epoch else []
    rows = [('state', states.show(info)),
            ('waits_for', waits_for(info)),
            ('epoch', epoch['epoch'] if epoch else 0),
            ('nodes', len(members)),
            ('zones', len({member['zone'] for member in members
                           if member['vnodes']})),
            ('leader', words.host_port(info['leader']) if info.get('leader')
             else '')]
    settings = info['settings']
    if settings:
        rows += [('redundancy', redundancy.text_of(settings['copies'],
                                                   settings['copy_policy'])),
                 ('object_bytes', 1 << settings['block_size_shift'])]
    space = found['space']
    if space:
        answered = [node for node in space['nodes']
                    if not node.get('error')]
        rows += [(key + '_bytes', sum(node[key] for node in answered))
                 for key in ('total', 'used', 'free')]
        rows.append(('virtual_bytes', space['virtual_bytes']))
        rows.append(('quarantine_bytes', sum(
            node.get('quarantine', 0) for node in answered)))
    if found['vdis'] is not None:
        rows.append(('vdis', len(found['vdis'])))
    rows += [('recovering', [
        '%s: %d of %d objects' % (words.host_port(node), node['done'],
                                  node['total'])
        for node in found['recovery'] if node['done'] < node['total']]),
        ('scrub', scrub_state(here.get('scrub'))),
        ('nbd', nbd_url(here.get('nbd'))),
        ('version', info.get('version', '')),
        ('warnings', warnings(found))]
    return rows


def scrub_state(scrub) -> str:
    """How the sheep that was asked looks through its copies."""
    if not scrub:
        return ''
    found = scrub['round']
    if not scrub['enabled']:
        return 'off'
    if not found:
        return 'no round yet'
    return '%s, %d of %d objects, %d bad blocks' % (
        found['state'], found['objects'], found['total'],
        found['bad_blocks'])


def waits_for(info) -> str:
    """What has to happen before this cluster serves; '' when it does."""
    status = info['status']
    if status == 'ok':
        return ''
    if status == 'wait-format':
        return 'dog cluster format'
    if status == 'wait-join' and info.get('missing'):
        return ('the start of %s; or dog cluster recover force, which goes '
                'on without what only they have'
                % ', '.join(info['missing']))
    return info.get('reason', '')


def warnings(found) -> list:
    """What an operator should know without asking."""
    info, here = found['info'], found['here']
    told = list(found.get('failures', ()))
    told += _exposed(here)
    settings = info['settings']
    members = info['epochs'][0]['members'] if info['epochs'] else []
    if settings and members:
        zones = len({member['zone'] for member in members
                     if member['vnodes']})
        told += _few_zones(zones, settings, found['vdis'] or ())
    for node in (found['space'] or {'nodes': ()})['nodes']:
        if node.get('error'):
            told.append('%s does not tell its space: %s' % (
                words.host_port(node), node['error']))
        elif node['total'] and (node['used'] * 100 // node['total']
                                >= symptoms.FULL_PERCENT):
            told.append('%s is %d %% full' % (
                words.host_port(node), node['used'] * 100 // node['total']))
    for node in (found['space'] or {'nodes': ()})['nodes']:
        if node.get('quarantined'):
            told.append('%s has %s in quarantine' % (
                words.host_port(node), words.count(node['quarantined'],
                                                   'thing')))
    if here.get('bad_objects'):
        told.append('%s has %d objects with damaged blocks' % (
            here.get('address', 'this sheep'), here['bad_objects']))
    return told


def _few_zones(zones, settings, vdis):
    """Of what new VDIs get, and of VDIs with another policy."""
    default = redundancy.Policy(settings['copies'], settings['copy_policy'])
    others = {redundancy.Policy(vdi['copies'], vdi.get('copy_policy', 0))
              for vdi in vdis} - {default}
    for copies, copy_policy in [default, *sorted(others)]:
        if zones >= copies:
            continue
        name = redundancy.text_of(copies, copy_policy)
        parts = redundancy.parts(copy_policy)
        what = '%d %s need as many zones, and the nodes are in %d: objects' \
            % (copies, parts, zones)
        if (copies, copy_policy) != default:
            what += ' of VDIs with %s' % (name if copy_policy
                                          else '%s copies' % name)
        if zones < redundancy.zones_needed(copies, copy_policy):
            yield what + ' wait for %d zones' % redundancy.zones_needed(
                copies, copy_policy)
        else:
            yield what + ' have fewer %s' % parts


def _exposed(here):
    """What the sheep that was asked says of itself, and its keys."""
    yield from here.get('exposed', ())
    access = here.get('access') or {}
    if len(access.get('keys', ())) > 1:
        yield ('%d cluster keys are accepted: "sheepdog-manage key rotate '
               '--finish" ends a change of keys' % len(access['keys']))


def nbd_url(address) -> str:
    """For an address as a sheep tells it: '' where NBD is not served,
    ``host:port``, ``(host, port)`` or a path."""
    if not address:
        return ''
    if isinstance(address, str):
        if address.startswith('/'):
            return 'nbd+unix:///?socket=' + address
        match = re.fullmatch(r"\('([^']+)', (\d+)(?:, .*)?\)", address)
        if not match:
            return 'nbd://' + address
        address = match.groups()
    host, port = address[0], int(address[1])
    return 'nbd://' + words.host_port({'host': host, 'port': port})
