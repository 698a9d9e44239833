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

"""The tree of operating errors.

Each error carries the native protocol's result code (``result``, wire
protocol facts: "Results") and whether the same request may succeed when it
is simply tried again (``retry``). A broken invariant is not here: it is an
``AssertionError`` and stops the daemon.

    SheepdogError
    ├── UnknownError            0x01
    ├── NoObject                0x02   the object does not exist
    ├── StorageError            0x03   EIO: disk failed, or no good copy
    │   └── ChecksumError              bytes read are not the bytes written
    ├── VdiExists               0x04
    ├── InvalidParameters       0x05
    ├── SystemFailure           0x06
    ├── VdiLocked               0x07
    ├── NoVdi                   0x08
    ├── NoBaseVdi               0x09
    ├── NoTag                   0x0e
    ├── ShuttingDown            0x11
    ├── VdiNotLocked            0x10
    ├── VersionMismatch         0x14   protocol versions differ
    ├── NoSpace                 0x15
    │   └── NoRoom              0x87   a copy is not whole, nor fits there
    ├── WaitForFormat           0x16
    ├── WaitForJoin             0x17   members missing at a cold start
    ├── JoinFailed              0x18   refused, with a reason
    ├── Halted                  0x19
    ├── ReadOnly                0x1a
    ├── AccessRefused           0x86   no proof of the cluster's key
    └── Transient                      retry: the way is blocked just now
        ├── StaleEpoch          0x80   request and replica differ in epoch
        ├── NotServing          0x81   no lease, or a change of epoch runs
        ├── StaleOrder          0x82   not (or no longer) the one who orders
        ├── Unreachable         0x83   connection refused, lost, timed out
        ├── CorruptFrame        0x84   a frame's checksum or tag is wrong
        └── NotRecovered        0x85   the object is not whole here yet
"""


class SheepdogError(Exception):
    """Base of all operating errors."""

    result = 0x01
    retry = False


class UnknownError(SheepdogError):
    result = 0x01


class NoObject(SheepdogError):
    result = 0x02


class StorageError(SheepdogError):
    result = 0x03


class ChecksumError(StorageError):
    pass


class VdiExists(SheepdogError):
    result = 0x04


class InvalidParameters(SheepdogError):
    result = 0x05


class SystemFailure(SheepdogError):
    result = 0x06


class VdiLocked(SheepdogError):
    result = 0x07


class NoVdi(SheepdogError):
    result = 0x08


class NoBaseVdi(SheepdogError):
    result = 0x09


class NoTag(SheepdogError):
    result = 0x0E


class VdiNotLocked(SheepdogError):
    result = 0x10


class ShuttingDown(SheepdogError):
    result = 0x11


class VersionMismatch(SheepdogError):
    result = 0x14


class NoSpace(SheepdogError):
    result = 0x15


class NoRoom(NoSpace):
    """The copy that a change was for is not whole, and there is no room to
    make it so: unlike with ``NoSpace``, nobody will ever follow it."""

    result = 0x87


class WaitForFormat(SheepdogError):
    result = 0x16


class WaitForJoin(SheepdogError):
    result = 0x17


class JoinFailed(SheepdogError):
    result = 0x18


class Halted(SheepdogError):
    result = 0x19


class ReadOnly(SheepdogError):
    result = 0x1A


class AccessRefused(SheepdogError):
    """Who asks has not proved to know the cluster's key, or who answers."""

    result = 0x86


class Transient(SheepdogError):
    """The same request may succeed a moment later, perhaps elsewhere."""

    result = 0x06
    retry = True


class StaleEpoch(Transient):
    result = 0x80


class NotServing(Transient):
    result = 0x81


class StaleOrder(Transient):
    result = 0x82


class Unreachable(Transient):
    result = 0x83


class CorruptFrame(Transient):
    result = 0x84


class NotRecovered(Transient):
    result = 0x85


SUCCESS = 0x00


def _leaves(cls):
    yield cls
    for sub in cls.__subclasses__():
        yield from _leaves(sub)


BY_RESULT = {}
for _cls in _leaves(SheepdogError):
    # The first class of a code in tree order stands for it (ChecksumError
    # shares EIO with StorageError on the wire).
    BY_RESULT.setdefault(_cls.result, _cls)
BY_RESULT[UnknownError.result] = UnknownError
BY_RESULT[SystemFailure.result] = SystemFailure


def from_result(result: int, text: str = '') -> SheepdogError:
    """The error that a result code other than SUCCESS stands for."""
    return BY_RESULT.get(result, UnknownError)(
        text or 'result code 0x%02x' % result)


def public_result(error: BaseException) -> int:
    """The code a native client may see: our own (0x80 up) are EIO to it."""
    result = getattr(error, 'result', UnknownError.result)
    return result if result < 0x80 else StorageError.result
