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

"""A stream cut in any way is the same stream."""


def whole_and_in_parts(data, split) -> list:
    """All messages that ``split(buffer, start, end)`` finds, which returns
    (messages, used, room). What it finds where bytes arrive little by
    little must be the same."""
    whole, used, room = split(data, 0, len(data))
    assert 0 <= used <= len(data)
    assert room == 0 or room > len(data) - used, 'room for what is there'
    for size in (1, 47, 100):
        if len(data) // size > 400:
            continue
        parts = []
        start = 0
        for end in range(size, len(data) + size, size):
            end = min(end, len(data))
            found, start, room = split(data, start, end)
            parts += found
        assert parts == whole and start == used, 'cut into %d' % size
    return whole


class Connection:
    """See ``world.api.Connection``; nobody is at the other end."""

    peername = '192.0.2.1:7'
    peer_host = '192.0.2.1'
    peer_uid = None
    is_local = False
    is_encrypted = False
    queued_bytes = 0

    def __init__(self):
        self.sent = []
        self.is_closed = False
        self.pauses = 0

    def send(self, *buffers):
        self.sent += buffers

    def pause_reading(self):
        self.pauses += 1

    def resume_reading(self):
        self.pauses -= 1
        assert self.pauses >= 0

    def close(self):
        self.is_closed = True

    abort = close
