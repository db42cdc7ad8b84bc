/** Makes bytes that are almost valid. */
import { digest, type Random } from '@coffer/base';

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

export function mutate(valid: Buffer, random: Random): Buffer {
  const below = (limit: number): number => Math.floor(random.fraction() * limit);
  let bytes = Buffer.from(valid);
  for (let count = 1 + below(4); count > 0; count--) {
    const at = below(bytes.length + 1);
    switch (below(6)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << below(8);
        break;
      case 1:
        bytes = bytes.subarray(0, at);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), random.bytes(below(40)), bytes.subarray(at)]);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + below(40))]);
        break;
      case 4:
        if (at + 4 <= bytes.length)
          bytes.writeUInt32LE(INTERESTING[below(INTERESTING.length)]!, at);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes]);
    }
  }
  return Buffer.from(bytes);
}

export function anyBytes(random: Random): Buffer {
  return random.bytes(Math.floor(random.fraction() ** 3 * 5000));
}

/** A record with another body and the right digest, so that what is behind the digest is reached. */
export function mutateRecord(valid: Buffer, random: Random): Buffer {
  const firstEnd = valid.indexOf(0x0a) + 1;
  const json = valid.subarray(firstEnd, valid.length - 66);
  const changed = random.fraction() < 0.5 ? mutateJson(json, random) : mutate(json, random);
  const body = Buffer.concat([valid.subarray(0, firstEnd), changed, Buffer.from('\n')]);
  return Buffer.concat([body, Buffer.from(`${digest(body).toString('hex')}\n`)]);
}

const VALUES: readonly unknown[] = [
  null,
  -1,
  0.5,
  1e300,
  2 ** 53,
  '',
  'x'.repeat(2000),
  '__proto__',
  [],
  {},
  [[]],
  true,
  '../../etc/passwd',
];

/** One value somewhere in it becomes another one, or goes. */
function mutateJson(json: Buffer, random: Random): Buffer {
  const value = JSON.parse(json.toString('utf8')) as unknown;
  const places: [object, string][] = [];
  const visit = (each: unknown): void => {
    if (typeof each !== 'object' || each === null) return;
    for (const key of Object.keys(each).slice(0, 50)) {
      places.push([each, key]);
      visit((each as Record<string, unknown>)[key]);
    }
  };
  visit(value);
  const place = places[Math.floor(random.fraction() * places.length)];
  if (place) {
    const chosen = VALUES[Math.floor(random.fraction() * (VALUES.length + 1))];
    (place[0] as Record<string, unknown>)[place[1]] = chosen;
  }
  return Buffer.from(JSON.stringify(value));
}
