/** Amounts that people write. */
import { CofferError } from '@coffer/base/errors.ts';

const AMOUNT = /^(\d{1,15}(?:\.\d{1,3})?)\s*([KMGTP]?)(?:i?B)?$/i;
const POWERS = ['', 'K', 'M', 'G', 'T', 'P'];

/** `512M` or `1.5 GiB`, in bytes; units are of 1024. Fails with `usage`, naming the option. */
export function parseBytes(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  const [, number = '', unit = ''] = AMOUNT.exec(text.trim()) ?? [];
  const bytes = Number(number) * 1024 ** POWERS.indexOf(unit.toUpperCase());
  if (number !== '' && bytes >= 1 && Number.isSafeInteger(Math.ceil(bytes)))
    return Math.ceil(bytes);
  throw new CofferError('usage', {
    option,
    found: text,
    expected: 'an amount such as 512M or 20G',
  });
}

/** Whole seconds, in milliseconds. Fails with `usage`, naming the option. */
export function parseSeconds(text: string, option: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text) * 1000;
  throw new CofferError('usage', { option, found: text, expected: 'a number of seconds' });
}
