/**
 * Captures the memory of a machine with its disks. QEMU loses sight of its dirty bitmaps while a
 * machine pauses for its memory to be written, so the checkpoint can only be made after it runs again.
 * Therefore the file systems are frozen from before until after: what is in memory then is of the disks
 * as the checkpoint has them, which is made sure of by counting what was written.
 */
import { CofferError } from '@coffer/base';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { memoryXml } from '../domain/backup-xml.ts';
import type { Domain as Definition } from '../domain/domain.ts';

export interface MemoryOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly definition: Definition;
  /** Of the file that is made. */
  readonly path: string;
  readonly isFrozen: boolean;
}

export interface CapturedMemory {
  /** Fails with `memory-not-captured` when the disks are others now than those of the memory. */
  refuseOther(): Promise<void>;
}

/** Fails with `memory-not-captured` for a machine that is not frozen. */
export async function captureMemory(options: MemoryOptions): Promise<CapturedMemory> {
  const { connection, domain, definition, path, isFrozen } = options;
  if (!isFrozen) {
    const reason = 'its file systems could not be frozen';
    throw new CofferError('memory-not-captured', { vm: domain.name, reason });
  }
  const before = await writtenBytes(options);
  const targets = definition.disks.map(({ target }) => target);
  await connection.saveMemory(domain, memoryXml(path, targets));
  return {
    refuseOther: async () => {
      if ((await writtenBytes(options)) === before) return;
      const reason = 'something wrote to its disks while their file systems were frozen';
      throw new CofferError('memory-not-captured', { vm: domain.name, reason });
    },
  };
}

async function writtenBytes({ connection, domain, definition }: MemoryOptions): Promise<number> {
  let bytes = 0;
  for (const { target, device } of definition.disks) {
    // What cannot be written has nothing to tell, or no medium.
    if (device !== 'disk') continue;
    bytes += (await connection.blockStats(domain, target)).writeBytes;
  }
  return bytes;
}
