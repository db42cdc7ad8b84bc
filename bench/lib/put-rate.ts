// How fast a server takes large objects, to show that it is not what limits a measure.
import { randomBytes } from 'node:crypto';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3ClientConfig } from '@aws-sdk/client-s3';

const OBJECT_COUNT = 32;
const OBJECT_SIZE = 16 << 20;
const CONCURRENCY = 8;

/** Bits per second of several puts at once. */
export async function putRate(config: S3ClientConfig, bucket: string): Promise<number> {
  const body = randomBytes(OBJECT_SIZE);
  const client = new S3Client(config);
  let next = 0;
  const started = performance.now();
  const putInTurn = async () => {
    while (next < OBJECT_COUNT) {
      const name = `rate-${next++}`;
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: name, Body: body }));
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, putInTurn));
  client.destroy();
  return (OBJECT_COUNT * OBJECT_SIZE * 8) / ((performance.now() - started) / 1000);
}
