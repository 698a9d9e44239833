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

"""What each finding means, and what to do about it. The codes are stable:
scripts may rely on them. ``page`` is in the documentation, under runbook/.
"""

import typing

NOTE = 'note'
"""Nothing to do at once."""
DEGRADED = 'degraded'
"""All is served, or nearly all, but something is wrong."""
DOWN = 'down'
"""The cluster serves nothing."""


class Remedy(typing.NamedTuple):
    severity: str
    page: str
    means: str
    todo: str


REMEDIES = {
    'no-answer': Remedy(
        DOWN, 'no-answer',
        'No data is served through these sheep, and none is lost: what was '
        'acknowledged is on the disks. Perhaps the cluster was shut down.',
        'Start the sheep on each node (systemctl start sheep); or name one '
        'that runs with -a.'),
    'shutting-down': Remedy(
        DOWN, 'no-answer',
        'Nothing is served; all data is being brought to the disks.',
        'Wait until all sheep have ended. Start them again to go on.'),
    'wait-format': Remedy(
        DOWN, 'wait-format',
        'There are no VDIs yet, so there is nothing to lose.',
        'When all nodes are there: dog cluster format.'),
    'wait-members': Remedy(
        DOWN, 'wait-members',
        'Nothing is served: who is missing may have the last writes.',
        'Start the missing sheep. Only if one never comes back: dog cluster '
        'recover force, which gives up what only it has.'),
    'coordination-away': Remedy(
        DEGRADED, 'coordination-away',
        'A sheep that hears nothing of the others serves nothing once its '
        'lease has run out. No data is lost.',
        'Bring the coordination service back; the sheep go on by '
        'themselves.'),
    'no-leader': Remedy(
        DEGRADED, 'no-agreement',
        'Reads and writes go on, but nothing can be decided: no VDI is '
        'created, locked or opened, nobody joins.',
        'If it lasts for more than a few seconds, look for a node that '
        'hangs, and restart its sheep.'),
    'epoch-prepared': Remedy(
        DEGRADED, 'no-agreement',
        'Reads and writes wait until the next member list is decided. '
        'Nothing is lost by that.',
        'If it lasts for more than a few seconds, restart the sheep that '
        'does not answer.'),
    'joining': Remedy(
        DEGRADED, 'no-agreement',
        'This node serves nothing yet; the others are not disturbed.',
        'If it lasts for more than a few seconds, look into the log of the '
        'leader and of this node.'),
    'node-lapsed': Remedy(
        DEGRADED, 'node-lapsed',
        'This node serves nothing until it has joined again, which it '
        'tries by itself. Its disk is brought up to date then.',
        'Find out why it was not heard of: was the machine suspended or '
        'overloaded, or the way to the coordination service cut?'),
    'lapsed-lately': Remedy(
        NOTE, 'node-lapsed',
        'It has joined again. Meanwhile it served nothing, and what it '
        'missed was brought over from the others.',
        'Find out why it was not heard of, lest it happens again.'),
    'node-refused': Remedy(
        DEGRADED, 'node-refused',
        'This node is not in the cluster and serves nothing; the others '
        'are not disturbed.',
        'Mend what the reason says, and start its sheep again.'),
    'node-unreachable': Remedy(
        DEGRADED, 'node-unreachable',
        'Writes to objects with a copy there wait until the cluster goes on '
        'without it. No data is lost.',
        'Look whether the machine and its network are up; restart its '
        'sheep if it hangs.'),
    'few-zones': Remedy(
        DEGRADED, 'degraded',
        'Everything is served, but there are fewer copies (or strips) than '
        'wanted, and fewer further failures can be borne.',
        'Bring the missing nodes back, or add nodes in other zones.'),
    'no-zones': Remedy(
        DEGRADED, 'degraded',
        'Erasure coded VDIs of D:P need D zones to be read or written: theirs '
        'wait. Nothing is lost by that.',
        'Bring the missing nodes back, or add nodes in other zones.'),
    'strict-zones': Remedy(
        DEGRADED, 'strict',
        'The cluster was formatted to take writes only in all copies, or '
        'strips (-t): they are refused, and reads go on. Nothing is lost.',
        'Bring the missing nodes back, or add nodes in other zones.'),
    'recovering': Remedy(
        DEGRADED, 'degraded',
        'Everything is served; until it is done, some objects have fewer '
        'copies, or strips, than wanted.',
        'Wait. Stop no further node before (sheepdog-manage safe-to-stop '
        'tells).'),
    'recovery-disabled': Remedy(
        DEGRADED, 'degraded',
        'Everything is served, but some objects have fewer copies than '
        'wanted, and fewer further failures can be borne.',
        'When the maintenance is over: dog cluster recover enable.'),
    'recovery-postponed': Remedy(
        DEGRADED, 'degraded',
        'Everything is served; what the absent node held has one copy, or '
        'strip, less than wanted, and more than one is left over. It is made '
        'anew at once if anything else happens, and when the time is over.',
        'Bring the node back: then only what has changed moves. If it never '
        'comes back: dog cluster recover now.'),
    'recovery-waits': Remedy(
        DEGRADED, 'degraded',
        'These objects have fewer copies or strips than wanted, or wait to '
        'be read.',
        'It is tried again all the time. If it lasts, mend what the reason '
        'says.'),
    'turning-waits': Remedy(
        DEGRADED, 'degraded',
        'These objects keep the redundancy that they had until they can be '
        'read and copied.',
        'It is tried again all the time. Mend what else is reported here; '
        'where bytes are damaged (dog vdi check), write them anew.'),
    'objects-missing': Remedy(
        DEGRADED, 'lost-node',
        'Reads and writes of these objects wait: who is missing may have '
        'their last writes, and nobody guesses.',
        'Start the missing sheep. Only if they never come back: stop all, '
        'start those that are left (of those with lost disks all but one), '
        'and dog cluster recover force.'),
    'recovery-no-room': Remedy(
        DEGRADED, 'recovery-no-room',
        'The objects that should come there have fewer copies than wanted. '
        'All are served (but writes to erasure coded ones, for which there '
        'is no room at all, are refused); the option -F of format keeps '
        'recovery from filling that disk.',
        'Delete VDIs or discard space in them, bring back who is missing, '
        'or add nodes. It starts by itself when there is room.'),
    'disk-full': Remedy(
        DEGRADED, 'disk-full',
        'Writes that need new space are refused; reads, overwriting and '
        'deleting go on.',
        'Delete VDIs or discard space in them, or add nodes.'),
    'disk-filling': Remedy(
        DEGRADED, 'disk-full',
        'Everything is served, but the loss of a node may fill the disks '
        'of the others.',
        'Delete VDIs or discard space in them, or add nodes.'),
    'zone-room': Remedy(
        DEGRADED, 'disk-full',
        'Everything is served. If that zone is lost now, its copies cannot '
        'all be made anew, and a disk becomes full.',
        'Delete VDIs or discard space in them, or add nodes.'),
    'disk-failed': Remedy(
        DEGRADED, 'disk-failing',
        'This node leaves as soon as the others have copies of all that it '
        'holds. Nothing that was acknowledged is lost while the other '
        'copies are whole.',
        'Stop the sheep there: the others restore the redundancy. Then '
        'replace the disk.'),
    'disk-needed': Remedy(
        DEGRADED, 'lost-disk',
        'Another disk, or sheep, was lost before, and this disk may have the '
        'last good copies: so it is not given up yet. Writes wait where it '
        'takes none.',
        'Wait as long as objects become whole there (dog node recovery). When '
        'no more do, bring that disk back and restart its sheep. Only if it '
        'is gone for good: restart that sheep with --lost-disk PATH (one with '
        'a single disk: stop it). What all lost disks had is lost then.'),
    'disk-lost': Remedy(
        NOTE, 'lost-disk',
        'It failed, or an operator gave it up. Its objects are recovered '
        'from the other sheep to the disks that are left.',
        'Put a new disk in its place and plug it in: dog node md plug PATH; '
        'or dog node md unplug PATH, where none will come.'),
    'damaged-blocks': Remedy(
        NOTE, 'disk-failing',
        'They are taken from other copies, or computed from other strips, '
        'and put right when they are met.',
        'Look after that disk: it gives back other bytes than were written.'),
    'damage-irreparable': Remedy(
        DEGRADED, 'disk-failing',
        'No copy has these blocks right: reading them fails. Writing them '
        'anew mends them.',
        'Restore what was there from a backup, and look after the disks.'),
    'copies-differ': Remedy(
        DEGRADED, 'quarantine',
        'Reads may show one or the other, and nothing tells which is right. '
        'A disk has lost a write, or something is wrong with Sheepdog.',
        'Decide whose copy is wrong, and set it aside: sheepdog-manage '
        'quarantine add OBJECT NODE. It is made anew from the others.'),
    'quarantined': Remedy(
        NOTE, 'quarantine',
        'Something could not be explained. It was set aside, nothing of it '
        'is lost, and it takes room.',
        'sheepdog-manage quarantine list says what and why. Delete what '
        'nobody needs.'),
    'node-slow': Remedy(
        DEGRADED, 'slow-requests',
        'Every write with a copy there waits for it. It is read last, and '
        'evicted if it stays so and the others are zones enough.',
        'Look after its disks, its machine and its network. dog node evict '
        'goes on without its copies.'),
    'node-evicted': Remedy(
        NOTE, 'slow-requests',
        'The others keep copies of all, and nobody waits for this node. What '
        'it had is still there.',
        'Mend it: it comes back by itself when it is quick. Who was evicted '
        'by hand comes back by hand: dog node readmit.'),
    'slow-requests': Remedy(
        DEGRADED, 'slow-requests',
        'Clients wait for these requests. They are tried until they are '
        'done; nothing is lost.',
        'Look after whom or what they wait for.'),
    'lock-contended': Remedy(
        DEGRADED, 'locked-vdi',
        'A client could not open this VDI, since another one has it.',
        'If that other one is still in use, all is as it should be. If its '
        'owner is gone for good: sheepdog-manage lock break NAME.'),
    'lock-idle': Remedy(
        NOTE, 'locked-vdi',
        'Nobody uses this VDI, but no other sheep can open it.',
        'sheepdog-manage lock break NAME, if that lasts.'),
    'locks-held': Remedy(
        NOTE, 'locked-vdi',
        'They can be opened for writing through these sheep only.',
        'Nothing, if they are in use.'),
    'exposed': Remedy(
        NOTE, 'exposed',
        'More can be reached from outside than an operator would take for '
        'granted.',
        'If it is not meant so, change the option that is named.'),
}
