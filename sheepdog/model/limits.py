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

"""Every limit of the system, its unit in its name."""

BLOCK_BYTES = 4096
"""What one checksum covers."""

SECTOR_BYTES = 512
"""The smallest unit a client may address over SCSI or the native protocol."""

OBJECT_SHIFT_DEFAULT = 22
OBJECT_SHIFT_MIN = 20
OBJECT_SHIFT_MAX = 28

INODE_CAPACITY_BYTES = 1 << 24
"""Room for a VDI object: the inode is 12,587,576 bytes at its longest."""

ATTRIBUTE_CAPACITY_BYTES = 1 << 17
ATTRIBUTE_KEY_BYTES = 256
"""With the zero byte behind it."""
ATTRIBUTE_VALUE_MAX_BYTES = 1 << 16
ATTRIBUTES_MAX_BYTES = 8 << 20
"""Of all VDIs: each sheep knows them, and tells them to who joins."""
ATTRIBUTE_OVERHEAD_BYTES = 128
"""That each counts beside its key and value."""

QOS_IOPS_MAX = 10 ** 9
QOS_BYTES_MIN = 64 << 10
"""A second. With less, one request of a mebibyte would hold up its VDI for
longer than clients wait."""
QOS_BYTES_MAX = 1 << 50

VDI_NAME_BYTES = 256
VDI_TAG_BYTES = 256
VDI_OBJECTS_MAX = 1 << 20
"""Entries in an inode's data_vdi_id array (storage policy 0)."""

VDI_IDS_MAX = 1 << 24
SNAPSHOT_GROUP_MAX = 64
"""VDIs whose snapshots are made at one moment."""

COPIES_MAX = 31
FORMS_MAX = 8
"""So many forms a VDI may have in its life: seven times it may be altered
between copies and strips."""

TURNING_LEFT_MAX = 64
"""So many objects of a former form may be behind those that are turned."""

FRAME_PAYLOAD_MAX_BYTES = 16 << 20
"""The longest payload of a native or peer message; longer closes the link."""

NBD_PAYLOAD_MAX_BYTES = 32 << 20

SMALL_WRITE_MAX_BYTES = 64 << 10
"""Writes below this go through the journal whole; longer ones as an intent."""

CLUSTER_MESSAGE_MAX_BYTES = 64 << 20

VNODES_DEFAULT = 128
VNODES_MAX = 65535

PORT_DEFAULT = 7000
NBD_PORT_DEFAULT = 10809

CONNECTION_OUTPUT_MAX_BYTES = 16 << 20
"""Bytes queued to one peer or client before reading from it is paused."""

CONNECTION_INFLIGHT_MAX = 1024
"""Requests of one client connection under way before reading is paused."""

CONNECTION_INFLIGHT_MAX_BYTES = 8 << 20
"""The same in bytes that they bring or ask for; one request may go beyond.
Long requests are no faster for being more, only their memory grows."""

CONNECTION_TURN_BYTES = 4 << 20
"""What a connection's requests may bring or ask for in one turn of the loop.
Before the next turn it is seen whether the answers pile up."""

CLUSTER_KEYS_MAX = 8
"""Keys that a cluster accepts at once, while one takes over from another."""

HELLO_MAX_BYTES = 4096
"""The longest payload of a HELLO: nothing longer is read of a stranger."""

VOLUME_REQUEST_MAX_BYTES = 4 << 20
"""Of one request for an open volume over the peer protocol."""

PUBLIC_CONNECTIONS_MAX = 4096
PUBLIC_CONNECTIONS_PER_HOST_MAX = 1024
"""Native clients over TCP, in all and from one address."""

SILENT_CONNECTIONS_MAX = 1024
"""Over TCP, that have not said anything yet; the oldest makes room."""

FIRST_MESSAGE_SECONDS = 20
"""What a connection may take until it has said something."""

HALF_MESSAGE_SECONDS = 60
"""What a message may take from its first byte to its last."""

LARGE_BUFFERS_MAX_BYTES = 256 << 20
"""For messages of more than 256 KiB that are coming in; one address has at
most half of it. Who finds no room is read from later."""

STRIPS_MAX = 31
"""Of one object, in any policy: 16:15."""

STRIP_UPDATE_MAX_BYTES = 256 << 10
"""The longest update of one strip of a coded object: what it writes and what
that replaces fit the smallest journal."""
