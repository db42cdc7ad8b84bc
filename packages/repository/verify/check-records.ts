/** Decodes all small records of a repository: what cannot be decoded is a finding. */
import { type Finding, isCofferError } from '@coffer/base';
import { readGcState } from '../gc/gc-record.ts';
import { readKeySlots } from '../keys.ts';
import { checkHold, type Repository } from '../repository.ts';
import { listSessions, readBegin, readEnd } from '../session/session-record.ts';
import { readConfig } from '../config.ts';

export async function checkRecords(repository: Repository): Promise<Finding[]> {
  const { store } = repository;
  const findings: Finding[] = [];
  const check = async (path: string, decode: () => Promise<unknown>): Promise<void> => {
    try {
      await decode();
    } catch (error) {
      // Whoever ended meanwhile has taken its records along.
      if (isCofferError(error, 'object-not-found')) return;
      if (!isCofferError(error, 'object-damaged')) throw error;
      findings.push({ code: error.code, path, message: error.message });
    }
  };
  await check('config', () => readConfig(store));
  await check('keys', () => readKeySlots(store));
  await check('gc', () => readGcState(store));
  for (const { session } of await listSessions(store)) {
    await check(`session ${session}`, () => readBegin(store, session));
    await check(`session ${session}`, () => readEnd(store, session));
  }
  for await (const { name } of store.list('holds/')) {
    await check(name, async () => checkHold(await store.get(name), name));
  }
  return findings;
}
