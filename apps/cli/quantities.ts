/** Amounts that people write. */
import { CofferError } from '@coffer/base/errors.ts';
import { type Hours, MINUTES_PER_DAY, type Rate } from '@coffer/storage/rate-schedule.ts';

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

const MS_PER_DAY = MINUTES_PER_DAY * 60_000;

/** Whole days, in milliseconds. Fails with `usage`, naming the option. */
export function parseDays(text: string, option: string): number {
  if (/^\d{1,5}$/.test(text)) return Number(text) * MS_PER_DAY;
  throw new CofferError('usage', { option, found: text, expected: 'a number of days' });
}

const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?$/;

/**
 * `2026-11-20`, the end of that day, or `2026-11-20T10:00`, in ms since 1970; local, unless it says
 * otherwise. Fails with `usage`, naming the option.
 */
export function parseTime(text: string, option: string): number {
  // A date alone would be read as UTC.
  const time = Date.parse(text.includes('T') ? text : `${text}T23:59:59.999`);
  if (TIME.test(text) && !Number.isNaN(time)) return time;
  throw new CofferError('usage', { option, found: text, expected: 'a time like 2026-11-20T10:00' });
}

const HOURS = /^(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})$/;

/** `20M`, or rates by the hour: `5M@08:00-18:00,50M`. Fails with `usage`, naming the option. */
export function parseRates(text: string | undefined, option: string): Rate[] {
  if (text === undefined) return [];
  return text.split(',').map((part) => {
    const [amount = '', hours, ...more] = part.split('@');
    const bytesPerSecondMax = more.length === 0 ? parseBytes(amount, option) : undefined;
    if (bytesPerSecondMax === undefined) throw noHours(text, option);
    return {
      bytesPerSecondMax,
      hours: hours === undefined ? undefined : parseHours(hours, option),
    };
  });
}

/** Midnight is 00:00, and 24:00 as well. */
function parseHours(text: string, option: string): Hours {
  const [fromHour, fromMinutes, toHour, toMinutes] = (HOURS.exec(text.trim()) ?? [])
    .slice(1)
    .map(Number);
  const fromMinute = minuteOf(fromHour, fromMinutes);
  const toMinute = minuteOf(toHour, toMinutes);
  if (fromMinute === undefined || toMinute === undefined || fromMinute === toMinute) {
    throw noHours(text, option);
  }
  return { fromMinute, toMinute };
}

function minuteOf(hour = Number.NaN, minutes = Number.NaN): number | undefined {
  const minute = hour * 60 + minutes;
  return minutes < 60 && minute <= MINUTES_PER_DAY ? minute : undefined;
}

function noHours(found: string, option: string): CofferError {
  return new CofferError('usage', { option, found, expected: 'such as 20M or 5M@08:00-18:00,50M' });
}
