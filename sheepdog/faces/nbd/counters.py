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

"""What the NBD face has done since it started."""

import dataclasses


@dataclasses.dataclass(slots=True)
class Counters:
    connections: int = 0
    connections_active: int = 0
    connections_refused: int = 0
    """For there were too many, or they came from a network not let in."""
    tls_failed: int = 0
    """Connections closed in the TLS handshake."""
    handshakes_timed_out: int = 0
    violations: int = 0
    """Connections closed for not speaking the protocol."""
    reads: int = 0
    writes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    flushes: int = 0
    trims: int = 0
    zeroes: int = 0
    statuses: int = 0
    requests_refused: int = 0
    """Answered with an error for what they asked."""
    requests_failed: int = 0
    """Answered with an error because the volume failed."""
