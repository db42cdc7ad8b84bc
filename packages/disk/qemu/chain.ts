/** What QEMU says of an image and of those behind it, before it is opened. */
import { existsSync, realpathSync } from 'node:fs';
import { CofferError } from '@coffer/base';
import * as v from 'valibot';
import { checkImage } from './check.ts';
import { refuseBusy } from './lock.ts';
import { callQemuImg, imageOptions } from './tool.ts';

/** Images behind one another; QEMU itself becomes slow long before. */
const DEPTH_MAX = 200;

const Info = v.object({
  'virtual-size': v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  encrypted: v.optional(v.boolean()),
  'backing-filename': v.optional(v.string()),
  'full-backing-filename': v.optional(v.string()),
  'backing-filename-format': v.optional(v.string()),
  'format-specific': v.optional(
    v.object({ data: v.optional(v.object({ 'data-file': v.optional(v.string()) })) }),
  ),
});

type Info = v.InferOutput<typeof Info>;

export interface ChainOptions {
  readonly format: string;
  /** Whether the image may name other files. Who only guesses the format must not follow them. */
  readonly mayReferToOthers: boolean;
}

/**
 * Checks an image and all behind it. Fails with `image-busy`, `image-encrypted`, `image-parent-missing`,
 * `image-chain-cyclic`, or `image-format-unknown` when it names other files and nobody has said that
 * it is of this format: the machine that owns a raw disk may have written such a header into it.
 */
export async function checkChain(path: string, options: ChainOptions): Promise<void> {
  const seen = new Map<string, string>();
  let next: { path: string; format: string } | undefined = { path, format: options.format };
  while (next) {
    if (seen.has(next.path)) throw new CofferError('image-chain-cyclic', { path: next.path });
    if (seen.size >= DEPTH_MAX) {
      throw new CofferError('image-unsupported', { path, reason: `over ${DEPTH_MAX} parents` });
    }
    seen.set(next.path, next.format);
    refuseBusy(next.path);
    const info = await inform(next.path, next.format);
    if (info.encrypted) throw new CofferError('image-encrypted', { path: next.path });
    const dataFile = info['format-specific']?.data?.['data-file'];
    const parent = info['full-backing-filename'];
    if (!options.mayReferToOthers && (parent ?? dataFile) !== undefined) {
      const reason = `it names another file, ${parent ?? dataFile}`;
      throw new CofferError('image-format-unknown', { path, reason });
    }
    next = parent === undefined ? undefined : parentOf(info, parent, next.path);
  }
  // Last: to check an image, QEMU opens all behind it.
  for (const [image, format] of seen) await checkImage(image, format);
}

function parentOf(info: Info, parent: string, child: string): { path: string; format: string } {
  if (!existsSync(parent)) {
    throw new CofferError('image-parent-missing', { image: child, parent });
  }
  const format = info['backing-filename-format'];
  if (format === undefined) {
    const reason = 'it does not say of which format its parent is';
    throw new CofferError('image-unsupported', { path: child, reason });
  }
  return { path: realpathSync(parent), format };
}

async function inform(path: string, format: string): Promise<Info> {
  const args = ['info', '--output=json', '--image-opts', imageOptions(path, format)];
  const output = await callQemuImg(args).catch((error: unknown) => {
    // It is there and nobody holds it; what is left is that it is not a good image.
    const said = error instanceof CofferError ? error.details['said'] : undefined;
    if (said === undefined) throw error;
    throw new CofferError('image-damaged', { path, format, said }, error);
  });
  return v.parse(Info, JSON.parse(output));
}
