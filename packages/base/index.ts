export * from './assert.ts';
export * from './bytes.ts';
export * from './clock.ts';
export * from './concurrency.ts';
export * from './digest.ts';
export * from './errors.ts';
export * from './file-entry.ts';
export * from './random.ts';
