/** The commands, their options and their help. Each is loaded when it is called. */
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { refuseLostBytes } from './arguments.ts';
import { addBrowsing } from './program/browsing.ts';
import { addKeeping } from './program/keeping.ts';
import { addDiagnosis } from './program/diagnosis.ts';
import { addDisks } from './program/disks.ts';
import { addMachines } from './program/machines.ts';
import { addMaintenance } from './program/maintenance.ts';
import { addProtection } from './program/protection.ts';

const EXIT_CODES = `
Exit codes:
  0 done, 1 failed, 2 wrong usage, 3 done with findings, 10 repository, 11 passphrase,
  12 point, item, path or key not found or not as it has to be, 13 closed by a garbage collection,
  14 source, 15 target, 20 damage, 21 store does not answer, 22 store refuses, 23 no space,
  24 a program is not installed, 25 a boot test failed, 130 interrupted`;

export function buildProgram(): Command {
  const program = new Command('coffer')
    .description('Backup and recovery of machines, disks and files.')
    .version(version())
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .addOption(
      new Option('--repo <location>', 'repository: a path, s3://… or azure://…').env('COFFER_REPO'),
    )
    .addOption(
      new Option('--passphrase-file <file>', 'file that holds the passphrase or recovery key').env(
        'COFFER_PASSPHRASE_FILE',
      ),
    )
    .addOption(
      new Option(
        '--writer-key-file <file>',
        'key that makes points and reads none (coffer key writer)',
      ).env('COFFER_WRITER_KEY_FILE'),
    )
    .option(
      '--limit-rate <rates>',
      'bytes a second to and from the repository: 20M, or 5M@08:00-18:00,50M',
    )
    .option('--json', 'print one JSON document on stdout')
    .option('--quiet', 'print results and errors only')
    .hook('preAction', (_program, command) => {
      refuseLostBytes({
        command: command.name(),
        words: command.args,
        options: command.optsWithGlobals(),
      });
    })
    .addHelpText('after', EXIT_CODES);
  addProtection(program);
  addMachines(program);
  addDisks(program);
  addBrowsing(program);
  addKeeping(program);
  addMaintenance(program);
  addDiagnosis(program);
  return program;
}

function version(): string {
  const file = new URL('./package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
