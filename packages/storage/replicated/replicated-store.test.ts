import { openMemoryStore } from '../memory.ts';
import { objectStoreContract } from '../testing/contract.ts';
import { objectLockContract } from '../testing/lock-contract.ts';
import { formSet, openReplicatedStore, type ReplicatedOptions } from './replicated-store.ts';

function options(count: number, membersMin: number, objectLock = false): ReplicatedOptions {
  const names = Array.from({ length: count }, (_, index) => `unit-${index}`);
  const units = new Map(names.map((name) => [name, openMemoryStore({ objectLock })]));
  return { location: 'replicated', units, membersMin };
}

async function open(...args: Parameters<typeof options>) {
  const opened = options(...args);
  await formSet(opened);
  return openReplicatedStore(opened);
}

objectStoreContract('replicated over three units', () => open(3, 2));
objectStoreContract('replicated over one unit', () => open(1, 1));
objectLockContract('replicated', () => open(3, 2, true));
