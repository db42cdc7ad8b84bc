// Claims: a machine on libvirt is backed up twice as fast as virtnbdbackup does it, in 0.8 times its
// bytes; its changes at least as fast, whatever the size of the disk; it is restored three times as
// fast, or runs at once; and its writes are hardly slower while it is backed up.
//
// One guest with two disks, which the tools take turns on; what follows is measured of Coffer alone.
import { compareTools } from './lib/vm-compare.ts';
import { VmLab } from './lib/vm-lab.ts';
import { diskSizes, instantRestores, tellFreezes, writesMeanwhile } from './lib/vm-steps.ts';
import { PEER } from './lib/vm-tools.ts';
import type { Options } from './lib/options.ts';
import type { Report } from './lib/report.ts';

export async function vm({ repeat }: Options, report: Report): Promise<void> {
  using interrupt = new Interrupt();
  const lab = await VmLab.open({ repeat, report });
  try {
    await Promise.race([measureAll(lab), interrupt.happened]);
  } finally {
    await lab.close();
  }
}

async function measureAll(lab: VmLab): Promise<void> {
  const { report, peer } = lab;
  report.notes.push(
    peer
      ? `vm: ${PEER} ${peer.version()}`
      : `vm: ${PEER} is not installed: only Coffer was measured`,
  );
  const guest = await lab.startGuest();
  await compareTools(lab, guest);
  await instantRestores(lab, guest);
  await writesMeanwhile(lab, guest);
  await guest.destroy();
  await diskSizes(lab);
  tellFreezes(lab);
}

/** Lets a first interrupt end the run as an error does, so that all is removed; a second one kills. */
class Interrupt {
  readonly happened: Promise<never>;
  readonly #listener: () => void;

  constructor() {
    const { promise, reject } = Promise.withResolvers<never>();
    this.happened = promise;
    this.#listener = () => reject(new Error('the benchmark was interrupted'));
    process.once('SIGINT', this.#listener).once('SIGTERM', this.#listener);
    // It may come while nothing waits for it.
    promise.catch(() => {});
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#listener).off('SIGTERM', this.#listener);
  }
}
