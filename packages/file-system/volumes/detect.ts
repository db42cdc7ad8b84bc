/** Which file system, or other format, is on a volume, by the marks that each leaves. */
import type { Disk } from '@coffer/disk/disk.ts';
import { type Detected, DETECTED_BYTES, detectIn } from './detect-codec.ts';
import { storedLabel } from './label.ts';

export type { Detected, FileSystemKind } from './detect-codec.ts';

/**
 * What is on the volume, with its label and identifier as its own tools print them. `unknown` for
 * all else, never an error of its own; `sizeBytes` is what the file system says, or the volume's.
 */
export async function detectFileSystem(disk: Disk): Promise<Detected> {
  const head = Buffer.alloc(DETECTED_BYTES);
  await disk.read(0, head.subarray(0, Math.min(DETECTED_BYTES, disk.sizeBytes)));
  const detected = detectIn(head, disk.sizeBytes);
  return { ...detected, label: detected.label ?? (await storedLabel(disk, detected.kind)) };
}
