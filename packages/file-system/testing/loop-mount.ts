/** Images that the kernel mounts by loop devices. */
import { systemClock } from '@coffer/base';
import { tool } from './tool.ts';

const POLL_MS = 50;

/**
 * Mounts an image. Of several that look for a free loop device at once, one may hold that of another
 * for a moment; `mount` does not try again then.
 */
export async function mountByLoop(image: string, folder: string, options: string): Promise<void> {
  for (;;) {
    try {
      await tool('mount', ['-o', options, image, folder]);
      return;
    } catch (error) {
      if (!String(error).includes('already mounted or mount point busy')) throw error;
      await systemClock.sleep(POLL_MS);
    }
  }
}
