/** Formats of images, as the user names them. */
import { CofferError } from '@coffer/base';
import { IMAGE_FORMATS, type ImageFormat } from '@coffer/disk/image-format.ts';

/** Undefined when none is named. Fails with `usage`. */
export function parseImageFormat(format: string | undefined): ImageFormat | undefined {
  if (format === undefined) return undefined;
  const known = IMAGE_FORMATS.find((each) => each === format);
  if (!known) throw new CofferError('usage', { format, expected: IMAGE_FORMATS.join(', ') });
  return known;
}
