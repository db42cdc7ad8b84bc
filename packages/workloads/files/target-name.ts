/** Names for what a target cannot hold under its own: too long, of other characters, or taken. */
import { digest, systemErrorCode } from '@coffer/base';
import { textOfBytes } from '@coffer/base/path-text.ts';

/** Bytes and characters that every file system of today takes in a name, with room to spare. */
const STEM_SIZE_MAX = 180;
/** What no file system of Windows takes, and bytes that belong to no character. */
// oxlint-disable-next-line no-control-regex -- that is what is looked for
const REFUSED = /["*/:<>?\\|\u0000-\u001f\u007f\ud800-\udfff]/g;
const EXTENSION = /\.[^.]{1,12}$/u;

/**
 * A name that every target can hold. It begins and ends as the right one, and a digest of that tells
 * it from others, so that the same file has it in each restore.
 */
export function substituteName(name: Buffer): Buffer {
  const text = Array.from(textOfBytes(name), (character) =>
    character.length === 1 ? character.replaceAll(REFUSED, '_') : character,
  ).join('');
  const extension = EXTENSION.exec(text)?.[0] ?? '';
  const stem = shortened(text.slice(0, text.length - extension.length));
  return Buffer.from(`${stem}~${digest(name).toString('hex', 0, 4)}${extension.trimEnd()}`);
}

function shortened(text: string): string {
  let short = text;
  while (Buffer.byteLength(short) > STEM_SIZE_MAX) short = Array.from(short).slice(0, -1).join('');
  return short;
}

const NAME_CODES: readonly string[] = ['ENAMETOOLONG', 'EINVAL', 'EILSEQ'];

/**
 * True when what makes something in an open folder says that it cannot have the name, or has it for
 * something else. exFAT over FUSE says of some names that they are not there.
 */
export function isNameRefused(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code !== undefined && ['EEXIST', 'ENOENT', ...NAME_CODES].includes(code);
}

/** True when a look for a name says that nothing can have it. */
export function isNoName(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code !== undefined && (code === 'ENOENT' || NAME_CODES.includes(code));
}
