import { openMemoryStore } from './memory.ts';
import { objectStoreContract } from './testing/contract.ts';

objectStoreContract('memory', async () => openMemoryStore());
