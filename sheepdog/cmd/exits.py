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

"""Exit codes, the same for all commands, and what stands for which."""

from sheepdog.model import errors

OK = 0
FAILED = 1
SYSTEM = 2
"""Something is wrong with the cluster or the host."""
EXISTS = 3
FULL = 4
MISSING = 5
MENDED = 6
"""Something was wrong, and is well now."""
USAGE = 64
INTERRUPTED = 130

_CODES = (
    (errors.VdiExists, EXISTS),
    (errors.NoSpace, FULL),
    (errors.NoVdi, MISSING),
    (errors.NoObject, MISSING),
    (errors.NoBaseVdi, MISSING),
    (errors.NoTag, MISSING),
    (errors.VdiNotLocked, MISSING),
    (errors.InvalidParameters, USAGE),
    (errors.StorageError, SYSTEM),
    (errors.SystemFailure, SYSTEM),
    (errors.ShuttingDown, SYSTEM),
    (errors.VersionMismatch, SYSTEM),
    (errors.WaitForFormat, SYSTEM),
    (errors.WaitForJoin, SYSTEM),
    (errors.JoinFailed, SYSTEM),
    (errors.Halted, SYSTEM),
    (errors.AccessRefused, SYSTEM),
    (errors.Transient, SYSTEM),
)


def code_of(error: BaseException) -> int:
    """The exit code for an error: its own, or that of its kind."""
    own = getattr(error, 'exit_code', None)
    if own is not None:
        return own
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError):
        return SYSTEM
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return FAILED


class Stop(Exception):
    """Ends a command with a message for stderr and an exit code."""

    def __init__(self, message: str, exit_code: int = FAILED):
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(Stop):
    """The command line is not understood, or asks for what is not there."""

    def __init__(self, message: str):
        super().__init__(message, USAGE)
