/** What a link leads to, of the bytes that are stored for it. */

/** Linux takes a target up to its first zero byte; undefined where nothing is before it. */
export function linkTarget(stored: Buffer): Buffer | undefined {
  const end = stored.indexOf(0);
  const target = end < 0 ? stored : stored.subarray(0, end);
  return target.length === 0 ? undefined : target;
}
