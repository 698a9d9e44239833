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

"""How many bytes a transfer has under way."""

FIRST_BYTES = 256 << 10
LEAST_BYTES = 64 << 10
QUICK_SECONDS = 1.0


class Pace:
    """Few at first, and few again where one waits for the next answer: behind
    a limit of the VDI many would wait for longer than a client has patience.

    :ivar allowed_bytes: under way at once, and in one request
    """

    def __init__(self, most_bytes):
        self._most_bytes = most_bytes
        self.allowed_bytes = FIRST_BYTES

    def answered(self, waited_seconds):
        """:param waited_seconds: since the answer before, or for less"""
        if waited_seconds < QUICK_SECONDS:
            self.allowed_bytes = min(2 * self.allowed_bytes,
                                     self._most_bytes)
        else:
            self.allowed_bytes = max(self.allowed_bytes // 2, LEAST_BYTES)
