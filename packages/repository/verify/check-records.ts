/** Decodes all small records of a repository: what cannot be decoded is a finding. */
import { type CofferError, type Finding, isCofferError } from '@coffer/base';
import { configDamages } from '../config-objects.ts';
import { checkGcRecord, listGcObjects } from '../gc/gc-record.ts';
import { readKeySlots } from '../keys.ts';
import { listCheckedRecords } from '../beside-points.ts';
import type { Repository } from '../repository.ts';
import { listSessions, readBegin, readEnd } from '../session/session-record.ts';
import { getRecord } from '../store-calls.ts';

export async function checkRecords({ store, config }: Repository): Promise<Finding[]> {
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
