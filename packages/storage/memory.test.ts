import { openMemoryStore } from './memory.ts';
import { appendOnly } from './testing/append-only.ts';
import { objectStoreContract } from './testing/contract.ts';
import { objectLockContract } from './testing/lock-contract.ts';

objectStoreContract('memory', async () => openMemoryStore());
objectStoreContract('append-only', async () => appendOnly(openMemoryStore()), { deletes: false });
objectLockContract('memory', async () => openMemoryStore({ objectLock: true }));
