/**
 * Times as DOS has them: the clock on the wall, of no known zone, taken here for UTC; exFAT can say
 * the zone (Microsoft exFAT specification 1.00, 7.4.8 and 7.4.10).
 */

const QUARTER_HOUR_NS = 900n * 1_000_000_000n;

/** Nanoseconds since 1970. `hundredths` are added to the seconds, which DOS counts by twos. */
export function dosTimeNs(date: number, time: number, hundredths = 0): bigint {
  const milliseconds = Date.UTC(
    1980 + (date >> 9),
    Math.max(1, (date >> 5) & 0xf) - 1,
    Math.max(1, date & 0x1f),
    time >> 11,
    (time >> 5) & 0x3f,
    (time & 0x1f) * 2,
  );
  return BigInt(milliseconds + hundredths * 10) * 1_000_000n;
}

/** What has to be taken from a local time to have UTC: the highest bit says that it is known. */
export function zoneNs(stored: number): bigint {
  if ((stored & 0x80) === 0) return 0n;
  const quarters = (stored & 0x7f) < 64 ? stored & 0x7f : (stored & 0x7f) - 128;
  return BigInt(quarters) * QUARTER_HOUR_NS;
}
