/** Decodes all small records of a repository: what cannot be decoded is a finding. */
import { type CofferError, type Finding, isCofferError } from '@coffer/base';
import { configDamages } from '../config-objects.ts';
import {
  checkGcRecord,
  gcObjectName,
  listGcObjects,
  readGcStateIfIntact,
} from '../gc/gc-record.ts';
import { pointsPassedOver } from '../gc/passed-over.ts';
import { readKeySlots } from '../keys.ts';
import { listCheckedRecords } from '../beside-points.ts';
import type { Repository } from '../repository.ts';
import { listSessions, readBegin, readEnd } from '../session/session-record.ts';
import { getRecord } from '../store-calls.ts';

export async function checkRecords(repository: Repository): Promise<Finding[]> {
  const { store, config } = repository;
  const findings: Finding[] = [];
  const check = async (path: string, decode: () => Promise<unknown>): Promise<void> => {
    try {
      await decode();
    } catch (error) {
      // Whoever ended meanwhile has taken its records along.
      if (isCofferError(error, 'object-not-found')) return;
      if (!isCofferError(error, 'object-damaged')) throw error;
      findings.push(toFinding(error, path));
    }
  };
  for (const error of await configDamages(store)) findings.push(toFinding(error, 'config'));
  const onDamaged = (error: CofferError, name: string): void =>
    void findings.push(toFinding(error, name));
  await readKeySlots({ store, config }, onDamaged);
  for (const object of await listGcObjects(store)) {
    await check(object.name, async () =>
      checkGcRecord(object, await getRecord(store, object.name)),
    );
  }
  findings.push(...(await sweepFindings(repository)));
  for (const { session } of await listSessions(store)) {
    await check(`session ${session}`, () => readBegin(store, session));
    await check(`session ${session}`, () => readEnd(store, session));
  }
  for (const record of await listCheckedRecords(store)) await check(record.name, record.check);
  return findings;
}

function toFinding(error: CofferError, path: string): Finding {
  return { code: error.code, path, message: error.message };
}

async function sweepFindings(repository: Repository): Promise<Finding[]> {
  const state = await readGcStateIfIntact(repository.store, () => {
    // Damaged records are told by themselves.
  });
  const passedOver = await pointsPassedOver(repository, state);
  if (passedOver.length === 0) return [];
  const path = gcObjectName(state.sweep!.generation, 'sweep');
  const message = `it passes over ${passedOver.length} points that are older than it: it is none that a collection has made, and hides them`;
  return [{ code: 'object-damaged', path, message }];
}
