/** Where a virtual machine is restored to. */
import type { Finding } from '@coffer/base';

export interface RestoredVm {
  /** The definition as it was captured. */
  readonly xml: string;
  readonly name: string;
  /** The images that were restored, by the names that the guest knows their disks by. */
  readonly disks: ReadonlyMap<string, { readonly path: string; readonly format: 'qcow2' | 'raw' }>;
  /** Other files that were restored: new paths by their old ones. */
  readonly files: ReadonlyMap<string, string>;
}

export interface VmHost {
  /** Fails when the machine cannot be defined there. Nothing was written yet. */
  check(vm: Pick<RestoredVm, 'xml' | 'name'>): Promise<void>;

  /** Makes the machine known, and returns its UUID and what it has not, or has otherwise. */
  define(vm: RestoredVm): Promise<{ readonly uuid: string; readonly findings: readonly Finding[] }>;
}
