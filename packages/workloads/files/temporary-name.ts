/**
 * Names of what is not whole yet. They say which process makes it, so that a later one tells what a
 * killed one has left from what another one is at.
 */
import { threadId } from 'node:worker_threads';
import { digest, systemProcesses } from '@coffer/base';

const { own } = systemProcesses;
/** Where process numbers mean the same; none where the system does not tell. */
const PLACE = own && digest(Buffer.from(`${own.bootId} ${own.pidNamespace}`)).toString('hex', 0, 4);
const MAKER = `${PLACE ?? ''}-${process.pid}-${own?.startedAtTicks ?? 0}`;
const NAME = /^\.coffer-([0-9a-f]{8})-(\d{1,10})-(\d{1,15})-\d+-\d+$/;
let namesTaken = 0;

/** One that nothing else has. */
export function temporaryName(): Buffer {
  return Buffer.from(`.coffer-${MAKER}-${threadId}-${namesTaken++}`);
}

/** True for what a process has left that certainly runs no more. */
export function isLeftOver(name: Buffer): boolean {
  const [, place, processId, startedAtTicks] = NAME.exec(name.toString('latin1')) ?? [];
  if (own === undefined || place === undefined || place !== PLACE) return false;
  const maker = { processId: Number(processId), startedAtTicks: Number(startedAtTicks) };
  return systemProcesses.hasEnded({ ...own, ...maker });
}
