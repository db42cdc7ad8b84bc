/** What Coffer needs of the definition of a storage pool. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&apos;': "'",
  '&amp;': '&',
};

/** The folder of a pool, where it is one. */
export function targetPathOf(xml: string): string | undefined {
  const target = /<target>([^]*?)<\/target>/.exec(xml)?.[1];
  const path = target === undefined ? undefined : /<path>([^<]*)<\/path>/.exec(target)?.[1];
  return path?.replaceAll(/&(?:lt|gt|quot|apos|amp);/g, (entity) => ENTITIES[entity] ?? entity);
}
