/** Whether a store has room: only a file system tells. */
import { statfsSync } from 'node:fs';
import type { HealthStatus, Look, Seen } from '@coffer/base';
import { parseLocation } from '@coffer/storage/location.ts';

const STATUS = {
  'space-ample': 'ok',
  'space-scarce': 'warning',
  'space-untold': 'ok',
} as const satisfies Record<string, HealthStatus>;

export type SpaceHealthCode = keyof typeof STATUS;

const FREE_SHARE_MIN = 0.05;
const FREE_BYTES_MIN = 1024 ** 3;

export function spaceLook(location: string): Look<SpaceHealthCode> {
  return { subject: 'free space', see: () => seeSpace(location) };
}

function seeSpace(location: string): Seen<SpaceHealthCode> {
  if (parseLocation(location).kind !== 'filesystem') {
    return { code: 'space-untold', status: STATUS['space-untold'], details: {} };
  }
  const { bavail, blocks, bsize } = statfsSync(location);
  const freeBytes = bavail * bsize;
  const isAmple = freeBytes >= FREE_BYTES_MIN && bavail >= blocks * FREE_SHARE_MIN;
  const code = isAmple ? 'space-ample' : 'space-scarce';
  return { code, status: STATUS[code], details: { freeBytes, totalBytes: blocks * bsize } };
}
