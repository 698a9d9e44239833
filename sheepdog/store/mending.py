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

"""Is it the table of checksums that is wrong, or a block?

Where a table is not the one that its own checksum was made of, and becomes
it with what the blocks have that it does not fit, the blocks are right.
"""

from crc32c import crc32c

from sheepdog.store import checksums

_BLOCK = checksums.BLOCK_BYTES
CHUNK_BLOCKS = 64


async def mend(file, table, crc: int, blocks) -> tuple:
    """``(table, wrong)``: the one that had the checksum ``crc``, or None;
    and which of the ``blocks`` (sorted numbers) do not fit this one.

    :raises OSError:
    """
    mended = checksums.table_of(table)
    wrong: list = []
    for first, count in checksums.runs(blocks):
        for start in range(first, first + count, CHUNK_BLOCKS):
            size = min(CHUNK_BLOCKS, first + count - start) * _BLOCK
            data = await file.pread_cold(size, start * _BLOCK)
            found = checksums.mismatches(data, table, start)
            if found:
                entries = checksums.entries(data)
                for block in found:
                    mended[block] = entries[block - start]
                wrong += found
    return mended if crc32c(mended) == crc else None, wrong
