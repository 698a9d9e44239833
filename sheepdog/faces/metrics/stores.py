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

"""Metrics of the store: operations, journal, checkpoints, space."""

from sheepdog.faces.metrics import family

gauge, counter = family.gauge, family.counter
histogram = family.histogram

STORE = (
    counter('store_operations_total', 'What the store was asked for, '
            'recovery included (adopt: a copy taken over whole).',
            lambda look: look.stored(
                read='reads', write='writes', zero='zeroes',
                remove='removes', adopt='adopts', flush='flushes'), 'kind'),
    counter('store_bytes_total', 'Bytes read from and written to objects.',
            lambda look: look.stored(read='read_bytes',
                                     write='written_bytes'), 'kind'),
    counter('store_cold_reads_total', 'Reads that had to wait for the '
            'disk.', lambda look: look.counters.cold_reads),
    counter('store_bad_reads_total', 'Reads that met a block whose checksum '
            'is wrong. They are answered from another copy.',
            lambda look: look.counters.bad_reads),
    counter('store_errors_total', 'Failures of the disk.',
            lambda look: look.counters.errors),
    counter('store_syncs_total', 'fdatasync calls.',
            lambda look: look.stored(journal='journal_syncs',
                                     object='object_syncs',
                                     directory='directory_syncs'), 'kind'),
    counter('store_files_total', 'Files of objects opened, and closed again '
            'to make room for others.',
            lambda look: look.stored(opened='opened', evicted='evicted'),
            'kind'),
    gauge('store_found_at_start', 'What the start of this sheep found: '
          'records of the journal and objects that it replayed, blocks that '
          'a power cut may have torn, objects that were lost.',
          lambda look: look.stored(
              replayed_records='replayed_records',
              replayed_objects='replayed_objects',
              uncertain_blocks='uncertain_blocks',
              lost_objects='lost_objects'), 'kind'),
    gauge('store_objects', 'Objects in the store.',
          lambda look: look.store.objects),
    gauge('store_open_objects', 'Objects whose files are open.',
          lambda look: look.store.open_objects),
    gauge('store_bad_objects', 'Objects with blocks known to be wrong.',
          lambda look: look.store.bad_objects),
    counter('store_bad_blocks_total', 'Blocks found to be wrong, by clients '
            'or by the scrub.', lambda look: look.counters.bad_blocks),
    counter('store_mended_blocks_total', 'Those of them that are right '
            'again.', lambda look: look.counters.mended_blocks),
    counter('scrub_read_bytes_total', 'What the scrub, and checks that '
            'operators asked for, have read.',
            lambda look: look.sheep.scrub.read_bytes),
    counter('scrub_objects_total', 'Copies that they have verified.',
            lambda look: look.sheep.scrub.objects),
    counter('scrub_rounds_total', 'Rounds of the scrub through all copies.',
            lambda look: look.sheep.scrub.rounds),
    gauge('scrub_differing_objects', 'Objects whose copies differ, and '
          'nothing tells which one is right; told by the first sheep of '
          'each.', lambda look: len(look.sheep.scrub.differing)),
    gauge('quarantine_files', 'What could not be explained and was set '
          'aside.', lambda look: look.sheep.store.quarantine.kept),
    gauge('store_failed', '1: the disk refused a sync, and this sheep '
          'writes no more until it is started again.',
          lambda look: int(look.store.has_failed)),
    gauge('store_full', '1: only the reserve is left, and writes that need '
          'room are refused.', lambda look: int(look.store.is_full)),
    gauge('space_total_bytes', 'Of the disk, without what others keep '
          'there.', lambda look: look.kept.used_bytes + look.store.free_bytes
          if look.kept.used_bytes is not None else None),
    gauge('space_used_bytes', 'What the objects take; looked at once a '
          'minute.', lambda look: look.kept.used_bytes),
    gauge('space_free_bytes', 'What is free on the disk.',
          lambda look: look.store.free_bytes),
    gauge('journal_size_bytes', 'Both segments of the journal.',
          lambda look: look.store.journal_bytes),
    gauge('journal_used_bytes', 'What of it holds records that a start '
          'would replay.', lambda look: look.store.journal_used_bytes),
    counter('journal_written_bytes_total', 'Bytes appended.',
            lambda look: look.counters.journal_bytes),
    counter('journal_batches_total', 'Writes to the journal; each takes all '
            'records that came in one turn of the loop.',
            lambda look: look.counters.batches),
    histogram('journal_sync_seconds', 'Syncs of the journal: what a durable '
              'write waits for.', lambda look: look.kept.sync_seconds),
    histogram('journal_sync_records', 'Records that became durable with one '
              'sync.', lambda look: look.kept.sync_records),
    counter('journal_stalls_total', 'Writes that had to wait for room in '
            'the journal.', lambda look: look.counters.stalls),
    counter('checkpoints_total', 'Segments of the journal made free.',
            lambda look: look.counters.checkpoints),
    gauge('checkpoint_running', '1 while one is being made free.',
          lambda look: int(look.store.is_checkpointing)),
)
