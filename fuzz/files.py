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

"""Files in memory, and coroutines that never wait."""


def run(coroutine):
    """Its result. It may await nothing that is not there."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()
    raise AssertionError('it waits')


class File:
    """See ``world.api.File``."""

    def __init__(self, data=b'', attributes=None):
        self.data = bytearray(data)
        self.attributes = attributes or {}

    def pread(self, size, offset):
        return bytes(self.data[offset:offset + size])

    async def pread_cold(self, size, offset):
        return self.pread(size, offset)

    def size(self):
        return len(self.data)

    def get_attribute(self, name):
        return self.attributes.get(name)

    def truncate(self, size):
        del self.data[size:]

    def pwrite(self, data, offset):
        self.data[offset:offset + len(data)] = data

    def allocate(self, size):
        pass

    async def sync(self):
        pass

    def close(self):
        pass


class Disk:
    """See ``world.api.Disk``; ``files``: path → bytes."""

    def __init__(self, contents):
        self.files = {path: File(data) for path, data in contents.items()}

    def make_directory(self, path):
        pass

    async def sync_directory(self, path):
        pass

    def exists(self, path):
        return path in self.files

    def list(self, path):
        return sorted(name.rpartition('/')[2] for name in self.files
                      if name.rpartition('/')[0] == path)

    def open(self, path, create=False, read_only=False):
        if path not in self.files and not create:
            raise FileNotFoundError(path)
        return self.files.setdefault(path, File())

    def unlink(self, path):
        del self.files[path]

    async def read_file(self, path):
        if path not in self.files:
            raise FileNotFoundError(path)
        return bytes(self.files[path].data)

    async def replace_file(self, path, data):
        self.files[path] = File(data)

    async def run(self, function, *arguments):
        return function(*arguments)
