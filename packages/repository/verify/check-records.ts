/** Decodes all small records of a repository: what cannot be decoded is a finding. */
import {
  type CofferError,
  findingOf,
  isCofferError,
  type RunContext,
  tellFinding,
} from '@coffer/base';
import { configDamages } from '../config-objects.ts';
import {
  checkGcRecord,
  gcObjectName,
  listGcObjects,
  readGcState,
} from '../generations/gc-record.ts';
import { indexObjectsPassedOver, pointsPassedOver } from '../generations/passed-over.ts';
import { readKeySlots } from '../keys.ts';
import { isUnreadable } from '../record.ts';
import { lostPoints } from '../removed-points.ts';
import type { Repository } from '../repository.ts';
import { listSessions, readBegin, readEnd } from '../session/session-record.ts';
import { listSmallRecords } from '../small-records.ts';
import { getRecord } from '../store-calls.ts';

/** Tells what cannot be decoded. */
export async function checkRecords(run: RunContext, repository: Repository): Promise<void> {
  const { store, config } = repository;
  const onDamaged = (error: CofferError, name: string): void =>
    tellFinding(run, findingOf(error, { kind: 'object', name }));
  const check = async (path: string, decode: () => Promise<unknown>): Promise<void> => {
    try {
      await decode();
    } catch (error) {
      // Whoever ended meanwhile has taken its records along.
      if (isCofferError(error, 'object-not-found')) return;
      if (!isUnreadable(error)) throw error;
      onDamaged(error, path);
    }
  };
  for (const error of await configDamages(store)) onDamaged(error, 'config');
  await readKeySlots({ store, config }, onDamaged);
  for (const object of await listGcObjects(store)) {
    await check(object.name, async () =>
      checkGcRecord(object, await getRecord(store, object.name)),
    );
  }
  await checkSweep(run, repository);
  for (const name of await lostPoints(store, repository.index.sweeps)) {
    tellFinding(run, { code: 'point-lost', subject: { kind: 'point', name }, details: {} });
  }
  for (const { session } of await listSessions(store)) {
    await check(`session ${session}`, () => readBegin(store, session));
    await check(`session ${session}`, () => readEnd(store, session));
  }
  for (const record of await listSmallRecords(store)) await check(record.name, record.check);
}

/** One that passes over what is older than it is none that a collection has made. */
async function checkSweep(run: RunContext, repository: Repository): Promise<void> {
  const state = await readGcState(repository.store);
  if (!state.sweep) return;
  const name = gcObjectName(state.sweep.generation, 'sweep');
  const subject = { kind: 'object', name } as const;
  const { length: points } = await pointsPassedOver(repository, state);
  if (points > 0) tellFinding(run, { code: 'points-hidden', subject, details: { points } });
  const { length: objects } = await indexObjectsPassedOver(repository.store, state);
  if (objects > 0) tellFinding(run, { code: 'index-hidden', subject, details: { objects } });
}
