/** What runs are busy with, as people are told. */
import type { Phase } from '@coffer/base/run-context.ts';
import { printable } from './printable.ts';

const PHASES: Readonly<Record<Phase, string>> = {
  'hold-guests': 'holding guests',
  'read-files': 'reading files',
  'read-disks': 'reading disks',
  commit: 'making the point',
  'list-points': 'listing points',
  'check-records': 'checking records',
  'rebuild-index': 'checking the index',
  'walk-trees': 'following trees',
  'read-packs': 'reading packs',
  'write-packs': 'writing packs',
  mark: 'marking what is used',
  repack: 'packing anew',
  'wait-for-sessions': 'looking for running backups',
  sweep: 'removing packs',
  'copy-chunks': 'copying',
  'restore-files': 'restoring files',
  'restore-disks': 'restoring disks',
  compare: 'comparing',
  'stop-guest': 'stopping the machine',
  'define-machine': 'defining the machine',
  'restore-memory': 'restoring memory',
  'start-guest': 'starting the machine',
  'boot-guest': 'waiting for the guest',
  'move-disks': 'moving disks',
  'put-back': 'putting the old state back',
};

export function describePhase(phase: Phase, subject?: string): string {
  return subject === undefined ? PHASES[phase] : `${PHASES[phase]} (${printable(subject)})`;
}
